"""CarbonScaler: batch pools get replicas where an hour gives the most work per unit of carbon, as many as the work
needs by its deadline.

Hanafy, Liang, Bashir, Irwin, Shenoy, "CarbonScaler: Leveraging Cloud Workload Elasticity for Optimizing
Carbon-Efficiency", SIGMETRICS 2024 (arXiv 2302.08681), its greedy algorithm for marginal resource allocation: of all
pairs of a slot i before the deadline and a replica j, that with the greatest marginal capacity per unit of carbon,
MC(j) / (P(j) c(i)), j coming after j - 1, is taken until the work is done (github.com/umassos/CarbonScaler,
src/controllers/carbon_scaler.go, `ComputeSchedule`). Here MC(j) = j^elasticity - (j - 1)^elasticity replicas' worth,
P(j) is that of one more full replica, the same for all j, work is what waits and runs, each request of the mean size,
and the deadline that of the queue's head. The plan is recomputed every `plan_every_s`. Pools of other roles keep all
replicas; Gold goes to LP, Silver to CP, Bronze to BP, as under SLO-Aware.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import BP, BRONZE, State
from caps_fast.containers.queue import peek
from caps_fast.outlook import first_slot, slot_at, slot_end_s
from caps_fast.policies.slo_aware import pool_of_tier
from caps_fast.policy import policy, rules

MOST_SLOTS = 256  # of the forecast; later ones are left out
PLAN = [("taken", "i4", (MOST_SLOTS,)), ("next_plan_s", "f8"), ("replicas", "i4")]


@policy(layout="pools", within={"elasticity": (0.0, math.inf)}, memory=PLAN, rows="pool")
class CarbonScaler(NamedTuple):
    """Growth of throughput with replicas (1: proportional), period of planning, s, and factor of the work."""

    elasticity: float = 1.0
    plan_every_s: float = 300.0
    plan_margin: float = 1.5


rules.route(CarbonScaler)(pool_of_tier)


@rules.gate(CarbonScaler)
def in_planned_slots(policy: Any, t_s: float, q: int, s: State) -> bool:
    """A batch pool starts work in slots that have replicas; layout `pools`: its row is that of its queue."""
    return s.queues[q].role != BP or s.memory[q].replicas > 0


@rules.scale(CarbonScaler)
def planned(policy: Any, t_s: float, p: int, s: State) -> int:
    pool = s.strength[p]
    q = s.gpus[pool.first_gpu].queue
    if s.queues[q].role != BP:
        return pool.end_gpu - pool.first_gpu
    plan = s.memory[p]
    if t_s >= plan.next_plan_s:
        plan.next_plan_s = t_s + policy.plan_every_s
        plan.replicas = _replicas_now(policy, t_s, p, q, s)
    return plan.replicas


@inlined
def _replicas_now(policy: Any, t_s: float, p: int, q: int, s: State) -> int:
    """Replicas of the greedy plan in the current slot, for the work of queue `q` until its head is due."""
    pool = s.strength[p]
    queue = s.queues[q]
    service_s = s.kinds[queue.kind].service_s
    work = (policy.plan_margin * queue.waiting + 0.5 * queue.residents) * service_s / s.pools[p].max_batch
    tier = s.live[peek(s, q)].tier if queue.waiting > 0 else BRONZE
    arrival_s = s.live[peek(s, q)].arrival_s if queue.waiting > 0 else t_s
    due_s = arrival_s + s.tiers[tier].e2e_s - service_s
    return greedy_now(s, s.memory[p], queue.region, t_s, due_s, work, pool.end_gpu - pool.first_gpu, policy.elasticity)


@inlined
def greedy_now(
    s: State, plan: Any, z: int, t_s: float, due_s: float, work: float, replicas: int, elasticity: float
) -> int:
    """Replicas in the slot of `t_s` after the greedy choice for `work` replica-seconds before `due_s`; `plan.taken`
    has those of all slots.
    """
    first = slot_at(s, z, t_s)
    slots = min(s.regions[z].leads - first, MOST_SLOTS)
    for i in range(slots):
        plan.taken[i] = 0
    while work > 0.0:
        best = -1
        highest = 0.0
        for i in range(slots):
            starts_s = t_s if i == 0 else slot_end_s(s, z, first + i - 1)
            if starts_s < due_s and plan.taken[i] < replicas:
                worth = _marginal(plan.taken[i] + 1, elasticity) / max(
                    s.forecast_g_per_kwh[first_slot(s, z) + first + i], 1e-9
                )
                if worth > highest:
                    best = i
                    highest = worth
        if best < 0:  # not even all replicas in all slots are enough
            return replicas
        starts_s = t_s if best == 0 else slot_end_s(s, z, first + best - 1)
        plan.taken[best] += 1
        work -= _marginal(plan.taken[best], elasticity) * (min(slot_end_s(s, z, first + best), due_s) - starts_s)
    return int(plan.taken[0])


@inlined
def _marginal(j: int, elasticity: float) -> float:
    """Capacity that the j-th replica adds, in replicas."""
    return 1.0 if elasticity == 1.0 else math.pow(j, elasticity) - math.pow(j - 1, elasticity)
