"""Fitting the power of a replica: from watts of steps, from a power log of a run, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import least_squares

from caps_fast.errors import InputError
from caps_fast.profiles.step_tables import Steps
from caps_fast.records import Array
from caps_fast.scenario import Scenario
from caps_fast.validation.log import RequestLog
from caps_fast.validation.power_log import PowerLog, edges_of
from caps_fast.validation.replay import Replay

LOADED_IDLE_W = {"h100": 128.6, "a100": 82.3, "b200": 233.6}
"""One idle GPU with a model loaded, at default clocks (docs/profiles.md has the sources)."""
POWER = ("idle_w", "peak_w", "power_exponent", "prefill_w")
PARTS = 30  # means over a run that are compared
STEP = 0.02  # of the logarithms, for derivatives
LOW, HIGH = np.log([1.0, 0.005, 1.0]), np.log([1e5, 3.0, 1e5])
DIGITS = 4


@dataclass(frozen=True)
class PowerFit:
    """Fields of `POWER` for one GPU (without `prefill_w` if no step with a prompt was measured), and the points in
    watts of one GPU.
    """

    fields: dict[str, float]
    points: pl.DataFrame

    def summary(self) -> dict[str, list[float]]:
        """Mean absolute and worst error, for a profile's table `fit`."""
        errors = self.points["error"].to_numpy()
        return {
            "power_error": [round(float(np.abs(errors).mean()), 4), round(float(errors[np.abs(errors).argmax()]), 4)]
        }


def power_w(fields: Mapping[str, float], steps: Steps, speed: Mapping[str, float], max_batch: int) -> Array:
    """Watts of one GPU during every step, float64 (n,): docs/model.md section 3."""
    members = np.minimum((steps.decoding + steps.prompts) / max_batch, 1.0)
    decode_w = fields["idle_w"] + (fields["peak_w"] - fields["idle_w"]) * members ** fields["power_exponent"]
    compute_s = speed["prefill_s_per_token"] * steps.prompt_tokens
    share = compute_s / (speed["decode_base_s"] + compute_s)
    return np.asarray(decode_w + np.maximum(fields.get("prefill_w", 0.0) - decode_w, 0.0) * share)


def idle_w_of(tables: Sequence[Steps], given: float | None) -> float:
    """Idle power of one GPU: given, measured, or known for the hardware. Raises InputError if none of these."""
    if given is not None:
        return given
    measured = [one.idle_w for one in tables if one.idle_w is not None]
    if measured:
        return float(np.median(measured))
    label = " ".join(one.label for one in tables).lower()
    known = [watts for name, watts in LOADED_IDLE_W.items() if name in label]
    if not known:
        raise InputError("idle power is not measured: expected a row with no sequence and power_w, or --idle-w")
    return known[0]


def fit_power(
    tables: Sequence[Steps],
    runs: Sequence[tuple[RequestLog, PowerLog]],
    config: Scenario,
    speed: Mapping[str, float],
    idle_w: float,
) -> PowerFit:
    """Fit `peak_w`, `power_exponent` and `prefill_w` by least squares of the relative error, with the speed as fitted.

    `peak_w` is that of `config`'s `max_batch` residents. Raises InputError if fewer than two points are measured or
    idle power is not below the least of them.
    """
    kind = config.fleet.only_kind
    measured = [one for one in tables if np.isfinite(one.power_w).any()]
    replays = [(log, power, Replay(log, config)) for log, power in runs]
    scale = config.fleet.replicas * kind.gpus_per_replica
    targets = [one.power_w[np.isfinite(one.power_w)] for one in measured] + [
        power.means_w(log, PARTS) / scale for log, power, _ in replays
    ]
    wanted = np.concatenate(targets) if targets else np.zeros(0)
    if len(wanted) < 2:
        raise InputError(f"power at {len(wanted)} points: expected power_w at two or more, or --power-from")
    if idle_w >= wanted.min():
        raise InputError(
            f"idle power {idle_w:g} W: expected less than the least busy power, {wanted.min():.4g} W per GPU"
        )
    with_prompts = bool(replays) or any((one.prompt_tokens[np.isfinite(one.power_w)] > 0).any() for one in measured)

    def fields_at(x: Array) -> dict[str, float]:
        rise_w, exponent, prompt_w = np.exp(x).tolist()
        found = {"idle_w": idle_w, "peak_w": idle_w + rise_w, "power_exponent": exponent}
        return found | ({"prefill_w": prompt_w} if with_prompts else {})

    def simulated(x: Array) -> Array:
        fields = fields_at(x)
        parts = [power_w(fields, one, speed, kind.max_batch)[np.isfinite(one.power_w)] for one in measured]
        parts += [replay.power_w({**speed, **fields}, edges_of(log, PARTS)) / scale for log, _, replay in replays]
        return np.concatenate(parts)

    def residuals(x: Array) -> Array:
        return np.concatenate([np.log(simulated(x) / wanted), [] if with_prompts else [x[2] - np.log(wanted.max())]])

    start = np.log([np.median(wanted) - idle_w, 0.2, wanted.max()])
    found = least_squares(
        residuals, np.clip(start, LOW, HIGH), bounds=(LOW, HIGH), diff_step=STEP, loss="soft_l1", f_scale=0.05
    )
    fields = {name: float(f"{value:.{DIGITS}g}") for name, value in fields_at(found.x).items()}
    return PowerFit(fields, _points(measured, replays, wanted, simulated(found.x)))


def _points(tables: Sequence[Steps], runs: Sequence[Any], measured: Array, fitted: Array) -> pl.DataFrame:
    files, at = [], []
    for one in tables:
        rows = np.flatnonzero(np.isfinite(one.power_w))
        files += [one.path] * len(rows)
        at += [one.at(row) for row in rows]
    for _, power, _ in runs:
        files += [power.path] * PARTS
        at += [f"{part / PARTS:.0%} to {(part + 1) / PARTS:.0%} of the run" for part in range(PARTS)]
    data = {
        "file": files,
        "what": ["power"] * len(files),
        "at": at,
        "measured": measured,
        "fitted": fitted,
        "error": fitted / measured - 1,
    }
    return pl.DataFrame(data)
