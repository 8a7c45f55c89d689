"""Forecasters: each fills the rows of a forecast grid from the samples of the trace before each issue.

`Perfect` and `Noisy` are declared oracles: they read the future. No other forecaster's issue depends on a sample at or
after its issue time, with one exception: without any history, the present sample is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from caps_fast.carbon.grid import HOUR_S, error_factors
from caps_fast.carbon.learned import Learned
from caps_fast.carbon.same_hour import DAY_S, WEEK_S, last_hour, mean_or_nan, periods_back, slot_starts
from caps_fast.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from caps_fast.carbon.trace import CarbonTrace

Floats = NDArray[np.float64]

NAMES = ("perfect", "persistence", "yesterday", "last-week", "noisy", "learned")


class Forecaster(Protocol):
    """A way to forecast hourly means."""

    def rows(self, trace: CarbonTrace, issued_s: Floats, leads: int) -> Floats:
        """Forecasts, g/kWh, (len(issued_s), leads): column i is for the hour that begins i hours after the issue."""
        ...


class Perfect:
    """The trace's own hourly means."""

    def rows(self, trace: CarbonTrace, issued_s: Floats, leads: int) -> Floats:
        start_s = slot_starts(issued_s, leads)
        return trace.mean(start_s, start_s + HOUR_S)


class Persistence:
    """The mean of the last hour before the issue, for all leads."""

    def rows(self, trace: CarbonTrace, issued_s: Floats, leads: int) -> Floats:
        return np.repeat(last_hour(trace, issued_s)[:, None], leads, axis=1)


class Yesterday:
    """The mean of the same hour on the last complete day before the issue; persistence if the trace starts later."""

    def rows(self, trace: CarbonTrace, issued_s: Floats, leads: int) -> Floats:
        start_s = slot_starts(issued_s, leads) - periods_back(leads, DAY_S) * DAY_S
        return _or_else(mean_or_nan(trace, start_s), Persistence().rows(trace, issued_s, leads))


class LastWeek:
    """The mean of the same hour in the last complete week before the issue; `Yesterday` if the trace starts later."""

    def rows(self, trace: CarbonTrace, issued_s: Floats, leads: int) -> Floats:
        start_s = slot_starts(issued_s, leads) - periods_back(leads, WEEK_S) * WEEK_S
        return _or_else(mean_or_nan(trace, start_s), Yesterday().rows(trace, issued_s, leads))


@dataclass(frozen=True)
class Noisy:
    """`Perfect` degraded by a stated mean absolute percentage error by lead day (fractions; the last holds for later
    days).
    """

    error_by_day: tuple[float, ...]
    seed: int

    def rows(self, trace: CarbonTrace, issued_s: Floats, leads: int) -> Floats:
        factors = error_factors((issued_s.size, leads), HOUR_S, self.error_by_day, self.seed)
        return Perfect().rows(trace, issued_s, leads) * factors


def forecaster(name: str, error_by_day: Sequence[float], seed: int) -> Forecaster:
    """The forecaster of that name. Raises InputError for an unknown name."""
    if name == "noisy":
        if not error_by_day:
            raise InputError("monitor.forecast_error (): expected at least one number for the noisy forecast")
        return Noisy(tuple(error_by_day), seed)
    if name == "learned":
        return Learned()
    simple: dict[str, type[Forecaster]] = {
        "perfect": Perfect,
        "persistence": Persistence,
        "yesterday": Yesterday,
        "last-week": LastWeek,
    }
    if name not in simple:
        raise InputError(
            f"monitor.forecast {name!r}{did_you_mean(name, NAMES)}: expected one of {', '.join(NAMES)}, file"
        )
    return simple[name]()


def _or_else(values: Floats, otherwise: Floats) -> Floats:
    return np.where(np.isnan(values), otherwise, values)
