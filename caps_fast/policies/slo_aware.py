"""SLO-Aware: the pool by tier, no carbon."""

from __future__ import annotations

from typing import Any, NamedTuple

from caps_fast.arrays import BP, CP, LP, State
from caps_fast.containers.queue import may_hold
from caps_fast.policy import policy, rules

ROLE_OF_TIER = (LP, CP, BP)


@policy(layout="pools")
class SloAware(NamedTuple):
    """Gold to the low-latency pools, Silver to the low-carbon ones, Bronze to the batch pools; several of a role are
    used in turn.
    """


@rules.route(SloAware)
def pool_of_tier(policy: Any, t_s: float, r: int, s: State) -> int:
    role = ROLE_OF_TIER[s.live[r].tier]
    of_role = 0
    fitting = 0
    for q in range(s.queues.shape[0]):
        of_role += s.queues[q].role == role
        fitting += s.queues[q].role == role and may_hold(s, q, r)
    if of_role == 0:
        return s.live[r].seq % s.queues.shape[0]
    turn = s.live[r].seq % max(fitting, 1)
    q = -1
    while turn >= 0:
        q += 1
        turn -= s.queues[q].role == role and (fitting == 0 or may_hold(s, q, r))
    return q
