"""One clock for traffic and grid: the date and time of t = 0, and how a dated trace keeps its time of day.

A trace that spans days is replayed in whole days: its loops, the part that trains the predictor, its start. Another
rate then changes the number of requests at the same times of day, not the speed of the clock. Traces without dates, and
shorter ones, are replayed unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from caps_fast.arrays import SECONDS_PER_DAY
from caps_fast.instants import is_date, parse_utc
from caps_fast.records import Array
from caps_fast.scenario import Scenario, file_hash
from caps_fast.sections import Workload
from caps_fast.traces import TraceFile, read_requests

DAY_FROM_S = 6 * 3600.0
"""A shorter trace is not a day of traffic: its loops follow one another directly."""
KEPT = 2  # cached traces
FORMAT = "%a %Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Clock:
    """Maps a run's seconds to the calendar.

    start       date and time of t = 0 of the traffic, UTC; None: it has no dates
    period_s    length of a loop, whole days; None: the trace is replayed once per its own span
    first, last rows of the trace that are replayed: from `first` up to `last`
    base_s      second of the trace at which a loop begins
    phase_s     second of a loop that is t = 0
    notes       lines for the user
    """

    start: datetime | None = None
    period_s: float | None = None
    first: int = 0
    last: int = 0
    base_s: float = 0.0
    phase_s: float = 0.0
    notes: tuple[str, ...] = ()


Facts = tuple[tuple[tuple[tuple[str, str], ...], ...], tuple[str | None, ...]]
"""What a workload states about its traces, hashable: column and tier maps, then format, time unit, zone and format."""


def trace_of(workload: Workload, path: str | None = None) -> TraceFile:
    """The workload's trace, or another one that it names. Raises InputError for a bad one."""
    named = path or workload.trace or ""
    return read_trace(named, file_hash(named), facts_of(workload))


def facts_of(workload: Workload) -> Facts:
    """What the workload states about its traces."""
    maps = tuple(tuple(one.items()) for one in (workload.trace_columns, workload.trace_tiers))
    return maps, (workload.trace_format, workload.trace_time_unit, workload.trace_time_zone, workload.trace_time_format)


@lru_cache(KEPT)
def read_trace(path: str, content: str, facts: Facts) -> TraceFile:
    """A trace by what the workload states about it; `content` is the file's hash. Raises InputError for a bad one."""
    maps, told = facts
    columns, tiers = (dict(one) for one in maps)
    form, unit, zone, time_format = told
    return read_requests(path, form, columns, unit, time_zone=zone, time_format=time_format, tiers=tiers)


def clock_of(config: Scenario) -> Clock:
    """The clock of a run. Raises InputError for a bad trace or start."""
    begins = parse_utc(config.start, "start") if config.start is not None else None
    if config.workload.trace is None:
        return Clock(begins)
    trace = trace_of(config.workload)
    first_at = _date_of(trace) or begins
    if first_at is None or not trace.timed:
        return Clock(begins)
    arrivals_s, fit = trace.frame["arrival_s"].to_numpy(), config.workload.trace_fit
    days = whole_days(arrivals_s)
    if fit == "once" and days:
        days = int(arrivals_s[-1] // SECONDS_PER_DAY) + 1
    learns = config.predictor.source == "learned" and config.predictor.model is None and fit == "loop"
    first, base_s = _cut(arrivals_s, days, config.predictor.train_share) if learns else (0, 0.0)
    last = int(np.searchsorted(arrivals_s, days * SECONDS_PER_DAY)) if days else len(arrivals_s)
    period_s = (days * SECONDS_PER_DAY - base_s if days > 1 else SECONDS_PER_DAY) if days else None
    own = first_at + timedelta(seconds=base_s)
    start = _start(config, own)
    phase_s = _phase_s((start - own).total_seconds(), period_s, fit, float(arrivals_s[-1]))
    if period_s is None and phase_s > 0:
        first = int(np.searchsorted(arrivals_s, phase_s))
    loop = f", loops of {period_s / SECONDS_PER_DAY:g} d" if period_s is not None and fit == "loop" else ""
    told = [f"{trace.path}: t = 0 is {start:{FORMAT}} UTC{loop}"]
    if last < len(arrivals_s):
        told.append(f"{trace.path}: {len(arrivals_s) - last:,} requests of its incomplete last day are left out")
    if period_s is None and fit != "once" and _outlasts(config, arrivals_s):
        told.append(
            f"{trace.path}: spans {arrivals_s[-1] / 3600:.3g} h, too short to keep its time of day in a longer replay"
        )
    return Clock(start, period_s, first, last, base_s, phase_s, tuple(told))


def training_rows(config: Scenario, trace: TraceFile) -> int:
    """Number of requests of a trace that train the predictor: those of whole days, if it has dates and spans days."""
    count = len(trace.frame)
    share = config.predictor.train_share
    if trace.timed and (_date_of(trace) is not None or config.start is not None):
        arrivals_s = trace.frame["arrival_s"].to_numpy()
        return max(_cut(arrivals_s, whole_days(arrivals_s), share)[0], 1)
    return max(round(share * count), 1)


def whole_days(arrivals_s: Array) -> int:
    """Days that a trace spans; 0 if it is shorter than a day of traffic.

    The last day counts if its missing hours hold at most half of a day's requests on the days before, so that a quiet
    night is not a gap.
    """
    span_s = float(arrivals_s[-1])
    if span_s < DAY_FROM_S:
        return 0
    full, rest_s = divmod(span_s, SECONDS_PER_DAY)
    if full == 0:
        return 1
    before = arrivals_s[arrivals_s < full * SECONDS_PER_DAY]
    lacking = float((before % SECONDS_PER_DAY > rest_s).mean())
    return int(full) + (lacking <= 0.5)


def _date_of(trace: TraceFile) -> datetime | None:
    at = trace.starts_at
    return None if at is None else at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _cut(arrivals_s: Array, days: int, share: float) -> tuple[int, float]:
    """The first row after the training part, and the second of the trace at which that row's loop begins."""
    if days < 2:
        row = min(int(share * len(arrivals_s)), len(arrivals_s) - 1)
        return row, float(arrivals_s[row])
    cut_s = (min(max(round(share * days), 1), days - 1) if share > 0 else 0) * SECONDS_PER_DAY
    return int(np.searchsorted(arrivals_s, cut_s)), float(cut_s)


def told_start(config: Scenario) -> tuple[str, str] | None:
    """The date and time of t = 0 that the user gives, and its field: `start`, or that of the grids if they agree."""
    if config.start is not None:
        return config.start, "start"
    starts = {region.carbon.start for region in config.fleet.regions.values()}
    only = starts.pop() if len(starts) == 1 else None
    return None if only is None else (only, "carbon.start")


def _start(config: Scenario, own: datetime) -> datetime:
    """The date and time of t = 0: given (a date alone keeps the trace's time of day), or the trace's own."""
    told = told_start(config)
    if told is None:
        return own
    at = parse_utc(*told)
    return datetime.combine(at.date(), own.timetz()) if is_date(told[0]) else at


def _phase_s(late_s: float, period_s: float | None, fit: str, span_s: float) -> float:
    """The second of the trace that is t = 0, `late_s` after its first: on its own date, else by weekday, else by time
    of day.
    """
    if fit == "once":
        return late_s if 0 <= late_s <= span_s else -(-late_s % SECONDS_PER_DAY)
    if period_s is None:
        return 0.0
    days, rest_s = divmod(late_s, SECONDS_PER_DAY)
    loop = int(period_s // SECONDS_PER_DAY)
    day = days if 0 <= days < loop else days % 7 if days % 7 < loop else days % loop
    return float(day * SECONDS_PER_DAY + rest_s)


def _outlasts(config: Scenario, arrivals_s: Array) -> bool:
    return config.horizon_s > float(arrivals_s[-1]) + DAY_FROM_S
