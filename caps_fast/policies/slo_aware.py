"""SLO-Aware: the pool by tier, no carbon."""

from __future__ import annotations

from typing import Any, NamedTuple

from caps_fast.arrays import State
from caps_fast.policy import policy, rules


@policy(layout="pools")
class SloAware(NamedTuple):
    """Gold to the low-latency pools, Silver to the low-carbon ones, Bronze to the batch pools; several of a role are dealt to cyclically."""


@rules.route(SloAware)
def pool_of_tier(policy: Any, t_s: float, r: int, s: State) -> int:
    tier = s.live[r].tier
    found = 0
    for q in range(s.queues.shape[0]):
        found += s.queues[q].role == tier
    if found == 0:
        return s.live[r].seq % s.queues.shape[0]
    turn = s.live[r].seq % found
    q = 0
    while s.queues[q].role != tier or turn > 0:
        turn -= s.queues[q].role == tier
        q += 1
    return q
