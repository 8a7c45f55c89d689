"""`validate`: the replay of a log, its metrics, the command; and the targets on measurements of real engines where
they are at hand.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import engine_logs
from caps_fast.cli import fit_profile as fit_command
from caps_fast.cli import validate as command
from caps_fast.errors import InputError
from caps_fast.validation import Replay, RequestLog, compare, read_log
from caps_fast.validation.compare import metrics_of
from caps_fast.validation.replay import engine_scenario

LATENCIES = [f"{name}_{what}_s" for name in ("ttft", "tpot", "e2e") for what in ("mean", "p50", "p90", "p95", "p99")]


def run(*arguments: object) -> str:
    app = typer.Typer()
    command.register(app)
    fit_command.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def profile(folder: Path, speed: dict[str, float] = engine_logs.SPEED) -> Path:
    path = folder / "speed.toml"
    path.write_text("".join(f"{name} = {value}\n" for name, value in speed.items()))
    return path


def test_a_replay_is_worked_out_by_hand(tmp_path: Path) -> None:
    """One request alone, additive speed: its prompt in one step, then a step a token."""
    speed = {"prefill_s_per_token": 1e-3, "decode_base_s": 0.01, "decode_s_per_seq": 2e-3}
    log = RequestLog("one", np.zeros(1), np.array([100]), np.array([11]), np.zeros(1), np.zeros(1))
    played = Replay(log, engine_scenario(None, 1, {})).play(speed)
    assert played.ttft_s == pytest.approx([0.11])
    assert played.e2e_s == pytest.approx([0.11 + 10 * 0.012])


def test_two_replicas_share_one_queue() -> None:
    """Four requests at once that need a replica each: two begin at once, two when these have left."""
    speed = {"prefill_s_per_token": 1e-3, "decode_base_s": 0.01, "decode_s_per_seq": 2e-3}
    none = np.zeros(4)
    log = RequestLog("four", none, np.full(4, 100), np.full(4, 11), none, none)
    played = Replay(log, engine_scenario(None, 2, {"cluster.max_batch": 1})).play(speed)
    assert sorted(played.ttft_s) == pytest.approx([0.11, 0.11, 0.34, 0.34])


def test_metrics_are_exact() -> None:
    log = engine_logs.load(500)
    rng = np.random.default_rng(3)
    ttft_s = rng.exponential(0.1, 500)
    e2e_s = ttft_s + rng.exponential(1.0, 500) * (log.output_tokens > 1)
    found = metrics_of(log, ttft_s, e2e_s)
    several = log.output_tokens > 1
    tpot_s = (e2e_s - ttft_s)[several] / (log.output_tokens[several] - 1)
    assert found["ttft_p99_s"] == np.quantile(ttft_s, 0.99)
    assert found["tpot_mean_s"] == pytest.approx(tpot_s.mean())
    assert found["e2e_p50_s"] == np.median(e2e_s)
    assert found["requests_per_s"] == pytest.approx(500 / (log.arrival_s + e2e_s).max())
    assert found["output_tokens_per_s"] == pytest.approx(log.output_tokens.sum() / (log.arrival_s + e2e_s).max())
    assert [*found] == [*LATENCIES, "output_tokens_per_s", "requests_per_s"]


def test_a_log_of_its_own_is_met_exactly(tmp_path: Path) -> None:
    log = engine_logs.write_log(tmp_path / "log.csv", engine_logs.served(engine_logs.load(), replicas=2))
    said = json.loads(
        run("validate", log, "--profile", profile(tmp_path), "--replicas", 2, *engine_logs.settings(), "--json")
    )
    assert [one["metric"] for one in said] == [*LATENCIES, "output_tokens_per_s", "requests_per_s"]
    for one in said:
        assert set(one) == {"metric", "measured", "simulated", "error"}
        assert one["simulated"] == pytest.approx(one["measured"], rel=1e-9), one["metric"]
        assert one["error"] == pytest.approx(0, abs=1e-9)


def test_another_speed_errs_as_it_must(tmp_path: Path) -> None:
    """Everything twice as slow, and arrivals twice as far apart: every time doubles."""
    base = {
        name: value for name, value in engine_logs.SPEED.items() if name not in ("overlap_exponent", "lag_iterations")
    }
    kept = {name: engine_logs.SPEED[name] for name in ("overlap_exponent", "lag_iterations")}
    log = engine_logs.load(400)
    slow = RequestLog("slow", 2 * log.arrival_s, log.input_tokens, log.output_tokens, log.ttft_s, log.e2e_s)
    one, other = (
        engine_logs.served(log),
        engine_logs.served(slow, {name: 2 * value for name, value in base.items()} | kept),
    )
    assert other.ttft_s == pytest.approx(2 * one.ttft_s)
    assert other.e2e_s == pytest.approx(2 * one.e2e_s)


def test_the_table_the_picture_and_power(tmp_path: Path) -> None:
    power = {"idle_w": 80.0, "peak_w": 400.0, "power_exponent": 0.2}
    log = engine_logs.served(engine_logs.load(400), engine_logs.SPEED | power)
    path = engine_logs.write_log(tmp_path / "log.csv", log)
    end_s = (log.arrival_s + log.e2e_s).max()
    (tmp_path / "power.csv").write_text(f"time_s,power_w\n0,200\n{end_s / 2},300\n{end_s},0\n")
    drawn = tmp_path / "drawn.png"
    given = (
        "--profile",
        profile(tmp_path, engine_logs.SPEED | power),
        "--power",
        tmp_path / "power.csv",
        *engine_logs.settings(),
    )
    table = run("validate", path, *given, "--picture", drawn)
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert "400 requests, 1 replica behind one queue, max_batch 128" in table
    assert "ttft_mean_ms" in table
    mean = json.loads(run("validate", path, *given, "--json"))[-1]
    played = Replay(log, engine_scenario(None, 1, engine_logs.LIMITS)).play(engine_logs.SPEED | power)
    assert (mean["metric"], mean["measured"]) == ("mean_power_w", pytest.approx(250))
    assert mean["simulated"] == pytest.approx(played.result.metrics["mean_power_w"])
    assert 80 < mean["simulated"] < 400


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--profile", "nothing"), "gpu.profile 'nothing': expected one of"),
        (("--set", "cluster.gpus=2"), "--set cluster.gpus: expected --replicas"),
        (("--set", "workload.rate_rps=2"), "--set workload.rate_rps: expected none: the log determines it"),
        (("--set", "cluster.colour=2"), "cluster.colour: unknown field"),
        (("--set", "cluster.max_batch=0"), "cluster.max_batch"),
        (("--set", "cluster.kv_capacity_tokens=100"), "tokens; expected a capacity of at least"),
        (("--picture", "x.gif"), "expected a name ending in .png"),
        (("--benchmark", "2"), "--benchmark 2: "),
    ],
)
def test_what_cannot_be_validated_is_refused(tmp_path: Path, options: tuple[str, str], wanted: str) -> None:
    path = engine_logs.write_log(tmp_path / "log.csv", engine_logs.served(engine_logs.load(50)))
    known = () if "--profile" in options else ("--profile", profile(tmp_path))
    with pytest.raises(InputError) as caught:
        run("validate", path, *known, *options)
    assert wanted in str(caught.value)


def test_unfinished_requests_count_nowhere() -> None:
    log = engine_logs.load(3)
    ttft_s, e2e_s = np.array([1.0, 2.0, math.nan]), np.array([2.0, 3.0, math.nan])
    assert metrics_of(log, ttft_s, e2e_s)["ttft_mean_s"] == 1.5
    assert math.isnan(metrics_of(log, np.full(3, math.nan), np.full(3, math.nan))["e2e_p99_s"])


# --- real engines -----------------------------------------------------------------------------------------------------

ENGINES = Path(__file__).parents[2] / "shared" / "data" / "engines"
real = pytest.mark.skipif(not ENGINES.exists(), reason="the measurements are not at hand (../shared/data/engines)")
H100 = {
    "cluster.max_batch": 256,
    "cluster.chunk_tokens": 8192,
    "cluster.kv_capacity_tokens": 288608,
    "cluster.kv": "grow",
}
LIMITS_OF_ERROR = {"tpot_mean_s": 0.04, "tpot_p99_s": 0.08, "ttft_mean_s": 0.08, "ttft_p95_s": 0.12, "ttft_p99_s": 0.12}


@pytest.fixture(scope="module")
def q14(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("q14") / "q14.toml"
    run(
        "fit-profile", ENGINES / "h100_q14_steps.csv", ENGINES / "q14_2.csv", *engine_logs.settings(H100), "--out", path
    )
    return path


@real
@pytest.mark.parametrize("log", ["q14_6.csv", "q14_10.csv"])
def test_loads_that_the_profile_was_not_fitted_to(q14: Path, log: str) -> None:
    said = json.loads(run("validate", ENGINES / log, "--profile", q14, *engine_logs.settings(H100), "--json"))
    errors = {one["metric"]: one["error"] for one in said}
    assert {name: errors[name] for name, limit in LIMITS_OF_ERROR.items() if abs(errors[name]) > limit} == {}
    assert abs(errors["output_tokens_per_s"]) < 0.01


@real
def test_kernels_alone_predict_an_engine(tmp_path: Path) -> None:
    path = tmp_path / "pro6000.toml"
    said = run("fit-profile", ENGINES / "llama31_8b_step_kernels.csv", "--hardware", "RTXPRO6000", "--out", path)
    assert "kernel times without CPU time" in said
    limits = {"cluster.max_batch": 128, "cluster.chunk_tokens": 2048}
    log = read_log(ENGINES / "pro6000_l8b.csv")
    found = compare(log, Replay(log, engine_scenario(str(path), 1, limits)).play())
    errors = {one.metric: one.error for one in found}
    for name in ("ttft_mean_s", "tpot_mean_s", "e2e_mean_s", "output_tokens_per_s"):
        assert abs(errors[name]) < 0.08, name
