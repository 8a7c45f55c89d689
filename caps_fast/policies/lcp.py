"""Lazy capacity provisioning: the number of replicas stays between two bounds and moves only when it must.

The lower bound is where the cheapest plan for the past ends if coming back costs, the upper one where it ends if going
costs. With energy that is linear in the replicas, and a load that has to be carried at a target utilization, these are
what the load needs now and the most that it needed within the break-even time; so the rule keeps the most of that time.
It costs at most three times the optimum with knowledge of the future. Source: Lin, Wierman, Andrew, Thereska, "Dynamic
right-sizing for power-proportional data centers", INFOCOM 2011.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast.arrays import State
from caps_fast.policies.load import RECENT, break_even_s, load_of_pool, most_of_window
from caps_fast.policy import policy, rules


@policy(layout="queueing", within={"utilization": (0.0, math.inf)}, memory=RECENT, rows="pool")
class Lcp(NamedTuple):
    """Target share of the slots in use, break-even times waited, fewest replicas."""

    utilization: float = 0.7
    break_evens: float = 1.0
    min_replicas: int = 1


@rules.scale(Lcp)
def lazily(policy: Any, t_s: float, p: int, s: State) -> int:
    needed = max(math.ceil(load_of_pool(p, s, policy.utilization)), policy.min_replicas)
    return most_of_window(s.memory[p], t_s, needed, policy.break_evens * break_even_s(p, s))
