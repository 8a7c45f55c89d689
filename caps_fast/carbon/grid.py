"""Forecasts by issue time and lead, their error, and how to degrade them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from caps_fast.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caps_fast.carbon.trace import CarbonTrace

Floats = NDArray[np.float64]

ERROR_STREAM = 0xE770
"""Key of the forecast errors' random stream."""
ERROR_CORRELATION = 0.9
"""AR(1) correlation of log errors one lead hour apart: CarbonCast, CISO, July-December 2021 (0.89)."""
HOUR_S = 3600.0


@dataclass(frozen=True)
class ForecastGrid:
    """Forecasts by issue and lead.

    issued_s    float64, (n_issues,), ascending, relative to the run's t = 0
    step_s      length of a slot
    g_per_kwh   float64, (n_issues, n_leads); slot i of issue k covers [issued_s[k] + i * step_s, issued_s[k] + (i + 1)
                * step_s)
    warnings    lines that the user should see
    """

    issued_s: Floats
    step_s: float
    g_per_kwh: Floats
    warnings: tuple[str, ...] = ()

    def row(self, t_s: float) -> int:
        """Index of the issue in force at `t_s`: the last one issued by then.

        Raises InputError before the first issue.
        """
        index = int(np.searchsorted(self.issued_s, t_s, side="right")) - 1
        if index < 0:
            raise InputError(
                f"forecast at t = {t_s:g} s: expected a time from the first issue at {self.issued_s[0]:g} s"
            )
        return index


def degrade(grid: ForecastGrid, error_by_day: Sequence[float], seed: int) -> ForecastGrid:
    """`grid` degraded: every slot times a log-normal factor of mean 1 whose mean absolute deviation from 1 is
    `error_by_day[lead day]`.

    The last figure holds for later days. Errors are AR(1) over the leads of an issue and independent from issue to
    issue; a longer grid begins with the errors of a shorter one. Raises InputError for a figure outside 0 <= error < 2.
    """
    factors = error_factors(grid.g_per_kwh.shape, grid.step_s, error_by_day, seed)
    return ForecastGrid(grid.issued_s, grid.step_s, grid.g_per_kwh * factors, grid.warnings)


def error_factors(shape: tuple[int, ...], step_s: float, error_by_day: Sequence[float], seed: int) -> Floats:
    """The factors of `degrade`, (n_issues, n_leads)."""
    normal = np.random.default_rng(np.random.SeedSequence([seed, ERROR_STREAM])).standard_normal(shape)
    correlation = ERROR_CORRELATION ** (step_s / HOUR_S)
    for lead in range(1, shape[1]):
        normal[:, lead] = correlation * normal[:, lead - 1] + np.sqrt(1 - correlation**2) * normal[:, lead]
    day = (np.arange(shape[1]) * step_s // 86400).astype(int)
    sigma = np.array([_sigma(error) for error in error_by_day])[np.minimum(day, len(error_by_day) - 1)]
    factors: Floats = np.exp(sigma * normal - sigma**2 / 2)
    return factors


def _sigma(error: float) -> float:
    """sd of log X for a log-normal X of mean 1 with E|X - 1| = `error` = 2 (2 Phi(sigma / 2) - 1)."""
    if not 0 <= error < 2:
        raise InputError(
            f"monitor.forecast_error {error:g}: expected mean absolute percentage errors as fractions, 0 <= error < 2"
        )
    return 2 * NormalDist().inv_cdf(0.5 + error / 4)


def forecast_error(grid: ForecastGrid, trace: CarbonTrace) -> Floats:
    """Mean absolute percentage error by lead day, as fractions, (ceil(n_leads * step_s / 86400),).

    Slots that end after the trace's last sample, or whose true mean is 0, are left out; a day without any slot is NaN.
    """
    start_s = grid.issued_s[:, None] + np.arange(grid.g_per_kwh.shape[1]) * grid.step_s
    truth = trace.mean(start_s, start_s + grid.step_s)
    known = (start_s + grid.step_s <= trace.times_s[-1] + _last_step_s(trace)) & (truth > 0)
    error = np.where(known, np.abs(grid.g_per_kwh - truth) / np.where(known, truth, 1.0), 0.0)
    day = (np.arange(grid.g_per_kwh.shape[1]) * grid.step_s // 86400).astype(int)
    count = np.bincount(day, known.sum(axis=0))
    total = np.bincount(day, error.sum(axis=0))
    mean: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def _last_step_s(trace: CarbonTrace) -> float:
    return float(trace.times_s[-1] - trace.times_s[-2]) if trace.times_s.size > 1 else 0.0
