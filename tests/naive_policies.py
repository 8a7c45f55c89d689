"""The policies of docs/model.md, section 7, for the reference engine, in the plainest way.

They keep no state of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import naive_fair
from naive import BRONZE, GOLD, Engine
from naive_state import Job, Queue
from naive_world import Region, Tier


class Plain:
    """Arrival order, open gates, no pre-emption."""

    def order(self, engine: Engine, queue: Queue, job: Job) -> tuple[float, ...]:
        return (job.request.arrival_s,)

    def gate(self, engine: Engine, queue: Queue) -> bool:
        return True

    def preempts(self) -> bool:
        return False

    def timed(self) -> bool:
        return False


@dataclass
class CentralOrCyclic(Plain):
    cyclic: bool = False

    def layout(self) -> str:
        return "cyclic" if self.cyclic else "central"

    def route(self, engine: Engine, job: Job) -> int:
        return job.index % len(engine.gpus) if self.cyclic else 0


@dataclass
class RoundRobin(CentralOrCyclic):
    cyclic: bool = True


@dataclass
class Edf(CentralOrCyclic):
    def order(self, engine: Engine, queue: Queue, job: Job) -> tuple[float, ...]:
        tier = engine.setup.tiers[job.request.tier]
        deadline_s = tier.ttft_s if math.isfinite(tier.ttft_s) else tier.e2e_s
        return (job.request.arrival_s + deadline_s - engine.away_s(queue, job),)


@dataclass
class CarbonAware(CentralOrCyclic):
    def gate(self, engine: Engine, queue: Queue) -> bool:
        return queue.region.gamma <= queue.region.threshold


class SloAware(Plain):
    def layout(self) -> str:
        return "pools"

    def route(self, engine: Engine, job: Job) -> int:
        role = ("LP", "CP", "BP")[job.request.tier]
        of_role = [queue.index for queue in engine.queues if queue.role == role]
        fitting = [q for q in of_role if may_hold(engine, engine.queues[q], job)]
        choice = fitting or of_role[:1] or [queue.index for queue in engine.queues]
        return choice[job.index % len(choice)]


def may_hold(engine: Engine, queue: Queue, job: Job) -> bool:
    return any(gpu.hardware.can_hold(job.request) and engine.may_serve(gpu.region, job) for gpu in queue.gpus)


def slots(region: Region, t: float, until_s: float) -> Iterator[tuple[float, float, float]]:
    """(start, end, value) of the forecast slots that overlap (t, until_s), cut to it; the last slot holds on."""
    issued_s, step_s, values = region.forecast
    for i, value in enumerate(values):
        last = i + 1 == len(values)
        start_s, end_s = issued_s + i * step_s, until_s if last else issued_s + (i + 1) * step_s
        if max(start_s, t) < min(end_s, until_s):
            yield max(start_s, t), min(end_s, until_s), value


def service_s(engine: Engine, queue: Queue) -> float:
    """How long an average request takes on a full replica."""
    hw, setup = queue.hardware, engine.setup
    return hw.prompt_s * setup.mean_input + (hw.base_s + hw.seq_s * hw.max_batch) * setup.mean_output


@dataclass
class Caps:
    alpha: float = 1.0
    beta: float = 1.0
    lambda_: float = 1.0
    risk_sharpness: float = 4.0
    plan_every_s: float = 900.0
    plan_margin: float = 1.0
    no_predictor: bool = False
    no_tiers: bool = False

    def layout(self) -> str:
        return "pools"

    def preempts(self) -> bool:
        return not self.no_tiers

    def timed(self) -> bool:
        return False

    def tier(self, engine: Engine, number: int) -> Tier:
        """The limits by which a request is judged."""
        if not self.no_tiers:
            return engine.setup.tiers[number]

        def mean(limits: list[float]) -> float:
            finite = [limit for limit in limits if math.isfinite(limit)]
            return sum(finite) / len(finite) if finite else math.inf

        tiers = engine.setup.tiers
        return Tier(
            mean([tier.ttft_s for tier in tiers]),
            mean([tier.tpot_s for tier in tiers]),
            mean([tier.e2e_s for tier in tiers]),
            mean([tier.ttft_after_release_s for tier in tiers]),
        )

    def order(self, engine: Engine, queue: Queue, job: Job) -> tuple[float, ...]:
        arrival_s, e2e_s = job.request.arrival_s, self.tier(engine, job.request.tier).e2e_s
        if queue.role == "LP" and not self.no_tiers:
            return (0.0 if job.request.tier == GOLD else 1.0, arrival_s)
        return (arrival_s + e2e_s,) if queue.role == "BP" and math.isfinite(e2e_s) else (arrival_s,)

    # ------------------------------------------------ routing: Eq. 4

    def route(self, engine: Engine, job: Job) -> int:
        roles = self.tier(engine, job.request.tier).roles
        scores = [
            (self.score(engine, queue, job), -queue.index)
            for queue in engine.queues
            if queue.role in roles and may_hold(engine, queue, job)
        ]
        return -max(scores)[1] if scores else next(queue.index for queue in engine.queues if queue.role in roles)

    def score(self, engine: Engine, queue: Queue, job: Job) -> float:
        hw, setup = queue.hardware, engine.setup
        m = setup.mean_output if self.no_predictor else job.request.predicted_output_tokens
        batch = self.batch(engine, queue)
        step = hw.base_s + hw.seq_s * batch
        gamma = queue.start_gamma if queue.role == "BP" else queue.region.gamma
        tau = hw.prompt_s * job.request.input_tokens + step * m
        norm = min(
            pool.region.gamma_mean * pool.hardware.watts(1 / pool.hardware.max_batch) * engine.alone_s(pool.hardware)
            for pool in setup.pools
        )
        energy = gamma * hw.watts(batch / hw.max_batch) / batch * tau / norm
        risk = self.risk(engine, queue, job, step, m)
        goodput = m * (1 - risk) / setup.mean_output
        return self.alpha * goodput - self.beta * energy - self.lambda_ * risk

    def batch(self, engine: Engine, queue: Queue) -> float:
        """Expected members of the GPU that a request would join."""
        most = queue.hardware.max_batch
        return min(1 + (queue.residents + len(queue.waiting)) / len(queue.counted), most) if queue.open else most

    def risk(self, engine: Engine, queue: Queue, job: Job, step: float, m: float) -> float:
        """V: the chance that some limit is missed."""
        limits = self.tier(engine, job.request.tier)
        hold, after = self.waits(engine, queue, job, step)
        if hold >= limits.ttft_s or hold >= limits.e2e_s:
            return 1.0
        if self.no_predictor:
            return 0.0
        against = [
            (after, limits.ttft_s - hold),
            (after, limits.ttft_after_release_s),
            (step, limits.tpot_s),
            (hold + after + (m - 1) * step - hold, limits.e2e_s - hold),
        ]
        kept = 1.0
        for value, limit in against:
            if math.isfinite(limit):
                x = min(value / limit, 1e6) ** self.risk_sharpness
                kept *= 1 - x / (1 + x)
        return 1 - kept

    def waits(self, engine: Engine, queue: Queue, job: Job, step: float) -> tuple[float, float]:
        """Expected time until release, and from there to the first token."""
        hw, gpus, waiting = queue.hardware, len(queue.counted), len(queue.waiting)
        slots_ = gpus * hw.max_batch
        hold = 0.0 if queue.open else max(queue.start_s - engine.now, 0.0)
        queueing = 0.0 if queue.residents + waiting < slots_ else (waiting + 1) * service_s(engine, queue) / slots_
        prompts = queue.prompt_admitted + queue.prompt_waiting
        if not queue.open or engine.held_work_waits(queue):
            hold, queueing, prompts = hold + queueing, 0.0, queue.prompt_admitted
        ahead = job.request.input_tokens + prompts / gpus
        rounds = max(1.0, ahead / hw.chunk_tokens) if hw.chunk_tokens else 1.0
        return hold, queueing + (rounds + 0.5) * step + hw.prompt_s * ahead

    # ------------------------------------------------ gates

    def gate(self, engine: Engine, queue: Queue) -> bool:
        if self.beta == 0 or queue.role == "LP":
            queue.start_s, queue.start_gamma = engine.now, queue.region.gamma
            return True
        return self.gate_cp(engine, queue) if queue.role == "CP" else self.gate_bp(engine, queue)

    def gate_cp(self, engine: Engine, queue: Queue) -> bool:
        is_open = queue.region.gamma <= queue.region.threshold
        queue.start_s = engine.now if is_open else self.next_clean_s(engine, queue.region)
        return is_open

    def next_clean_s(self, engine: Engine, region: Region) -> float:
        """The start of the first forecast slot at or below the threshold, or the end of the forecast."""
        issued_s, step_s, values = region.forecast
        for i, value in enumerate(values):
            if issued_s + (i + 1) * step_s > engine.now and value <= region.threshold:
                return max(issued_s + i * step_s, engine.now)
        return issued_s + len(values) * step_s if values else engine.now

    def gate_bp(self, engine: Engine, queue: Queue) -> bool:
        if engine.now < queue.next_plan_s:
            return queue.open
        t, waiting, service = engine.now, len(queue.waiting), service_s(engine, queue)
        queue.next_plan_s = t + self.plan_every_s
        head = naive_fair.head(engine, queue)[2].request if waiting else None
        due_s = head.arrival_s + self.tier(engine, head.tier).e2e_s if head else t + self.tier(engine, BRONZE).e2e_s
        need_s = self.plan_margin * waiting * service / queue.slots
        ahead = list(slots(queue.region, t, due_s))
        cleaner_s = sum(end_s - start_s for start_s, end_s, value in ahead if value < queue.region.gamma)
        is_open = waiting > 0 and (cleaner_s < need_s or due_s - t - service <= need_s)
        queue.start_s, queue.start_gamma = t, queue.region.gamma
        if not is_open and ahead:
            queue.start_s, _, queue.start_gamma = min(ahead, key=lambda slot: (slot[2], slot[0]))
        return is_open
