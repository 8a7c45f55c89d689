"""Follow the sun: every request to the region where the sun stands highest now.

The rule of networks that move work with daylight: Figuerola, Lemay, Reijs, Savoie, St. Arnaud, "Converged optical
network infrastructures in support of future Internet and Grid services using IaaS to reduce GHG emissions", J.
Lightwave Technology 27 (12), 2009 ("follow the sun / follow the wind"). It does not use the grid: the sun's height is
its only information about carbon. The sun's height is that of `Region.sun_base`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import SECONDS_PER_DAY, State
from caps_fast.policies.geo import Worth, first_of_its_roles, is_better, is_due, may_join, used
from caps_fast.policy import policy, rules


@policy(layout="pools", memory=Worth)
class FollowTheSun(NamedTuple):
    """Period of decisions, s."""

    look_every_s: float = 300.0


@rules.route(FollowTheSun)
def to_the_sun(policy: Any, t_s: float, r: int, s: State) -> int:
    if is_due(t_s, policy.look_every_s, s):
        for q in range(s.queues.shape[0]):
            s.memory[q].worth = height_of_sun(t_s, s.queues[q].region, s)
    best = -1
    for q in range(s.queues.shape[0]):
        if may_join(r, q, s) and (
            best < 0 or is_better(s.memory[q].worth, used(q, s), s.memory[best].worth, used(best, s))
        ):
            best = q
    return best if best >= 0 else first_of_its_roles(r, s)


@inlined
def height_of_sun(t_s: float, z: int, s: State) -> float:
    """Sine of the sun's elevation in region `z`; below 0 at night."""
    region = s.regions[z]
    return region.sun_base + region.sun_swing * math.cos(2.0 * math.pi / SECONDS_PER_DAY * (t_s - region.noon_s))
