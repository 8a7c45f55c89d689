"""Fitting a GPU profile to measurements: the step-time model of docs/model.md section 2 and the power of Eq. 2.

    a decode step of b sequences takes          decode_base_s + decode_s_per_seq * b
    a prompt of n tokens, alone and whole,      decode_base_s + prefill_s_per_token * n
    a GPU with n of max_batch residents draws   idle_w + (peak_w - idle_w) * (n / max_batch) ** power_exponent

All three are fitted to medians by least squares of the *relative* error, so that small and large measurements count
alike. `decode_base_s` comes from the decode steps, which are most of a replica's work; the prompts then share it and
determine only `prefill_s_per_token`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caps_fast.errors import InputError
from caps_fast.profiles.measurements import Measurements

EXPONENTS = np.geomspace(0.01, 3.0, 20_001)
DIGITS = 4

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Given:
    """Given values: limits of the range, and values that the measurements lack.

    `max_batch` is the batch of a full replica (u = 1), and the largest one used; None = the largest measured.
    `prefill_s_per_token` and `power` (`idle_w`, `peak_w`, `power_exponent`, all at this `max_batch`) replace
    measurements; `idle_w` overrides the known one.
    """

    max_batch: int | None = None
    max_prompt_tokens: int | None = None
    prefill_s_per_token: float | None = None
    idle_w: float | None = None
    power: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Fit:
    """A fitted profile.

    `fields` are fields of `Gpu`; `points` (Polars) has one row per fitted point: `what` (prefill, step, power),
    `at` (prompt tokens or batch), `measured`, `fitted` (seconds or watts) and `error` (fitted / measured - 1);
    `max_batch` is the batch of a full replica.
    """

    fields: dict[str, float | int]
    points: pl.DataFrame
    max_batch: int

    def summary(self) -> dict[str, Any]:
        """What a profile says about its fit: `max_batch` and, for each of prefill, step and power, range, mean
        absolute error and the worst error.
        """
        told: dict[str, Any] = {"max_batch": self.max_batch}
        for what in ("prefill", "step", "power"):
            points = self.points.filter(pl.col("what") == what)
            if len(points):
                errors = points["error"].to_numpy()
                told[f"{what}_range"] = [round(float(points["at"].min()), 1), round(float(points["at"].max()), 1)]  # type: ignore[arg-type]
                told[f"{what}_mean_error"] = round(float(np.abs(errors).mean()), 4)
                told[f"{what}_worst_error"] = round(float(errors[np.abs(errors).argmax()]), 4)
        return told


def fit(measured: Measurements, given: Given) -> Fit:
    """Fit a profile. Raises InputError if the measurements do not determine a value and none is given for it."""
    frame = measured.frame
    if frame["batch"].null_count():
        raise InputError(f"{measured.path}: batch is missing in a row; expected it in every row")
    largest = int(frame["batch"].max() or 0) if given.max_batch is None else given.max_batch  # type: ignore[arg-type]
    busy = frame.filter(pl.col("batch").is_between(0, largest, closed="right"))
    if busy.is_empty():
        raise InputError(f"{measured.path}: no measurement with a batch from 1 to {largest}: expected some")
    base_s, per_seq_s, steps = _fit_steps(measured.path, busy)
    prefill_s, prompts = _fit_prompts(measured.path, busy, base_s, given)
    power, watts = _fit_power(measured, busy, largest, given)
    fields: dict[str, float | int] = {
        "prefill_s_per_token": prefill_s,
        "decode_base_s": base_s,
        "decode_s_per_seq": per_seq_s,
        **power,
    }
    rounded: dict[str, float | int] = {name: float(f"{value:.{DIGITS}g}") for name, value in fields.items()}
    return Fit({**rounded, "gpus_per_replica": measured.gpus}, pl.concat([prompts, steps, watts]), largest)


def _fit_steps(path: str, busy: pl.DataFrame) -> tuple[float, float, pl.DataFrame]:
    batch, step_s = _medians(busy, "batch", "step_s")
    if len(batch) < 2:
        raise InputError(f"{path}: decode steps at {len(batch)} batch sizes: expected step_s at two or more")
    weighted = np.column_stack([1 / step_s, batch / step_s])
    base_s, per_seq_s = np.linalg.lstsq(weighted, np.ones(len(batch)), rcond=None)[0]
    if per_seq_s < 0:
        base_s, per_seq_s = _scale(1 / step_s, np.ones(len(batch))), 0.0
    if base_s <= 0:
        raise InputError(
            f"{path}: decode steps grow faster than the batch (base {base_s:.3g} s): expected a fixed part above 0"
        )
    return float(base_s), float(per_seq_s), _points("step", batch, step_s, base_s + per_seq_s * batch)


def _fit_prompts(path: str, busy: pl.DataFrame, base_s: float, given: Given) -> tuple[float, pl.DataFrame]:
    alone = busy.filter((pl.col("batch") == 1) & (pl.col("prompt_tokens") > 0))
    if given.max_prompt_tokens is not None:
        alone = alone.filter(pl.col("prompt_tokens") <= given.max_prompt_tokens)
    prompt_tokens, prompt_s = _medians(alone, "prompt_tokens", "prompt_s")
    if given.prefill_s_per_token is not None:
        return given.prefill_s_per_token, _points(
            "prefill", prompt_tokens, prompt_s, base_s + given.prefill_s_per_token * prompt_tokens
        )
    if not len(prompt_tokens):
        raise InputError(
            f"{path}: no prompt times at batch 1: expected prompt_tokens and prompt_s, or --prefill-from or "
            "--prefill-s-per-token"
        )
    per_token_s = _scale(prompt_tokens / prompt_s, 1 - base_s / prompt_s)
    if per_token_s <= 0:
        raise InputError(
            f"{path}: prompts take less than a decode step of {base_s:.3g} s: expected prompt_s in seconds, above it"
        )
    return per_token_s, _points("prefill", prompt_tokens, prompt_s, base_s + per_token_s * prompt_tokens)


def _fit_power(
    measured: Measurements, busy: pl.DataFrame, largest: int, given: Given
) -> tuple[dict[str, float], pl.DataFrame]:
    batch, power_w = _medians(busy, "batch", "power_w")
    share = batch / largest
    if given.power is not None:
        idle_w, peak_w, exponent = (given.power[name] for name in ("idle_w", "peak_w", "power_exponent"))
        return dict(given.power), _points("power", batch, power_w, idle_w + (peak_w - idle_w) * share**exponent)
    if len(batch) < 2:
        raise InputError(
            f"{measured.path}: power at {len(batch)} batch sizes: expected power_w at two or more, or --power-from"
        )
    idle_w = _idle_w(measured, given)
    if idle_w >= power_w.min():
        raise InputError(
            f"{measured.path}: idle power {idle_w:g} W: expected less than the least busy power, "
            f"{power_w.min():.4g} W per GPU"
        )
    relative = share[None, :] ** EXPONENTS[:, None] / power_w
    wanted = 1 - idle_w / power_w
    rise_w = (relative * wanted).sum(1) / (relative**2).sum(1)
    best = int(((rise_w[:, None] * relative - wanted) ** 2).sum(1).argmin())
    peak_w, exponent = idle_w + float(rise_w[best]), float(EXPONENTS[best])
    fitted = idle_w + (peak_w - idle_w) * share**exponent
    return {"idle_w": idle_w, "peak_w": peak_w, "power_exponent": exponent}, _points("power", batch, power_w, fitted)


def _idle_w(measured: Measurements, given: Given) -> float:
    if given.idle_w is not None:
        return given.idle_w
    idle = measured.frame.filter((pl.col("batch") == 0) & pl.col("power_w").is_not_null())["power_w"]
    if len(idle):
        return float(idle.median())  # type: ignore[arg-type]
    if measured.idle_w is None:
        raise InputError(
            f"{measured.path}: no idle power measured: expected a row with batch 0 and power_w, or --idle-w"
        )
    return measured.idle_w


def _medians(frame: pl.DataFrame, by: str, of: str) -> tuple[Numbers, Numbers]:
    """The distinct values of `by` and the median of `of` at each, if it was measured."""
    found = frame.filter(pl.col(of) > 0).group_by(by).agg(pl.col(of).median()).drop_nulls().sort(by)
    return found[by].to_numpy(), found[of].to_numpy()


def _scale(x: Numbers, y: Numbers) -> float:
    """The k that makes k x closest to y."""
    return float((x * y).sum() / (x * x).sum())


def _points(what: str, at: Numbers, measured: Numbers, fitted: Numbers) -> pl.DataFrame:
    data = {"at": at, "measured": measured, "fitted": fitted, "error": fitted / measured - 1}
    return pl.DataFrame({name: np.asarray(values, np.float64) for name, values in data.items()}).select(
        pl.lit(what).alias("what"), pl.all()
    )
