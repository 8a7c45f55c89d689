"""The step-time formula against published measurements of a real replica: what the fit promises, and what the
kernel then plays.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from caps_fast.profiles import profiles
from caps_fast.profiles.fit import Fit, Given, fit
from caps_fast.profiles.measurements import read_measurements
from cases import play_fast
from plain import case, cluster, requests

DATA = Path(__file__).parents[2] / "shared" / "data" / "gpu" / "splitwise_perf_model.csv"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the measurements are not at hand (../shared/data/gpu)")

SHIPPED = {
    "a100-llama2-70b-tp4": ("llama2-70b", "a100-80gb", 4),
    "a100-llama2-70b-tp8": ("llama2-70b", "a100-80gb", 8),
    "h100-llama2-70b-tp8": ("llama2-70b", "h100-80gb", 8),
    "a100-bloom-176b-tp8": ("bloom-176b", "a100-80gb", 8),
    "h100-bloom-176b-tp8": ("bloom-176b", "h100-80gb", 8),
}
POWER = ("idle_w", "peak_w", "power_exponent")


def fitted(name: str) -> Fit:
    model, hardware, tensor_parallel = SHIPPED[name]
    measured = read_measurements(DATA, {"model": model, "hardware": hardware, "tensor_parallel": tensor_parallel})
    shipped = profiles()[name]
    power = {field: shipped[field] for field in POWER} if measured.frame["power_w"].is_null().all() else None
    return fit(measured, Given(max_batch=shipped["fit"]["max_batch"], power=power))


@needs_data
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_are_what_the_fit_finds(name: str) -> None:
    found, shipped = fitted(name), profiles()[name]
    for field, value in found.fields.items():
        assert shipped[field] == value, field
    assert shipped["fit"] == found.summary()


@needs_data
def test_measured_anchor_points() -> None:
    """Figures anyone can read off the file: Llama-2-70B on four A100s."""
    points = fitted("a100-llama2-70b-tp4").points
    measured = {(row["what"], row["at"]): row["measured"] for row in points.iter_rows(named=True)}
    for tokens, seconds in ((512, 0.127), (1024, 0.227), (2048, 0.403)):
        assert measured["prefill", tokens] == pytest.approx(seconds, abs=5e-4)
    assert measured["step", 1] == pytest.approx(0.0446, abs=5e-5)


@needs_data
@pytest.mark.parametrize("name", SHIPPED)
def test_fit_is_the_least_squares_of_the_relative_error(name: str) -> None:
    found = fitted(name)
    fields = found.fields

    def loss(what: str, seconds: np.ndarray) -> float:
        measured = found.points.filter(pl.col("what") == what)["measured"].to_numpy()
        return float(((seconds / measured - 1) ** 2).sum())

    batch = found.points.filter(pl.col("what") == "step")["at"].to_numpy()
    tokens = found.points.filter(pl.col("what") == "prefill")["at"].to_numpy()
    base, per_seq, prefill = (fields[name] for name in ("decode_base_s", "decode_s_per_seq", "prefill_s_per_token"))
    best = loss("step", base + per_seq * batch)
    for up, down in ((1.01, 1.0), (0.99, 1.0), (1.0, 1.05), (1.0, 0.95), (1.01, 0.95), (0.99, 1.05)):
        assert loss("step", base * up + per_seq * down * batch) > best
    best = loss("prefill", base + prefill * tokens)
    for off in (0.99, 1.01):
        assert loss("prefill", base + prefill * off * tokens) > best


@needs_data
@pytest.mark.parametrize("name", SHIPPED)
def test_size_of_the_errors(name: str) -> None:
    """Decode steps, most of a replica's work, are told within a tenth.

    Prompt times bend away from a straight line: up to two fifths at the ends.
    """
    summary = fitted(name).summary()
    assert summary["step_mean_error"] < 0.05
    assert abs(summary["step_worst_error"]) < 0.1
    assert summary["prefill_mean_error"] < 0.25
    assert abs(summary["prefill_worst_error"]) < 0.4


@needs_data
def test_kernel_plays_the_measured_prompt_times_and_steps() -> None:
    """A lone prompt's TTFT, and the time between tokens of b sequences together, are the measured ones within the
    profile's stated error.
    """
    name = "a100-llama2-70b-tp4"
    stated = profiles()[name]["fit"]
    points = fitted(name).points
    prompts = points.filter(pl.col("what") == "prefill")
    tokens, measured = prompts["at"].to_numpy(), prompts["measured"].to_numpy()
    alone = requests(100.0 * np.arange(len(tokens)), tokens, 1)
    gpu = {"gpu": {"profile": name}}
    played = play_fast(case(cluster(1, 64) | gpu | {"cluster.prefill": "unchunked"}, alone)).requests
    assert played is not None
    errors = (played["first_token_s"] - played["arrival_s"]) / measured - 1
    assert np.abs(errors).max() == pytest.approx(abs(stated["prefill_worst_error"]), abs=1e-3)
    for at, seconds in points.filter(pl.col("what") == "step").select("at", "measured").iter_rows():
        batch = int(at)
        played = play_fast(case(cluster(1, 64) | gpu, requests(np.zeros(batch), 1, 1001))).requests
        assert played is not None
        step_s = (played["finished_s"] - played["first_token_s"]) / 1000
        assert np.abs(step_s / seconds - 1).max() <= abs(stated["step_worst_error"]) + 1e-3


def test_recovers_the_parameters_of_exact_measurements(tmp_path: Path) -> None:
    rows = ["prompt_tokens,batch,prompt_s,step_s,power_w"]
    for tokens in (128, 512, 4096):
        rows.append(f"{tokens},1,{0.04 + 2e-4 * tokens!r},,")
    for batch in (1, 3, 8, 32):
        rows.append(f",{batch},,{0.04 + 5e-4 * batch!r},{100 + 300 * (batch / 32) ** 0.7!r}")
    path = tmp_path / "exact.csv"
    path.write_text("\n".join(rows) + "\n")
    found = fit(read_measurements(path, {}), Given(idle_w=100.0))
    expected = {
        "decode_base_s": 0.04,
        "decode_s_per_seq": 5e-4,
        "prefill_s_per_token": 2e-4,
        "idle_w": 100.0,
        "peak_w": 400.0,
        "power_exponent": 0.7,
    }
    for field, value in expected.items():
        assert found.fields[field] == pytest.approx(value, rel=2e-3), field
    assert found.points["error"].abs().max() < 1e-3  # type: ignore[operator]
