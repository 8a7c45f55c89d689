"""A run's carbon intensity: piecewise constant, in seconds from the run's start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from caps_fast.carbon.alignment import meeting, repeated
from caps_fast.carbon.declared import Declared
from caps_fast.carbon.formats import read_with_notes
from caps_fast.carbon.frame import fill_gaps, select_series
from caps_fast.errors import InputError
from caps_fast.instants import is_date, parse_utc

if TYPE_CHECKING:
    from caps_fast.grid_section import Carbon

Floats = NDArray[np.float64]

CARBON_STREAM = 0xC02
"""Key of the built-in trace's random stream."""
BUILT_IN_SEED = 23
"""The built-in trace is an input, not a random draw of the run: every seed of a study sees the same grid.

Of small seeds, this one's first week has a mean within 1 % of the source's.
"""
HISTORY_DAYS = 28
TAIL_DAYS = 12
DAY_CORRELATION = 0.6
"""Neighbouring days' levels: CAISO 2024, log daily means about their 15-day running mean, lag 1 (0.57)."""

# Hour-of-day means, 00..23 UTC, g/kWh: Electricity Maps, US-CAL-CISO, 5-11 August 2024.
# fmt: off
HOURLY_MEANS = {
    "lifecycle": (
        211.3, 248.1, 284.3, 289.8, 291.6, 298.1, 303.1, 301.5, 295.8, 291.7, 291.1, 291.9,
        294.8, 286.5, 233.5, 185.0, 163.8, 155.4, 155.3, 157.7, 160.9, 165.9, 176.6, 189.3,
    ),
    "direct": (
        151.6, 187.8, 224.3, 228.3, 227.5, 229.7, 228.9, 226.5, 221.4, 218.1, 217.6, 218.1,
        220.6, 214.1, 169.2, 129.4, 111.9, 104.7, 104.5, 106.2, 109.0, 113.4, 122.2, 132.8,
    ),
}
# fmt: on


@dataclass(frozen=True)
class CarbonTrace:
    """Intensity over time; each sample holds until the next one, the last without end.

    times_s     float64, (n,), strictly ascending, relative to the run's t = 0 (negative: history before it)
    g_per_kwh   float64, (n,)
    kind        average | marginal
    scope       direct | lifecycle | unknown
    zone        as the source names it
    source      where the trace comes from
    start       UTC time of t = 0; None for the built-in trace
    warnings    lines for the user
    """

    times_s: Floats
    g_per_kwh: Floats
    kind: str
    scope: str
    zone: str
    source: str
    start: datetime | None = None
    warnings: tuple[str, ...] = ()

    def at(self, t_s: ArrayLike) -> Floats:
        """Intensity in force at `t_s` (any shape), g/kWh. Raises InputError before the first sample."""
        return self.g_per_kwh[self._index(np.asarray(t_s, np.float64))]

    def integral(self, t0_s: ArrayLike, t1_s: ArrayLike) -> Floats:
        """Integral of the intensity from `t0_s` to `t1_s` (any shapes that broadcast), g/kWh * s.

        Raises InputError before the first sample.
        """
        return self._integral_to(np.asarray(t1_s, np.float64)) - self._integral_to(np.asarray(t0_s, np.float64))

    def mean(self, t0_s: ArrayLike, t1_s: ArrayLike) -> Floats:
        """Mean intensity from `t0_s` to `t1_s` > `t0_s` (any shapes that broadcast), g/kWh.

        Raises InputError before the first sample.

        Never outside the range of the samples in force: the mean of one sample is that sample to the last bit, and
        equal hours have equal means.
        """
        start_s, end_s = np.broadcast_arrays(np.asarray(t0_s, np.float64), np.asarray(t1_s, np.float64))
        rounded: Floats = self.integral(start_s, end_s) / (end_s - start_s)
        if rounded.size == 0:
            return rounded
        first, after = self._index(start_s), np.searchsorted(self.times_s, end_s, side="left")
        spans = np.stack([first, after], axis=-1).ravel()
        samples = np.append(self.g_per_kwh, np.inf)
        lowest, highest = (
            reduce(samples, spans)[::2].reshape(start_s.shape) for reduce in (np.minimum.reduceat, np.maximum.reduceat)
        )
        within: Floats = np.clip(rounded, lowest, highest)
        return within

    def refined(self, other: CarbonTrace) -> CarbonTrace:
        """The same intensity with samples at the other trace's times too, from the later of their first samples."""
        times_s = np.union1d(self.times_s, other.times_s)
        times_s = times_s[times_s >= max(self.times_s[0], other.times_s[0])]
        return replace(self, times_s=times_s, g_per_kwh=self.at(times_s))

    @cached_property
    def integral_at_samples(self) -> Floats:
        """Integral of the intensity from the first sample up to each, float64 (n,), g/kWh * s."""
        return np.concatenate(([0.0], np.cumsum(self.g_per_kwh[:-1] * np.diff(self.times_s))))

    def _integral_to(self, t_s: Floats) -> Floats:
        index = self._index(t_s)
        total: Floats = self.integral_at_samples[index] + self.g_per_kwh[index] * (t_s - self.times_s[index])
        return total

    def _index(self, t_s: Floats) -> NDArray[np.int64]:
        if t_s.size and float(t_s.min()) < self.times_s[0]:
            raise InputError(
                f"{self.source}: carbon intensity at t = {t_s.min():g} s: expected a time from its first "
                f"sample at {self.times_s[0]:g} s"
            )
        return np.searchsorted(self.times_s, t_s, side="right") - 1


def carbon_trace(config: Carbon, horizon_s: float, start: datetime | None = None) -> CarbonTrace:
    """The trace that `config` names, for a run of `horizon_s` seconds: a file's, or the built-in one.

    `start` is the date and time of t = 0 of the run's traffic: a file is aligned with it (see `alignment`), unless
    `carbon.start` is set, and the built-in trace starts at that time of day.

    Raises InputError for a file that cannot be read, has gaps (unless they are filled), holds another kind or scope
    than the section states, or starts after t = 0.
    """
    return (
        built_in(config, horizon_s, start) if config.file is None else _from_file(config, config.file, horizon_s, start)
    )


def built_in(config: Carbon, horizon_s: float, start: datetime | None = None) -> CarbonTrace:
    """CAISO-shaped hourly trace: hour-of-day means times a log-normal day level, from `HISTORY_DAYS` before t = 0
    to `TAIL_DAYS` after the horizon.

    t = 0 is 00:00 UTC, or the time of day of `start`. Samples do not depend on the horizon, except through
    `scale_to_g_per_kwh`, which maps the least and greatest sample of [0, horizon) (of the first day, for shorter
    horizons) to its two figures, and all others by the same linear map, floored at 0.
    """
    for name in ("format", "zone", "start", "unit", "columns", "time_zone", "time_format", "interval"):
        if getattr(config, name):
            raise InputError(
                f"carbon.{name} {getattr(config, name)!r}: expected carbon.file with it; the built-in trace has only "
                f"one {name}"
            )
    if config.kind != "average":
        raise InputError(
            f"carbon.kind {config.kind!r}: the built-in trace is average intensity; expected 'average', or a "
            "carbon.file"
        )
    days = HISTORY_DAYS + int(np.ceil(horizon_s / 86400)) + TAIL_DAYS
    hours = np.outer(_day_levels(days, config.day_to_day_sd), HOURLY_MEANS[config.scope]).ravel()
    times_s = (np.arange(hours.size, dtype=np.float64) - 24.0 * HISTORY_DAYS) * 3600.0
    warnings: tuple[str, ...] = ()
    if start is not None:
        times_s -= (start - start.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
        warnings = (f"built-in carbon trace, which has no dates: t = 0 is {start:%H:%M:%S} UTC, the same time of day",)
    if config.scale_to_g_per_kwh is not None:
        run = hours[(times_s >= 0) & (times_s < max(horizon_s, 86400.0))]
        low, high = config.scale_to_g_per_kwh
        share = (hours - run.min()) / (run.max() - run.min())
        hours = np.maximum((1 - share) * low + share * high, 0.0)
    return CarbonTrace(
        times_s, hours, "average", config.scope, "US-CAL-CISO", "built-in (CAISO-shaped)", warnings=warnings
    )


def _day_levels(days: int, sd: float) -> Floats:
    """Log-normal AR(1) levels of mean 1; the first n are the same whatever `days`."""
    normal = np.random.default_rng(np.random.SeedSequence([BUILT_IN_SEED, CARBON_STREAM])).standard_normal(days)
    level = np.empty(days)
    level[0] = normal[0]
    for day in range(1, days):
        level[day] = DAY_CORRELATION * level[day - 1] + np.sqrt(1 - DAY_CORRELATION**2) * normal[day]
    return np.exp(sd * level - sd**2 / 2)


def _from_file(config: Carbon, path: str, horizon_s: float, traffic: datetime | None) -> CarbonTrace:
    declared = Declared(
        None, config.unit, None, None, config.columns, config.time_zone, config.time_format, config.interval
    )
    frame, notes = read_with_notes(path, config.format, declared)
    series = select_series(frame, path, zone=config.zone, kind=config.kind, scope=config.scope)
    filled = fill_gaps(series.frame, path, config.fill_gaps)
    valid_at = filled.frame["valid_at"]
    first, last = valid_at[0], valid_at[-1]
    start, met = first, None
    if config.start is not None:
        start = parse_utc(config.start, "carbon.start")
        if traffic is not None and is_date(config.start):
            start = datetime.combine(start.date(), traffic.timetz())
    elif traffic is not None:
        start, met = meeting(traffic, first, last, timedelta(seconds=horizon_s))
    if not first <= start <= last:
        told = (
            f"carbon.start {config.start!r}"
            if met is None
            else f"carbon.start is missing and t = 0 at {start:%Y-%m-%d %H:%M} UTC"
        )
        raise InputError(
            f"{told}: outside {path}; expected a time from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        )
    warnings = [*notes, *series.warnings, *filled.warnings]
    if traffic is not None:
        warnings.append(
            f"{path}: t = 0 is {start:%a %Y-%m-%d %H:%M:%S} UTC" + (f" ({met})" if met else " (carbon.start)")
        )
    times_s = (valid_at - start).dt.total_microseconds().to_numpy().astype(np.float64) / 1e6
    step_s = float(np.median(np.diff(times_s))) if times_s.size > 1 else 0.0
    values = filled.frame["g_per_kwh"].to_numpy().astype(np.float64)
    if times_s[-1] + step_s < horizon_s:
        end, goes_on = start + timedelta(seconds=horizon_s), "its last sample holds until then"
        if traffic is not None:
            times_s, values, cycle = repeated(times_s, values, step_s, horizon_s + TAIL_DAYS * 86400)
            goes_on = f"its last {cycle} is repeated" if cycle else goes_on
        warnings.append(
            f"{path}: ends at {last:%Y-%m-%d %H:%M} UTC, before the run's end at {end:%Y-%m-%d %H:%M}; {goes_on}"
        )
    return CarbonTrace(
        times_s, values, config.kind, filled.frame["scope"][0], filled.frame["zone"][0], path, start, tuple(warnings)
    )
