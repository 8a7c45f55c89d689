"""Reading the forecast in force: what a gate needs to choose its hours."""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import State


@inlined
def slot_start_s(s: State, slot: int) -> float:
    """Start of slot `slot` of the forecast in force."""
    return s.issued_s[s.clock[0].issue_at] + slot * s.setup[0].forecast_step_s


@inlined
def slot_at(s: State, t_s: float) -> int:
    """The slot of the forecast in force that covers `t_s`; the first and last ones hold on."""
    slot = math.floor((t_s - s.issued_s[s.clock[0].issue_at]) / s.setup[0].forecast_step_s)
    return min(max(slot, 0), s.forecast_g_per_kwh.shape[1] - 1)


@inlined
def slot_end_s(s: State, slot: int) -> float:
    """End of slot `slot`: the next one's start, or never for the last, which holds on."""
    if slot + 1 == s.forecast_g_per_kwh.shape[1]:
        return math.inf
    return slot_start_s(s, slot + 1)


@inlined
def cleaner_s(s: State, t_s: float, until_s: float, g_per_kwh: float) -> float:
    """Time in (t_s, until_s) whose forecast is below `g_per_kwh`."""
    forecast = s.forecast_g_per_kwh[s.clock[0].issue_at]
    total_s = 0.0
    at_s = t_s
    slot = slot_at(s, t_s)
    while at_s < until_s:
        end_s = min(slot_end_s(s, slot), until_s)
        if forecast[slot] < g_per_kwh:
            total_s += end_s - at_s
        at_s = end_s
        slot += 1
    return total_s


@inlined
def cleanest_slot(s: State, t_s: float, until_s: float) -> int:
    """The slot with the lowest forecast among those that overlap (t_s, until_s), the earliest on ties."""
    forecast = s.forecast_g_per_kwh[s.clock[0].issue_at]
    best = slot_at(s, t_s)
    slot = best
    while slot_end_s(s, slot) < until_s:
        slot += 1
        if forecast[slot] < forecast[best]:
            best = slot
    return best


@inlined
def first_slot_below(s: State, t_s: float, g_per_kwh: float) -> int:
    """The first slot that ends after `t_s` with a forecast at or below `g_per_kwh`; the number of slots if there is none."""
    forecast = s.forecast_g_per_kwh[s.clock[0].issue_at]
    slot = slot_at(s, t_s)
    while slot < forecast.shape[0] and forecast[slot] > g_per_kwh:
        slot += 1
    return slot
