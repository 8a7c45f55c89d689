"""GAIA: every request that may wait starts when carbon is worth the waiting; slots that are paid for anyway are used
immediately.

Hanafy, Liang, Bashir, Souza, Irwin, Shenoy, "Going Green for Less Green: Optimizing the Cost of Reducing Cloud Carbon
Emissions", ASPLOS 2024. A job of expected length L may start now or after whole hours up to its waiting time W.
*Carbon-Time* takes the start i with the most carbon saved per time until it ends, (C(0) - C(i)) / (i + L),
*Lowest-Window* the one with the least C(i), where C(i) is the mean forecast intensity over (i, i + L); the earliest on
ties (github.com/umassos/GAIA, src/scheduling/carbon_waiting_policy.py, `average_carbon_slot_waiting`,
`best_waiting_time`). *RES-First* starts a job at once where a reserved instance is free (scheduling_policy.py,
`execute`): here, on arrival. L is what an average request takes on a full replica, W the tier's E2E limit less L,
at most `wait_h`; a tier with a TTFT limit does not wait.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import State
from caps_fast.outlook import first_slot, slot_at, slot_end_s
from caps_fast.policies.geo import least_used, used
from caps_fast.policy import policy, rules
from caps_fast.reach import away_s

HOUR_S = 3600.0
ROUNDING = 1e-9  # means that differ by less are equal


@policy(layout="pools", timed=True)
class Gaia(NamedTuple):
    """Longest wait, hours; whether carbon is weighed against time (Carbon-Time) or not (Lowest-Window); share of
    the slots that is reserved.
    """

    wait_h: float = 24.0
    carbon_time: int = 1
    reserved_share: float = 0.0


@rules.route(Gaia)
def least_used_pool(policy: Any, t_s: float, r: int, s: State) -> int:
    return least_used(r, s)


@rules.order(Gaia)
def planned_start(policy: Any, t_s: float, r: int, q: int, s: State) -> float:
    tier = s.tiers[s.live[r].tier]
    length_s = s.kinds[s.queues[q].kind].service_s
    left_s = s.live[r].arrival_s + tier.e2e_s - t_s - length_s - away_s(s, q, r)
    wait_s = min(policy.wait_h * HOUR_S, left_s)
    if tier.ttft_s < math.inf or wait_s < HOUR_S or used(q, s) < policy.reserved_share:
        return t_s
    z = s.queues[q].region
    now = mean_forecast(s, z, t_s, t_s + length_s)
    best_s = 0.0
    most = 0.0
    after_s = HOUR_S
    while after_s <= wait_s:
        saved = now - mean_forecast(s, z, t_s + after_s, t_s + after_s + length_s)
        worth = saved / (after_s + length_s) if policy.carbon_time else saved
        if saved > ROUNDING * now and worth > (1.0 + ROUNDING) * most:
            best_s = after_s
            most = worth
        after_s += HOUR_S
    return t_s + best_s


@inlined
def mean_forecast(s: State, z: int, from_s: float, to_s: float) -> float:
    """Mean of the forecast in force for region `z` over (from_s, to_s), g/kWh; its first and last slots hold on."""
    slot = slot_at(s, z, from_s)
    total = 0.0
    at_s = from_s
    while at_s < to_s:
        end_s = min(slot_end_s(s, z, slot), to_s)
        total += s.forecast_g_per_kwh[first_slot(s, z) + slot] * (end_s - at_s)
        at_s = end_s
        slot += 1
    return total / (to_s - from_s)
