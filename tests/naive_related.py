"""CarbonScaler and GREEN for the reference engine, in the plainest way (docs/model.md, section 10)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import naive_fair
from naive import BRONZE, Engine
from naive_policies import SloAware, service_s, slots
from naive_state import Gpu, Job, Queue
from naive_states import ScalingEngine
from naive_world import Region

MOST_SLOTS = 256


@dataclass
class CarbonScaler(SloAware):
    """Replicas of batch pools by marginal capacity per unit of carbon; also the scale rule of its runs."""

    elasticity: float = 1.0
    plan_every_s: float = 300.0
    plan_margin: float = 1.5
    next_plan_s: dict[int, float] = field(default_factory=dict)
    replicas: dict[int, int] = field(default_factory=dict)  # by pool

    def gate(self, engine: Engine, queue: Queue) -> bool:
        return queue.role != "BP" or self.replicas[queue.gpus[0].pool] > 0

    def scale(self, engine: ScalingEngine, pool: int) -> int:
        queue, t = engine.of_pool(pool)[0].queue, engine.now
        if queue.role != "BP":
            return len(queue.gpus)
        if t >= self.next_plan_s.get(pool, 0.0):
            self.next_plan_s[pool] = t + self.plan_every_s
            self.replicas[pool] = self.plan(engine, queue)
        return self.replicas[pool]

    def plan(self, engine: Engine, queue: Queue) -> int:
        service, t = service_s(engine, queue), engine.now
        head = naive_fair.head(engine, queue)[2].request if queue.waiting else None
        due_s = (head.arrival_s if head else t) + engine.setup.tiers[head.tier if head else BRONZE].e2e_s - service
        work = (self.plan_margin * len(queue.waiting) + 0.5 * queue.residents) * service / queue.hardware.max_batch
        return self.greedy(queue.region, t, due_s, work, len(queue.gpus))

    def greedy(self, region: Region | None, t: float, due_s: float, work: float, replicas: int) -> int:
        """Replicas of the slot of now, once the best pairs of a slot and a replica do the work."""
        assert region
        ahead = list(slots(region, t, due_s))[:MOST_SLOTS]
        taken = [0 for _ in ahead]
        while work > 0:
            worths = [
                self.adds(taken[i] + 1) / max(value, 1e-9) if taken[i] < replicas else 0.0
                for i, (_, _, value) in enumerate(ahead)
            ]
            if max(worths, default=0.0) == 0:
                return replicas
            best = worths.index(max(worths))
            taken[best] += 1
            start_s, end_s, _ = ahead[best]
            work -= self.adds(taken[best]) * (end_s - start_s)
        return taken[0] if taken else 0

    def adds(self, j: int) -> float:
        """What the j-th replica adds, in replicas."""
        return 1.0 if self.elasticity == 1 else math.pow(j, self.elasticity) - math.pow(j - 1, self.elasticity)


@dataclass
class Green(SloAware):
    """Batch work in levels by length, in the hours that the backlog needs, on replicas that are filled first."""

    quantum_tokens: float = 64.0
    levels: int = 4
    level_wait_h: float = 1.0
    window_h: float = 24.0
    plan_margin: float = 1.5
    plan_every_s: float = 300.0
    width: float = 1.0
    next_plan_s: dict[int, float] = field(default_factory=dict)  # by queue

    def order(self, engine: Engine, queue: Queue, job: Job) -> tuple[float, ...]:
        predicted, level = job.request.predicted_output_tokens, 0
        if queue.role == "BP":
            level = sum(predicted > self.quantum_tokens * 2**i for i in range(int(self.levels) - 1))
        return (job.request.arrival_s + level * self.level_wait_h * 3600,)

    def place(self, gpu: Gpu) -> float:
        residents = len(gpu.residents)
        return -residents if gpu.queue.role == "BP" and residents < self.width * gpu.hardware.max_batch else residents

    def gate(self, engine: Engine, queue: Queue) -> bool:
        t = engine.now
        if queue.role != "BP" or t < self.next_plan_s.get(queue.index, 0.0):
            return queue.open
        self.next_plan_s[queue.index] = t + self.plan_every_s
        if not queue.waiting:
            return False
        head, service = naive_fair.head(engine, queue)[2].request, service_s(engine, queue)
        due_s = min(t + self.window_h * 3600, head.arrival_s + engine.setup.tiers[BRONZE].e2e_s)
        need_s = self.plan_margin * len(queue.waiting) * service / queue.slots
        assert queue.region
        ahead = slots(queue.region, t, due_s)
        cleaner_s = sum(end_s - start_s for start_s, end_s, value in ahead if value < queue.region.gamma)
        return cleaner_s < need_s or due_s - t - service <= need_s
