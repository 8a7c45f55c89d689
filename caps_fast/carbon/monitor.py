"""The carbon and energy monitor: what the scheduler sees of the grid.

Nothing here reads the future, except a forecast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caps_fast.carbon.forecast import forecast_grid
from caps_fast.carbon.grid import ForecastGrid
from caps_fast.carbon.trace import carbon_trace
from caps_fast.clock import clock_of
from caps_fast.scenario import file_hash

if TYPE_CHECKING:
    from caps_fast.carbon.trace import CarbonTrace
    from caps_fast.grid_section import Carbon, Region
    from caps_fast.grid_section import Monitor as MonitorConfig
    from caps_fast.scenario import Scenario

Floats = NDArray[np.float64]
KEPT = 16  # cached monitors


@dataclass(frozen=True)
class Monitor:
    """What the scheduler sees of a grid.

    trace                   the grid's intensity, as used in the accounts; with a marginal one, at the times of both
    forecast                forecasts by issue time
    window_s                length of the rolling window
    threshold_s             float64, (n,), ascending: times from which a gate threshold is in force
    threshold_g_per_kwh     float64, (n,)
    marginal                marginal intensity at the times of `trace`, which is average then; None = not given
    seen                    the signal for decisions, if that is not `trace`
    """

    trace: CarbonTrace
    forecast: ForecastGrid
    window_s: float
    threshold_s: Floats
    threshold_g_per_kwh: Floats
    marginal: CarbonTrace | None = None
    seen: CarbonTrace | None = None

    @property
    def signal(self) -> CarbonTrace:
        """The intensity that policies see."""
        return self.seen or self.trace

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines for the user."""
        return (*self.trace.warnings, *(self.marginal.warnings if self.marginal else ()), *self.forecast.warnings)

    @cached_property
    def seen_at_samples(self) -> Floats:
        """The signal at the times of `trace`, g/kWh."""
        return self.trace.g_per_kwh if self.seen is None else self.seen.at(self.trace.times_s)

    def intensity(self, t_s: float) -> float:
        """Intensity now, g/kWh. Raises InputError before the trace's first sample."""
        return float(self.signal.at(t_s))

    def window(self, t_s: float) -> Floats:
        """Samples of the rolling window (t - window, t], g/kWh, oldest first."""
        first, last = np.searchsorted(self.signal.times_s, (t_s - self.window_s, t_s), side="right")
        return self.signal.g_per_kwh[first:last]

    def threshold(self, t_s: float) -> float:
        """Gate threshold in force, g/kWh; before the first one, the first."""
        index = int(np.searchsorted(self.threshold_s, t_s, side="right")) - 1
        return float(self.threshold_g_per_kwh[max(index, 0)])

    def outlook(self, t_s: float) -> Floats:
        """The forecast in force, g/kWh by lead, counted from its issue time `forecast.issued_s[forecast.row(t_s)]`."""
        row: Floats = self.forecast.g_per_kwh[self.forecast.row(t_s)]
        return row


def monitors_of(config: Scenario) -> tuple[Monitor, ...]:
    """The monitors of a scenario by region, one object for all runs that see the same.

    Raises InputError for a carbon trace or forecasts that cannot be used.
    """
    return tuple(monitor_of(region, config) for region in config.fleet.regions.values())


def monitor_of(region: Region, config: Scenario) -> Monitor:
    """The monitor of one of a scenario's regions.

    Raises InputError for a carbon trace or forecasts that cannot be used.
    """
    marginal = region.marginal.file if region.marginal else None
    contents = tuple(file_hash(path) for path in (region.carbon.file, region.monitor.forecast_file, marginal) if path)
    seed = config.seed if region.monitor.forecast == "noisy" else 0
    signals = Signals(region.carbon, region.marginal, region.decide_on)
    return _monitor_of(
        signals, region.monitor, (config.horizon_s, config.drain_h), seed, contents, clock_of(config).start
    )


class Signals(NamedTuple):
    """The intensities of a region, and the one that policies see."""

    average: Carbon
    marginal: Carbon | None
    decide_on: str


@lru_cache(KEPT)
def _monitor_of(
    signals: Signals,
    config: MonitorConfig,
    lengths: tuple[float, float],
    seed: int,
    contents: tuple[str, ...],
    start: datetime | None,
) -> Monitor:
    horizon_s, drain_h = lengths
    end_s = horizon_s + drain_h * 3600
    average = _trace_of(signals.average, horizon_s, contents[:1] if signals.average.file else (), start)
    if signals.marginal is None:
        return monitor(config, average, end_s, seed)
    marginal = _trace_of(signals.marginal, horizon_s, contents[-1:], start or average.start)
    seen = marginal if signals.decide_on == "marginal" else average
    both = average.refined(marginal)
    return replace(monitor(config, seen, end_s, seed), trace=both, marginal=marginal.refined(average), seen=seen)


@lru_cache(KEPT)
def _trace_of(carbon: Carbon, horizon_s: float, content: tuple[str, ...], start: datetime | None) -> CarbonTrace:
    """The trace, the same for all forecasts; `content` is the file's hash."""
    return carbon_trace(carbon, horizon_s, start)


def monitor(config: MonitorConfig, trace: CarbonTrace, end_s: float, seed: int) -> Monitor:
    """The monitor of a run that ends by `end_s`.

    The gate threshold is `gate_g_per_kwh`, or else, from each sample on, the `gate_quantile` (linear between samples)
    of the samples in the rolling window up to and including it. Raises InputError as `forecast_grid` does.
    """
    window_s = config.window_h * 3600.0
    if config.gate_g_per_kwh is not None:
        threshold_s, threshold = np.zeros(1), np.full(1, float(config.gate_g_per_kwh))
    else:
        seen = trace.times_s <= end_s
        threshold_s = trace.times_s[seen]
        threshold = rolling_quantile(threshold_s, trace.g_per_kwh[seen], window_s, config.gate_quantile)
    return Monitor(trace, forecast_grid(config, trace, end_s, seed), window_s, threshold_s, threshold)


def rolling_quantile(times_s: Floats, values: Floats, window_s: float, quantile: float) -> Floats:
    """At each time the quantile (linear) of the values in (t - window, t], (n,). Times ascend."""
    micros = np.rint(times_s * 1e6).astype(np.int64)
    frame = pl.DataFrame({"t": pl.Series(micros).cast(pl.Datetime("us")), "value": values})
    window = f"{max(round(window_s * 1e6), 1)}us"
    rolled = pl.col("value").rolling_quantile_by("t", window, quantile=quantile, interpolation="linear", closed="right")
    thresholds: Floats = frame.select(rolled).to_series().to_numpy().astype(np.float64)
    return thresholds
