"""Earliest Deadline First: by arrival plus the tier's deadline, less the round trip, over all GPUs (or one queue per
GPU, used in turn).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from caps_fast.arrays import State
from caps_fast.policy import policy, rules
from caps_fast.reach import away_s


@policy(layout="queueing")
class Edf(NamedTuple):
    """Orders by deadline."""


@rules.order(Edf)
def by_deadline(policy: Any, t_s: float, r: int, q: int, s: State) -> float:
    return s.live[r].arrival_s + s.tiers[s.live[r].tier].deadline_s - away_s(s, q, r)
