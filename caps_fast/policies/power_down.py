"""Power-down: a replica that has been idle for the break-even time is released; waiting requests bring replicas back.

The break-even time is the energy of release and return over the power saved meanwhile: the energy is then at most twice
the optimum with knowledge of the future (ski rental: Karlin, Manasse, McGeoch, Owicki, Algorithmica 11, 1994; for
servers: Gandhi, Gupta, Harchol-Balter, Kozuch, "DELAYEDOFF", Performance Evaluation 67, 2010). It is that of sleep if
the kind can sleep, else that of being off. The rule sets the number of replicas; the engine releases the last ones of
the emptiest.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast.arrays import FAILED, IDLE, State
from caps_fast.policies.load import break_even_s, waiting_for
from caps_fast.policy import policy, rules


@policy(layout="queueing")
class PowerDown(NamedTuple):
    """Break-even times waited, fewest replicas."""

    break_evens: float = 1.0
    min_replicas: int = 1


@rules.scale(PowerDown)
def at_break_even(policy: Any, t_s: float, p: int, s: State) -> int:
    pool = s.strength[p]
    wait_s = policy.break_evens * break_even_s(p, s)
    used = 0
    for g in range(pool.first_gpu, pool.end_gpu):
        idle = s.gpus[g].state == IDLE and t_s - s.gpus[g].since_s >= wait_s
        used += not s.standing[g].draining and s.gpus[g].state != FAILED and not idle
    return max(used + math.ceil(waiting_for(p, s) / s.pools[p].max_batch), policy.min_replicas)
