"""Calibration: targets are read strictly, the search finds what made the targets, is resumed, and is judged on
seeds that it did not see.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from caps_fast import scenario
from caps_fast.calibrate.loss import WORST, loss, measure
from caps_fast.calibrate.moves import moves
from caps_fast.calibrate.outcome import calibrate, judge, on_threads, scenario_toml
from caps_fast.calibrate.search import search
from caps_fast.calibrate.targets import Task, build_task, read_task
from caps_fast.cli import calibrate as commands
from caps_fast.errors import InputError
from caps_fast.scenario import Scenario

ROOT = Path(__file__).parent.parent
TASK: dict[str, Any] = {
    "training": {"days": 0.01, "drain_h": 1, "predictor.source": "declared"},
    "report": {"days": 0.01, "drain_h": 1, "predictor.source": "declared"},
    "seeds": {"train": [7], "report": [0, 1]},
    "bounds": {"gpu.decode_base_s": {"range": [0.01, 0.09], "log": True, "start": 0.05}},
    "targets": [{"policy": "round-robin", "metric": "tpot_p50_s", "value": 0.03, "tolerance": 0.001}],
}


def task_with(**changes: Any) -> Task:
    return build_task(TASK | changes, "task")


def formula(configs: Sequence[Scenario]) -> list[Any]:
    """A simulator in one line: figures follow from two fields and a little from the seed."""
    return [
        SimpleNamespace(
            metrics={
                "slo_attainment": c.monitor.gate_quantile + 0.001 * c.seed,
                "tpot_p50_s": c.gpu.decode_base_s * (2.0 if c.policy.name == "edf" else 1.0),
            }
        )
        for c in configs
    ]


FORMULA = {
    "bounds": {
        "monitor.gate_quantile": {"range": [0.0, 1.0], "start": 0.1},
        "gpu.decode_base_s": {"range": [0.001, 0.1], "log": True, "start": 0.05},
    },
    "targets": [
        {"policy": "caps", "metric": "slo_attainment", "value": 0.807, "tolerance": 0.02},
        {"policy": "edf", "metric": "tpot_p50_s", "minus": "caps", "value": 0.004, "tolerance": 0.0005},
        {"policy": "edf", "metric": "tpot_p50_s", "relative_to": "caps", "value": 2.0, "tolerance": 0.1},
    ],
}


def test_the_shipped_task_is_valid_and_aims_at_the_published_relations() -> None:
    from caps_fast.reproduce.published import TABLE1  # noqa: PLC0415

    task = read_task(ROOT / "sweeps" / "calibration.toml")
    assert not set(task.seeds.train) & set(task.seeds.report)
    fields = {
        "slo_attainment": "slo_attainment",
        "carbon_g_per_1k_tokens": "carbon_g_per_1k_tokens",
        "ttft_after_release_p95_s": "p95_s",
    }
    for target in task.targets:
        values = [getattr(TABLE1[policy], fields[target.metric]) for policy in target.policies]
        published = (
            values[0] / values[1] if target.relative_to else values[0] - values[1] if target.minus else values[0]
        )
        assert target.value == pytest.approx(published, abs=6e-4), target.name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bounds": {}}, "bounds"),
        ({"bounds": {"gpu.speed": {"range": [0, 1]}}}, "gpu.speed: unknown field"),
        ({"bounds": {"seed": {"range": [3, 1]}}}, "expected low < high"),
        ({"bounds": {"seed": {"range": [0, 3], "log": True}}}, "above 0 where log"),
        ({"bounds": {"seed": {}}}, "either range = [low, high] or choices"),
        ({"bounds": {"policy.queueing": {"choices": ["sideways"]}}}, "sideways"),
        ({"targets": []}, "targets"),
        ({"targets": [TASK["targets"][0] | {"tolerance": 0}]}, "targets.0.tolerance"),
        ({"targets": [TASK["targets"][0] | {"relative_to": "edf", "minus": "edf"}]}, "not both"),
        ({"targets": [TASK["targets"][0] | {"where": {"workload.speed": 1}}]}, "workload.speed: unknown field"),
        ({"seeds": {"train": [1], "report": [1, 2]}}, "seed 1 is in both"),
        ({"targets": [TASK["targets"][0] | {"metric": "speed"}]}, "metric 'speed': expected one of requests"),
        ({"targets": [TASK["targets"][0] | {"policy": "capz"}]}, "capz"),
        ({"bounds": {"policy.options.speed": {"range": [0, 1]}}}, "policy.options.speed: unknown option"),
        ({"preset": "papyrus"}, "papyrus"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_task_is_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        task_with(**changes)
    assert said in str(refused.value)
    assert str(refused.value).startswith("task: ")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        read_task(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("bounds = [")
    with pytest.raises(InputError, match=r"bad\.toml: not TOML"):
        read_task(tmp_path / "bad.toml")


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.integers(0, 2), st.floats(0.01, 3))
def test_the_loss_is_zero_at_the_targets_and_grows_away_from_them(noise: list[float], at: int, further: float) -> None:
    task = task_with(**FORMULA)
    exact = [target.value for target in task.targets]
    assert loss(task, exact) == 0
    figures = [value + part * target.tolerance for value, part, target in zip(exact, noise, task.targets, strict=True)]
    worse = list(figures)
    worse[at] += math.copysign(further * task.targets[at].tolerance, noise[at])
    assert 0 <= loss(task, figures) < loss(task, worse)
    assert loss(task, [math.nan, *exact[1:]]) == pytest.approx(math.log1p(WORST**2) / 3)


def test_the_search_finds_what_made_the_targets_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    task = task_with(**FORMULA)
    told: list[tuple[int, float]] = []
    search(task, 30, tmp_path, lambda done, best: told.append((done, best)), formula)
    found = search(task, 90, tmp_path, lambda done, best: told.append((done, best)), formula)
    assert [done for done, _ in told] == list(range(1, 91))
    assert len(found.study.trials) == 90
    assert found.values["monitor.gate_quantile"] == pytest.approx(0.8, abs=0.03)
    assert found.values["gpu.decode_base_s"] == pytest.approx(0.004, abs=0.0006)
    assert search(task, 90, tmp_path, None, formula).values == found.values  # nothing left to do
    with pytest.raises(InputError, match="holds the search of another task"):
        search(task_with(**FORMULA | {"seeds": {"train": [8]}}), 90, tmp_path, None, formula)


@pytest.mark.parametrize("cut", [1, 25])
def test_a_search_goes_on_whose_last_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    search(task_with(**FORMULA), 5, tmp_path, None, formula)
    log = tmp_path / "study.log"
    log.write_bytes(log.read_bytes()[:-cut])
    assert len(search(task_with(**FORMULA), 8, tmp_path, None, formula).study.trials) >= 8
    log.write_text("no study\n")
    with pytest.raises(InputError, match=r"study\.log: line 1: not a study"):
        search(task_with(**FORMULA), 8, tmp_path, None, formula)


def test_bounds_may_leave_the_preset_s_own_value_out(tmp_path: Path) -> None:
    bounds = {"policy.beta": {"choices": [0, 1]}, "policy.options.tiered": {"range": [0, 1], "kind": "int"}}
    found = search(task_with(bounds=bounds, targets=FORMULA["targets"][:1]), 3, tmp_path, None, formula)
    assert found.values["policy.beta"] in (0, 1)
    assert found.values["policy.options.tiered"] in (0, 1)


def test_fields_may_have_no_value_and_choices(tmp_path: Path) -> None:
    def run(configs: Sequence[Scenario]) -> list[Any]:
        return [
            SimpleNamespace(
                metrics={"slo_attainment": 1.0 if c.slo.gold.tpot_s is None and c.policy.queueing == "cyclic" else 0.0}
            )
            for c in configs
        ]

    bounds = {
        "slo.gold.tpot_s": {"range": [0.01, 1.0], "optional": True, "start": 0.1},
        "policy.queueing": {"choices": ["central", "cyclic"]},
        "cluster.max_batch": {"range": [4, 64], "kind": "int", "log": True},
    }
    task = task_with(
        bounds=bounds, targets=[{"policy": "caps", "metric": "slo_attainment", "value": 1.0, "tolerance": 0.1}]
    )
    found = search(task, 40, tmp_path, None, run)
    assert found.values["slo.gold.tpot_s"] is None
    assert found.values["policy.queueing"] == "cyclic"
    assert isinstance(found.values["cluster.max_batch"], int)
    path = tmp_path / "best.toml"
    path.write_text(scenario_toml(task, found.values))
    assert "# no value: slo.gold.tpot_s" in path.read_text()
    best = scenario.load(path)
    assert best.cluster.max_batch == found.values["cluster.max_batch"]
    assert best.policy.queueing == "cyclic"


def test_fields_that_do_not_go_together_are_passed_over(tmp_path: Path) -> None:
    bounds = {"gpu.idle_w": {"range": [100.0, 900.0], "start": 800.0}}
    found = search(task_with(bounds=bounds, targets=FORMULA["targets"][:1]), 25, tmp_path, None, formula)
    assert found.values["gpu.idle_w"] <= 400.0  # peak_w
    hopeless = task_with(
        bounds={
            "gpu.idle_w": {"range": [350.0, 900.0], "start": 800.0},
            "gpu.peak_w": {"range": [1.0, 350.0], "start": 300.0},
        },
        targets=FORMULA["targets"][:1],
    )
    with pytest.raises(InputError, match="no trial gave a valid scenario"):
        search(hopeless, 3, tmp_path / "hopeless", None, formula)


def test_a_measured_deployment_is_found_again(tmp_path: Path) -> None:
    """A planner's use: energy and latency measured at two loads; the service time that gave them comes out."""
    truth = scenario.preset("paper").replace({**TASK["training"], "seed": 7, "gpu.decode_base_s": 0.037})
    targets = []
    for rate in (4.0, 10.0):
        at_rate = {"workload.rate_rps": rate}
        figures = on_threads(1)([truth.replace(at_rate | {"policy.name": "round-robin"})])[0].metrics
        for metric in ("tpot_p50_s", "energy_kwh"):
            targets.append(
                {
                    "policy": "round-robin",
                    "metric": metric,
                    "value": figures[metric],
                    "tolerance": 0.01 * figures[metric],
                    "where": at_rate,
                }
            )
    found = search(task_with(targets=targets), 40, tmp_path)
    assert found.values["gpu.decode_base_s"] == pytest.approx(0.037, rel=0.02)


def test_it_is_judged_on_the_other_seeds_alone() -> None:
    seen: list[set[int]] = []

    def run(configs: Sequence[Scenario]) -> list[Any]:
        seen.append({config.seed for config in configs})
        return formula(configs)

    task = task_with(**FORMULA)
    fit = judge(task, {"monitor.gate_quantile": 0.8, "gpu.decode_base_s": 0.004}, run)
    assert {seed for part in seen for seed in part} == {7, 0, 1}
    assert fit["training"].to_list() == pytest.approx([0.807, 0.004, 2.0])
    assert fit["report"].to_list() == pytest.approx([0.8005, 0.004, 2.0])
    assert fit["report_low"][0] < 0.8005 < fit["report_high"][0]
    assert fit["hit"].to_list() == [True, True, True]


def test_policies_and_seeds_are_paired_on_the_same_requests() -> None:
    task = task_with(
        targets=[{"policy": "round-robin", "metric": "requests", "relative_to": "edf", "value": 1.0, "tolerance": 0.1}]
    )
    figures = measure(task, task.base, (1, 2))
    assert np.array_equal(figures, np.ones((1, 2)))


@given(st.floats(0.011, 0.089), st.integers(4, 64), st.sampled_from(["central", "cyclic"]))
def test_moves_stay_within_bounds_and_do_move(base_s: float, batch: int, queueing: str) -> None:
    bounds = {
        "gpu.decode_base_s": {"range": [0.01, 0.09], "log": True},
        "cluster.max_batch": {"range": [4, 64], "kind": "int"},
        "policy.queueing": {"choices": ["central", "cyclic"]},
    }
    values = {"gpu.decode_base_s": base_s, "cluster.max_batch": batch, "policy.queueing": queueing}
    found = list(moves(task_with(bounds=bounds), values))
    for field, to in found:
        assert to != values[field]
        assert field == "policy.queueing" or bounds[field]["range"][0] <= to <= bounds[field]["range"][1]
    assert {field for field, _ in found} == set(bounds)


def test_the_command_writes_a_scenario_and_says_how_well_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(
        """
        [training]
        days = 0.005
        "predictor.source" = "declared"
        [report]
        days = 0.005
        "predictor.source" = "declared"
        [seeds]
        report = [0, 1]
        [bounds]
        "gpu.decode_base_s" = { range = [0.01, 0.09], log = true }
        [[targets]]
        policy = "round-robin"
        metric = "tpot_p50_s"
        value = 0.04
        tolerance = 0.004
        """
    )
    app = typer.Typer()
    app.callback()(lambda: None)
    commands.register(app)
    result = CliRunner().invoke(
        app, ["calibrate", str(path), "--out", str(tmp_path / "out"), "--trials", "4"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "tpot_p50_s: round-robin" in result.stdout
    assert "(the best)" in result.stdout
    assert scenario.load(tmp_path / "out" / "best.toml").preset == "paper"
    trials = pl.read_parquet(tmp_path / "out" / "trials.parquet")
    assert trials.height == 4
    assert calibrate(path, 4, tmp_path / "out").loss == trials["loss"].min()
    assert {"field", "best", "to", "loss", "most_moved", "change"} == set(
        pl.read_parquet(tmp_path / "out" / "sensitivity.parquet").columns
    )
