"""A scale rule that changes its mind once: `policy.scaling = "tests/planned.py"`."""

from __future__ import annotations

from typing import Any, NamedTuple

from caps_fast.arrays import State
from caps_fast.policy import policy, rules


@policy(layout="central")
class Planned(NamedTuple):
    """Replicas of every pool before a time, and from it on; their clock."""

    first: int = 1_000_000
    until_s: float = 0.0
    then: int = 1_000_000
    clock: float = 1.0


@rules.scale(Planned)
def as_planned(policy: Any, t_s: float, p: int, s: State) -> int:
    return policy.first if t_s < policy.until_s else policy.then


@rules.clock(Planned)
def at_clock(policy: Any, t_s: float, p: int, s: State) -> float:
    return policy.clock
