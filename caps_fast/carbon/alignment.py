"""Which time of a carbon file is t = 0: the traffic's own date, or else the same time of day and weekday."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

YEAR = timedelta(weeks=52)
WEEK, DAY = timedelta(weeks=1), timedelta(days=1)


def meeting(start: datetime, first: datetime, last: datetime, length: timedelta) -> tuple[datetime, str]:
    """The file's time that is t = 0 of a run of this `length` whose traffic starts at `start`, and how it was matched.

    Its own date; the same weekday and time in the same season of another year, where the file then lasts; the first
    such weekday and time; or the first such time of day. Later than `last` if the file has none of these.
    """
    if first <= start <= last:
        return start, "its own date"
    for years in sorted(range(-60, 61), key=abs):
        there = start + years * YEAR
        if first <= there and there + length <= last:
            return (
                there,
                f"the same weekday, time of day and season, {abs(years * 52)} weeks "
                f"{'later' if years > 0 else 'earlier'}",
            )
    for step, how in ((WEEK, "the same weekday and time of day"), (DAY, "the same time of day")):
        there = first + (start - first) % step
        if there <= last:
            return there, how
    return there, how


def repeated(times_s: Floats, values: Floats, step_s: float, until_s: float) -> tuple[Floats, Floats, str]:
    """Samples extended to `until_s` by repeating the last week, or the last day of a shorter series; and which of them
    was repeated.

    Unchanged, and "", if the series has no whole day.
    """
    end_s = float(times_s[-1]) + step_s
    for cycle, name in ((WEEK, "week"), (DAY, "day")):
        cycle_s = cycle.total_seconds()
        if end_s - times_s[0] >= cycle_s:
            again = times_s >= end_s - cycle_s
            later_s = [times_s[again] + turn * cycle_s for turn in range(1, int(-(-(until_s - end_s) // cycle_s)) + 1)]
            return np.concatenate([times_s, *later_s]), np.concatenate([values, *[values[again]] * len(later_s)]), name
    return times_s, values, ""
