"""GREEN: batch work in levels of a feedback queue, in the hours that the day needs, on replicas that are filled
before others.

Xu, Sun, Tian, Zhang, Chen, "GREEN: Carbon-efficient Resource Scheduling for Machine Learning Clusters", NSDI 2025: a
multi-level feedback queue orders jobs by what they have had so far, jobs get the number of GPUs that is the most
efficient in place of the fastest, and work is shifted to less carbon-intensive hours while the day's capacity is kept.
What that is for requests, which are not preempted for one another, is our choice (docs/decisions.md): a request's
level is that of its predicted length, 0 up to `quantum_tokens` and one more for each doubling, and each level waits as
though it had come `level_wait_h` later; a batch pool is open while the hours of the next `window_h` that are cleaner
than now are fewer than its backlog needs, which is planned every `plan_every_s`; and the efficient width of a batch is
a full replica: work is packed up to `width` of a replica's slots before the next one is used. Gold goes to LP, Silver
to CP, Bronze to BP, as under SLO-Aware.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast.arrays import BP, BRONZE, State
from caps_fast.containers.queue import peek
from caps_fast.outlook import cleaner_s
from caps_fast.policies.slo_aware import pool_of_tier
from caps_fast.policy import policy, rules

HOUR_S = 3600.0


@policy(layout="pools", within={"quantum_tokens": (0.0, math.inf)}, memory=[("next_plan_s", "f8")])
class Green(NamedTuple):
    """Tokens of level 0, number of levels, additional wait of each; hours of a shift, margin of the backlog, lifetime
    of a plan; share filled first.
    """

    quantum_tokens: float = 64.0
    levels: int = 4
    level_wait_h: float = 1.0
    window_h: float = 24.0
    plan_margin: float = 1.5
    plan_every_s: float = 300.0
    width: float = 1.0


rules.route(Green)(pool_of_tier)


@rules.order(Green)
def by_level(policy: Any, t_s: float, r: int, q: int, s: State) -> float:
    request = s.live[r]
    level = 0
    most_tokens = policy.quantum_tokens
    while s.queues[q].role == BP and level < policy.levels - 1 and request.predicted_tokens > most_tokens:
        level += 1
        most_tokens *= 2.0
    return request.arrival_s + level * policy.level_wait_h * HOUR_S


@rules.place(Green)
def to_the_width(policy: Any, g: int, s: State) -> float:
    """Of batch pools the fullest replica below the width, then the emptiest; of others the emptiest."""
    gpu = s.gpus[g]
    fills = s.queues[gpu.queue].role == BP and gpu.residents < policy.width * s.kinds[gpu.kind].max_batch
    return -float(gpu.residents) if fills else float(gpu.residents)


@rules.gate(Green)
def in_hours_that_the_day_needs(policy: Any, t_s: float, q: int, s: State) -> bool:
    queue = s.queues[q]
    if queue.role != BP:
        return True
    if t_s < s.memory[q].next_plan_s:
        return bool(queue.open)
    s.memory[q].next_plan_s = t_s + policy.plan_every_s
    if queue.waiting == 0:
        return False
    service_s = s.kinds[queue.kind].service_s
    due_s = min(t_s + policy.window_h * HOUR_S, s.live[peek(s, q)].arrival_s + s.tiers[BRONZE].e2e_s)
    need_s = policy.plan_margin * queue.waiting * service_s / queue.slots
    cleaner = cleaner_s(s, queue.region, t_s, due_s, s.regions[queue.region].gamma)
    return bool(cleaner < need_s or due_s - t_s - service_s <= need_s)
