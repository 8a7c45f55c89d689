"""SLO-Aware: the pool by tier, no carbon."""

from __future__ import annotations

from typing import NamedTuple

from caps_fast.policy import rules


class SloAware(NamedTuple):
    """Gold to the low-latency pools, Silver to the low-carbon ones, Bronze to the batch pools; several of a role are dealt to cyclically."""

    stride: int = 1

    layout = "pools"
    gated = False
    preempts = False


@rules.route(SloAware)
def pool_of_tier(policy, t_s, r, s):
    tier = s.live[r]["tier"]
    found = 0
    for q in range(s.queues.shape[0]):
        found += s.queues[q]["role"] == tier
    if found == 0:
        return s.live[r]["seq"] % s.queues.shape[0]
    turn = s.live[r]["seq"] % found
    q = 0
    while s.queues[q]["role"] != tier or turn > 0:
        turn -= s.queues[q]["role"] == tier
        q += 1
    return q
