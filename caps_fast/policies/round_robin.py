"""Round Robin: every request to the next GPU, blind to state."""

from __future__ import annotations

from typing import Any, NamedTuple

from caps_fast.arrays import State
from caps_fast.policy import policy, rules


@policy(layout="cyclic")
class RoundRobin(NamedTuple):
    """Deals requests to the GPUs cyclically."""


@rules.route(RoundRobin)
def next_gpu(policy: Any, t_s: float, r: int, s: State) -> int:
    return s.live[r]["seq"] % s.queues.shape[0]
