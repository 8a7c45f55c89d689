"""Power-limit: as many replicas as a region may power, always and during an emergency reduction (demand response).

A pool's part of the limit is its part of the greatest power of all replicas of the region. The number of its replicas
that take work is such that these at their highest power, and the others in their state (off, asleep, or else idle or
starting, whichever draws more), stay within that part: while replicas drain the number is small, and it grows as they
go off. A draining replica still serves its residents, so a reduction applies from `ahead_s` before it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import ASLEEP, OFF, State
from caps_fast.policy import policy, rules

NO_LIMIT_KW = 1e9


@policy(layout="queueing", within={"limit_kw": (0.0, math.inf)})
class PowerLimit(NamedTuple):
    """The most that the replicas of any region may draw, without PUE; and between two times, in hours from t = 0.

    Regions may state limits of their own beside it.
    """

    limit_kw: float = NO_LIMIT_KW
    reduced_kw: float = NO_LIMIT_KW
    from_h: float = 0.0
    to_h: float = 0.0
    ahead_s: float = 600.0


@rules.scale(PowerLimit)
def within_the_limit(policy: Any, t_s: float, p: int, s: State) -> int:
    region = s.regions[s.pools[p].region]
    limit_w = min(1000.0 * policy.limit_kw, region.limit_w)
    if policy.from_h * 3600.0 - policy.ahead_s <= t_s < policy.to_h * 3600.0:
        limit_w = min(limit_w, 1000.0 * policy.reduced_kw)
    if region.reduced_from_s - policy.ahead_s <= t_s < region.reduced_to_s:
        limit_w = min(limit_w, region.reduced_w)
    region_w = 0.0
    for other in range(len(s.pools)):
        if s.pools[other].region == s.pools[p].region:
            region_w += _size(other, s) * _full_w(other, s)
    size, full_w = _size(p, s), _full_w(p, s)
    change = s.changes[s.gpus[s.strength[p].first_gpu].kind]
    rest_w = max(change.standby_w, change.starting_w) if change.can_stop else change.standby_w
    if full_w <= rest_w:
        return size
    serving, spare_w, least_w = 0, limit_w * (size * full_w / region_w), rest_w
    for g in range(s.strength[p].first_gpu, s.strength[p].end_gpu):
        if not s.standing[g].draining:
            serving += 1
            spare_w -= full_w
        else:
            own_w = change.asleep_w if s.gpus[g].state == ASLEEP else change.off_w if s.gpus[g].state == OFF else rest_w
            spare_w -= own_w
            least_w = min(least_w, own_w)
    if spare_w < 0.0:
        return serving - math.ceil(min(-spare_w / (full_w - rest_w), float(size)))
    return serving + math.floor(min(spare_w / (full_w - least_w), float(size)))


@inlined
def _size(p: int, s: State) -> int:
    return s.strength[p].end_gpu - s.strength[p].first_gpu


@inlined
def _full_w(p: int, s: State) -> float:
    """Greatest power of a replica of the pool, at its highest clock, W."""
    kind = s.kinds[s.changes[s.gpus[s.strength[p].first_gpu].kind].end_clock - 1]
    return max(s.power_w[kind.power_at + kind.max_batch], kind.prefill_w)
