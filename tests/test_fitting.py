"""Fitting to steps and logs: known coefficients come back, what the data cannot tell is said, bad input is refused
in a line.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine_logs
from caps_fast.errors import InputError
from caps_fast.fitting.speed import fit_speed
from caps_fast.profiles import profile_fields
from caps_fast.profiles.step_tables import Steps, read_steps
from caps_fast.profiles.step_time import step_s
from caps_fast.replica_section import Gpu
from caps_fast.validation import read_log
from caps_fast.validation.replay import engine_scenario
from fit_runs import SPEED, run, states, table

ADDITIVE = {
    "prefill_s_per_token": 2e-4,
    "decode_base_s": 0.04,
    "decode_s_per_seq": 4e-4,
    "decode_s_per_context_token": 2e-8,
    "overhead_s": 0.0,
    "overlap_exponent": 1.0,
    "mixed_s_per_context_token": 0.0,
    "prefill_s_per_token_pair": 0.0,
}


def worst(found: Mapping[str, Any], truth: Mapping[str, float], at: Steps) -> float:
    return float(np.abs(step_s(found, at) / step_s(truth, at) - 1).max())


# --- tables of steps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [SPEED, ADDITIVE, SPEED | {"overlap_exponent": 50.0}, SPEED | {"overhead_s": 0.0}])
def test_known_coefficients_come_back(tmp_path: Path, truth: dict[str, float]) -> None:
    found = fit_speed([read_steps(table(tmp_path / "steps.csv", truth), {})], [], None, {})
    assert worst(found.fields, truth, states()) < 1e-3
    assert found.points["error"].abs().max() < 1e-3
    sure = {one.field: one for one in found.coefficients if one.interval}
    for name in ("prefill_s_per_token", "decode_base_s", "decode_s_per_seq", "decode_s_per_context_token"):
        assert sure[name].value == pytest.approx(truth[name], rel=5e-3, abs=1e-12), name
    Gpu(**found.fields)


@settings(max_examples=15, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "prefill_s_per_token": st.floats(1e-5, 5e-4),
            "decode_base_s": st.floats(0.008, 0.05),
            "decode_s_per_seq": st.floats(1e-5, 5e-4),
            "decode_s_per_context_token": st.floats(2e-8, 3e-7),
            "overhead_s": st.floats(0, 0.006),
            "overlap_exponent": st.floats(1, 8),
            "mixed_s_per_context_token": st.floats(0, 3e-7),
            "prefill_s_per_token_pair": st.floats(0, 1e-8),
        }
    )
)
def test_steps_are_told_whatever_the_coefficients(
    tmp_path_factory: pytest.TempPathFactory, truth: dict[str, float]
) -> None:
    path = table(tmp_path_factory.mktemp("steps") / "steps.csv", truth, noise=0.01)
    found = fit_speed([read_steps(path, {})], [], None, {})
    errors = np.abs(step_s(found.fields, states()) / step_s(truth, states()) - 1)
    assert errors.mean() < 0.01
    assert np.quantile(errors, 0.95) < 0.02


def test_intervals_hold_the_truth(tmp_path: Path) -> None:
    found = fit_speed([read_steps(table(tmp_path / "steps.csv", SPEED, noise=0.02), {})], [], None, {})
    held = [
        one.interval[0] <= SPEED[one.field] <= one.interval[1]
        for one in found.coefficients
        if one.interval and one.field in SPEED
    ]
    assert len(held) >= 5
    assert sum(held) >= len(held) - 1


def test_outliers_count_little(tmp_path: Path) -> None:
    path = table(tmp_path / "steps.csv", SPEED, noise=0.005)
    spoilt = pl.read_csv(path.read_bytes()).with_row_index("row")
    spoilt = spoilt.with_columns(step_s=pl.when(pl.col("row") % 50 == 7).then(pl.col("step_s") * 5).otherwise("step_s"))
    spoilt.drop("row").write_csv(path)
    found = fit_speed([read_steps(path, {})], [], None, {})
    assert worst(found.fields, SPEED, states()) < 0.05


def test_what_a_table_cannot_tell_is_said(tmp_path: Path) -> None:
    """Equal prompts and equal contexts: how a prompt's cost divides, and how batch and context do, is not in the
    data.
    """
    rows = ["decoding,context_tokens,prompt_tokens,step_s"]
    for batch in range(1, 13):
        rows += [
            f"{batch},{1000 * batch},0,{0.011 + 8e-5 * batch!r}",
            f"{batch},{1000 * batch},1000,{0.04 + 1.5e-4 * batch!r}",
        ]
    (tmp_path / "steps.csv").write_text("\n".join(rows) + "\n")
    found = {one.field: one for one in fit_speed([read_steps(tmp_path / "steps.csv", {})], [], None, {}).coefficients}
    for name in ("prefill_s_per_token_pair", "overlap_exponent", "first_token_overhead_s", "lag_iterations"):
        assert found[name].origin.startswith("not determined by the data"), name
        assert found[name].interval is None
    for name in ("decode_base_s", "prefill_s_per_token"):
        assert found[name].origin == "fitted"


def test_what_is_held_stays(tmp_path: Path) -> None:
    held = {"overhead_s": 0.004, "overlap_exponent": 1.5, "lag_iterations": 0.0}
    found = fit_speed([read_steps(table(tmp_path / "steps.csv", SPEED), {})], [], None, held)
    assert {name: found.fields[name] for name in held} == held
    assert {one.origin for one in found.coefficients if one.field in held} == {"given"}


def test_medians_and_batches_of_prompts_are_read(tmp_path: Path) -> None:
    text = "decoding,prompts_in_step,context_tokens,prompt_tokens,n_steps,step_s_median\n"
    text += "3,2,3000,1980,7,0.08\n1,0,1000,0,9,0.01\n"
    (tmp_path / "steps.csv").write_text(text)
    found = read_steps(tmp_path / "steps.csv", {})
    assert found.pairs.tolist() == [1980 * 1980 / 4, 0]
    assert found.phase.tolist() == [2, 0]
    assert not found.kernels
    each = "gpu,prompt_tokens,prompt_tokens_before,decoding,context_each,step_s\nA,64,1000,4,16,0.02\nB,0,0,1,16,0.02\n"
    (tmp_path / "kernels.csv").write_text(each)
    one = read_steps(tmp_path / "kernels.csv", {"hardware": "a"})
    assert (one.context_tokens[0], one.pairs[0], one.kernels, one.label) == (64, 64 * 1032, True, "hardware A")


def test_cpu_time_is_added_to_kernels(tmp_path: Path) -> None:
    frame = pl.read_csv(table(tmp_path / "steps.csv", SPEED).read_bytes())
    each = (pl.col("context_tokens") / pl.max_horizontal("decoding", pl.lit(1))).alias("context_each")
    frame.with_columns(each).drop("context_tokens").write_csv(tmp_path / "kernels.csv")
    said = run(tmp_path / "kernels.csv", "--cpu-s", 0.002, "--out", tmp_path / "p.toml")
    assert "2 ms per iteration are added" in said
    found = profile_fields(str(tmp_path / "p.toml"))
    assert (
        worst(
            found,
            SPEED | {"decode_base_s": SPEED["decode_base_s"] + 0.002, "overhead_s": SPEED["overhead_s"] + 0.002},
            states(),
        )
        < 1e-3
    )


# --- power ------------------------------------------------------------------------------------------------------------

POWER = {"idle_w": 80.0, "peak_w": 400.0, "power_exponent": 0.2, "prefill_w": 520.0}


def test_power_beside_steps_comes_back(tmp_path: Path) -> None:
    path = table(tmp_path / "steps.csv", SPEED, noise=0.003, power=POWER)
    run(path, "--set", "cluster.max_batch=128", "--idle-w", 80, "--out", tmp_path / "p.toml")
    found = tomllib.loads((tmp_path / "p.toml").read_text())
    for name, value in POWER.items():
        assert found[name] == pytest.approx(value, rel=0.03), name
    assert found["fit"]["max_batch"] == 128
    assert found["fit"]["power_error"][0] < 0.01
    assert profile_fields(str(tmp_path / "p.toml"), 64)["peak_w"] < found["peak_w"]


def test_power_over_a_run_comes_back(tmp_path: Path) -> None:
    from caps_fast.validation import Replay  # noqa: PLC0415

    log = engine_logs.served(engine_logs.load(600), engine_logs.SPEED | POWER)
    replay = Replay(log, engine_scenario(None, 1, engine_logs.LIMITS))
    edges_s = np.linspace(0, (log.arrival_s + log.e2e_s).max(), 301)
    watts = replay.power_w(engine_logs.SPEED | POWER, edges_s)
    rows = [f"{second},{watt}" for second, watt in zip(edges_s, [*watts, watts[-1]], strict=True)]
    (tmp_path / "power.csv").write_text("\n".join(["time_s,power_w", *rows]) + "\n")
    engine_logs.write_log(tmp_path / "log.csv", log)
    held = [word for name, value in engine_logs.SPEED.items() for word in ("--set", f"gpu.{name}={value}")]
    run(
        tmp_path / "log.csv",
        tmp_path / "power.csv",
        *held,
        *engine_logs.settings(),
        "--idle-w",
        80,
        "--out",
        tmp_path / "p.toml",
    )
    found = tomllib.loads((tmp_path / "p.toml").read_text())
    assert found["fit"]["power_error"][0] < 0.01
    assert found["prefill_w"] > found["peak_w"] > 300
    simulated = replay.power_w(engine_logs.SPEED | {name: found[name] for name in POWER}, edges_s[::10])
    assert simulated == pytest.approx(watts.reshape(-1, 10).mean(1), rel=0.03)


def test_speed_without_power_and_power_by_name(tmp_path: Path) -> None:
    path = table(tmp_path / "steps.csv", SPEED)
    assert "power was not measured" in run(path, "--out", tmp_path / "p.toml")
    found = tomllib.loads((tmp_path / "p.toml").read_text())
    assert not {"idle_w", "peak_w", "power_exponent", "prefill_w"} & set(found)
    assert "max_batch" not in found["fit"]
    run(path, "--power-from", "h100-llama3.1-8b", "--set", "cluster.max_batch=128", "--out", tmp_path / "b.toml")
    borrowed = tomllib.loads((tmp_path / "b.toml").read_text())
    assert borrowed["peak_w"] == profile_fields("h100-llama3.1-8b", 128)["peak_w"]
    assert borrowed["fit"]["max_batch"] == 128


# --- request logs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own() -> Any:
    """A fit to a log of the simulator's own, and the log."""
    log = engine_logs.served(engine_logs.load(1500))
    return fit_speed([], [log], engine_scenario(None, 1, engine_logs.LIMITS), {}), log


def test_a_log_of_its_own_gives_its_speed_back(own: Any) -> None:
    found, _ = own
    truth = engine_logs.SPEED
    usual = states()
    usual = Steps(
        **{name: getattr(usual, name) for name in Steps.__dataclass_fields__}
        | {"decoding": np.minimum(usual.decoding, 16), "context_tokens": np.minimum(usual.context_tokens, 16_000)}
        | {"pairs": usual.prompt_tokens**2 / 2}
    )
    errors = np.abs(step_s(found.fields, usual) / step_s(truth, usual) - 1)
    assert errors.mean() < 0.03
    assert errors.max() < 0.08
    assert found.fields["lag_iterations"] == 1
    for name in ("decode_base_s", "prefill_s_per_token"):
        assert found.fields[name] == pytest.approx(truth[name], rel=0.05), name
    assert found.fields["first_token_overhead_s"] == pytest.approx(truth["first_token_overhead_s"], abs=0.002)


def test_a_fitted_log_is_explained(own: Any) -> None:
    found, _ = own
    errors = found.points.group_by("what").agg(pl.col("error").abs().mean())
    for what, error in errors.iter_rows():
        assert error < (0.02 if what.startswith("ttft") else 0.01), what


def test_the_lag_is_told(own: Any) -> None:
    truth = engine_logs.SPEED | {"lag_iterations": 0}
    log = engine_logs.served(engine_logs.load(600), truth)
    found = fit_speed([], [log], engine_scenario(None, 1, engine_logs.LIMITS), {})
    assert found.fields["lag_iterations"] == 0


def test_steps_and_a_log_together(tmp_path: Path) -> None:
    """The issue's command: the table tells the steps, the log what is outside the engine."""
    steps = table(tmp_path / "steps.csv", SPEED, noise=0.005)
    log = engine_logs.write_log(tmp_path / "log.csv", engine_logs.served(engine_logs.load(600)))
    out, residuals, drawn = (tmp_path / name for name in ("p.toml", "r.csv", "p.png"))
    said = run(steps, log, *engine_logs.settings(), "--out", out, "--residuals", residuals, "--picture", drawn)
    assert "95 % interval" in said.replace("\n", " ") or "interval" in said
    found = profile_fields(str(out))
    assert worst(found, SPEED, states()) < 0.05
    assert found["first_token_overhead_s"] == pytest.approx(engine_logs.SPEED["first_token_overhead_s"], abs=5e-4)
    assert found["lag_iterations"] == 1
    points = pl.read_csv(residuals.read_bytes())
    assert points.columns == ["file", "what", "at", "measured", "fitted", "error"]
    assert set(points["file"]) == {str(steps), str(log)}
    assert drawn.read_bytes().startswith(b"\x89PNG")
    saved = tomllib.loads(out.read_text())["fit"]
    assert "decode_base_s" in saved["told"]
    low, high = saved["decode_base_s_interval"]
    assert low <= found["decode_base_s"] <= high


def test_other_benchmarks_logs_are_fitted_too(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(engine_logs.guidellm(benchmarks=2)))
    out = tmp_path / "p.toml"
    steps = table(tmp_path / "steps.csv", SPEED)
    with pytest.raises(InputError, match="2 benchmarks: expected --benchmark"):
        run(steps, path)
    run(steps, path, "--benchmark", 2, *engine_logs.settings(), "--out", out)
    assert worst(profile_fields(str(out)), SPEED, states()) < 0.05
    assert len(read_log(path, benchmark=2)) == len(engine_logs.ROWS)


# --- bad input --------------------------------------------------------------------------------------------------------
