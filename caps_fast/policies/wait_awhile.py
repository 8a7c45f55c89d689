"""Wait Awhile: work that may wait runs while the grid is clean for the day ahead, and once its waiting time is used up.

Clean is an intensity below a quantile of the next 24 hours' forecast. Source: Wiesner, Behnke, Scheinert, Gontarska,
Thamsen, "Let's wait awhile: how temporal workload shifting can reduce carbon emissions in the cloud", Middleware 2021,
in the threshold form that GAIA compares with (Hanafy et al., "Going green for less green", ASPLOS 2024;
`SuspendSchedulingPolicy.compute_schedule_threshold` in its code: quantile 0.3, linear between samples). There a job is
suspended and resumed; here a request waits and then runs to its end. Waiting ends when the waiting work would otherwise
not be done by the deadline of its first request. Tiers with a limit to their first token never wait. Pools are those of
SLO-Aware.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import State
from caps_fast.containers.queue import peek
from caps_fast.outlook import first_slot, slot_at, slot_start_s
from caps_fast.policies.slo_aware import pool_of_tier
from caps_fast.policy import policy, rules

DAY_S = 86400.0


@policy(layout="pools", within={"clean_quantile": (0.0, 1.0)})
class WaitAwhile(NamedTuple):
    """The quantile of the next day's forecast below which the grid is clean."""

    clean_quantile: float = 0.3


rules.route(WaitAwhile)(pool_of_tier)


@rules.gate(WaitAwhile)
def while_clean(policy: Any, t_s: float, q: int, s: State) -> bool:
    queue = s.queues[q]
    z = queue.region
    if queue.waiting == 0:
        return s.tiers[queue.role].ttft_s < math.inf or s.regions[z].gamma < quantile_ahead(
            s, z, t_s, policy.clean_quantile
        )
    head = s.live[peek(s, q)]
    tier = s.tiers[head.tier]
    if tier.ttft_s < math.inf or s.regions[z].gamma < quantile_ahead(s, z, t_s, policy.clean_quantile):
        return True
    need_s = (queue.waiting / queue.slots + 1.0) * s.kinds[queue.kind].service_s
    return head.arrival_s + tier.e2e_s - t_s <= need_s


@inlined
def quantile_ahead(s: State, z: int, t_s: float, quantile: float) -> float:
    """Quantile of the forecast slots that overlap the next 24 hours, linear between them, g/kWh."""
    first = slot_at(s, z, t_s)
    end = first + 1
    while end < s.regions[z].leads and slot_start_s(s, z, end) < t_s + DAY_S:
        end += 1
    at = quantile * (end - first - 1)
    below = math.floor(at)
    low = _smallest(s, first_slot(s, z) + first, first_slot(s, z) + end, below)
    high = _smallest(s, first_slot(s, z) + first, first_slot(s, z) + end, min(below + 1, end - first - 1))
    return low + (at - below) * (high - low)


@inlined
def _smallest(s: State, first: int, end: int, rank: int) -> float:
    """The forecast value of that rank, from 0, among slots first .. end - 1."""
    for i in range(first, end):
        value: float = s.forecast_g_per_kwh[i]
        below = 0
        same = 0
        for j in range(first, end):
            below += s.forecast_g_per_kwh[j] < value
            same += s.forecast_g_per_kwh[j] == value
        if below <= rank < below + same:
            return value
    return math.inf
