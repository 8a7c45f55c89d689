"""Round Robin: every request to the next GPU, blind to state."""

from __future__ import annotations

from typing import NamedTuple

from caps_fast.policy import rules


class RoundRobin(NamedTuple):
    """Deals requests to the GPUs cyclically."""

    stride: int = 1

    layout = "cyclic"
    gated = False
    preempts = False


@rules.route(RoundRobin)
def next_gpu(policy, t_s, r, s):
    return s.live[r]["seq"] * policy.stride % s.queues.shape[0]
