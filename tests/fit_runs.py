"""Step tables of known coefficients, and the command that fits them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import typer
from typer.testing import CliRunner

import engine_logs
from caps_fast.cli import fit_profile as command
from caps_fast.fitting.power import power_w
from caps_fast.profiles.step_tables import Steps
from caps_fast.profiles.step_time import step_s

SPEED = {
    name: value for name, value in engine_logs.SPEED.items() if name not in ("first_token_overhead_s", "lag_iterations")
}


def table(
    path: Path,
    speed: Mapping[str, float],
    noise: float = 0.0,
    power: Mapping[str, float] | None = None,
    rows: int = 250,
    max_batch: int = 128,
) -> Path:
    """A table of steps made from a speed and a power."""
    made = states(rows)
    rng = np.random.default_rng(5)
    seconds = step_s(speed, made) * np.exp(noise * rng.standard_normal(rows))
    before = np.where(
        made.prompt_tokens > 0, made.pairs / np.maximum(made.prompt_tokens, 1) - made.prompt_tokens / 2, 0
    )
    columns: dict[str, Any] = {
        "decoding": made.decoding,
        "context_tokens": made.context_tokens,
        "prompt_tokens": made.prompt_tokens,
        "prompt_tokens_before": before,
        "step_s": seconds,
    }
    if power is not None:
        columns["power_w"] = power_w(power, made, speed, max_batch) * np.exp(noise * rng.standard_normal(rows))
    pl.DataFrame(columns).write_csv(path)
    return path


def run(*arguments: object) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, ["fit-profile", *(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def states(rows: int = 250, seed: int = 0) -> Steps:
    """Steps of all kinds, without their times."""
    rng = np.random.default_rng(seed)
    decoding = rng.integers(0, 64, rows).astype(float)
    tokens = np.where(rng.random(rows) < 0.5, 0.0, np.exp(rng.uniform(3, 8, rows)).round())
    decoding[(decoding == 0) & (tokens == 0)] = 1.0
    before = np.where(tokens > 0, rng.integers(0, 8000, rows), 0)
    context = decoding * rng.integers(100, 4000, rows)
    none = np.full(rows, np.nan)
    return Steps(
        "made",
        decoding,
        context,
        tokens,
        (tokens > 0) * 1.0,
        tokens * (before + tokens / 2),
        none,
        none,
        1,
        False,
        "",
        None,
    )
