"""Means of a trace before an issue: the last hour, the same hour on days before.

Nothing here reads a sample at or after the issue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from caps_fast.carbon.grid import HOUR_S

if TYPE_CHECKING:
    from caps_fast.carbon.trace import CarbonTrace

Floats = NDArray[np.float64]

DAY_S = 86400.0
WEEK_S = 7 * DAY_S


def slot_starts(issued_s: Floats, leads: int) -> Floats:
    """Start of every slot, s, (n_issues, leads)."""
    starts: Floats = issued_s[:, None] + np.arange(leads) * HOUR_S
    return starts


def last_hour(trace: CarbonTrace, issued_s: Floats) -> Floats:
    """Mean of the last hour before each issue, or of the part that the trace has; the present sample if it has none."""
    begin_s = np.maximum(issued_s - HOUR_S, trace.times_s[0])
    known = begin_s < issued_s
    return np.where(known, trace.mean(begin_s, np.where(known, issued_s, begin_s + 1.0)), trace.at(issued_s))


def periods_back(leads: int, period_s: float) -> NDArray[np.int64]:
    """Periods by which each slot must be moved back to end by its issue, (leads,)."""
    back: NDArray[np.int64] = np.arange(leads) // int(period_s / HOUR_S) + 1
    return back


def mean_or_nan(trace: CarbonTrace, start_s: Floats, length_s: float = HOUR_S) -> Floats:
    """Mean from `start_s` for `length_s`; NaN where the trace begins later."""
    begin_s = np.maximum(start_s, trace.times_s[0])
    return np.where(start_s >= trace.times_s[0], trace.mean(begin_s, begin_s + length_s), np.nan)
