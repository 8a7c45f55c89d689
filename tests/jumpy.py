"""Rules that grow and shrink pools and change clocks at random, the same in both engines:
`policy.scaling = "tests/jumpy.py"`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import State
from caps_fast.policy import policy, rules


@policy(layout="central")
class Jumpy(NamedTuple):
    """What the jumps are drawn from."""

    jump_seed: int = 0


@rules.scale(Jumpy)
def at_random(policy: Any, t_s: float, p: int, s: State) -> int:
    replicas = s.strength[p].end_gpu - s.strength[p].first_gpu
    return jump(policy.jump_seed, s.scaling[0].decisions, p, replicas)


@rules.clock(Jumpy)
def at_any(policy: Any, t_s: float, p: int, s: State) -> float:
    return jump(policy.jump_seed, s.scaling[0].clock_decisions, p + 7, CLOCKS) / CLOCKS


CLOCKS = 10


@inlined
def jump(seed: int, number: int, p: int, replicas: int) -> int:
    """Between -1 and one more than the replicas: for the `number`-th decision, counted from 1, on pool `p`."""
    mixed = (seed * 1000003 + number * 7919 + p * 104729) % 2147483647
    mixed = (mixed * 48271) % 2147483647
    mixed = (mixed * 48271) % 2147483647
    return mixed % (replicas + 3) - 1
