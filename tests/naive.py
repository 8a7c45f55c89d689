"""The reference engine: docs/model.md played out in plain Python, token by token.

Slow on purpose. Every iteration of every GPU is one event and every sum is recomputed where it is needed,
so that the code can be checked against the text by eye. Section numbers refer to docs/model.md.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np

from naive_world import JOULES_PER_KWH, Hardware, Outcome, Record, Region, Request, Setup

GOLD, SILVER, BRONZE = 0, 1, 2
T = TypeVar("T")


# ---------------------------------------------------------------- the state of a run


@dataclass(eq=False)
class Job:
    """A request on its way through the system."""

    index: int
    request: Request
    record: Record
    prompt_done: int = 0
    produced: int = 0
    held: bool = False
    admission: int = -1  # number of its latest admission, over the whole run
    prompt_at_admission: int = 0  # prompt tokens left then

    @property
    def prompt_left(self) -> int:
        return self.request.input_tokens - self.prompt_done


@dataclass
class Iteration:
    start_s: float
    end_s: float
    members: list[Job]
    prompt_tokens: list[int]  # what each member takes of its prompt
    decoders: list[Job]  # members that produce one more token


@dataclass
class Gpu:
    index: int
    pool: int
    hardware: Hardware
    region: Region
    queue: Queue
    residents: list[Job] = field(default_factory=list)  # in order of admission
    claims: list[tuple[Job, Job]] = field(default_factory=list)  # (claimant, victim), in order of claim
    iteration: Iteration | None = None
    idle_since_s: float | None = 0.0
    watts: list[tuple[float, float, bool]] = field(default_factory=list)  # (from_s, W, busy): the log for the independent integral

    @property
    def reserved(self) -> int:
        """Tokens of the residents, and what each claim needs beyond its victim's."""
        beside = sum(max(0, claimant.request.tokens - victim.request.tokens) for claimant, victim in self.claims)
        return sum(job.request.tokens for job in self.residents) + beside


@dataclass
class Queue:
    index: int
    role: str = ""  # of its pool, in the layout `pools`
    gpus: list[Gpu] = field(default_factory=list)
    waiting: list[tuple[tuple[float, ...], int, Job]] = field(default_factory=list)  # a heap of (key, input order, job)
    open_in: dict[int, bool] = field(default_factory=dict)  # by region, or rather its id
    region: Region | None = None  # for which the gate is being asked
    start_s: float = 0.0  # a policy's prediction: when a request that comes now would start,
    start_gamma: float = 0.0  # and the intensity then
    next_plan_s: float = 0.0

    @property
    def open(self) -> bool:
        return any(self.open_in.values())

    @property
    def slots(self) -> int:
        return sum(gpu.hardware.max_batch for gpu in self.gpus)

    @property
    def residents(self) -> int:
        return sum(len(gpu.residents) for gpu in self.gpus)

    @property
    def prompt_waiting(self) -> int:
        return sum(job.prompt_left for _, _, job in self.waiting)

    @property
    def prompt_admitted(self) -> int:
        return sum(job.prompt_at_admission for gpu in self.gpus for job in gpu.residents if job.prompt_left)


class Policy(Protocol):
    """Three decisions and a layout (section 1). `route` gives the queue's index."""

    def layout(self) -> str: ...
    def route(self, engine: Engine, job: Job) -> int: ...
    def order(self, engine: Engine, queue: Queue, job: Job) -> tuple[float, ...]: ...
    def gate(self, engine: Engine, queue: Queue) -> bool: ...
    def preempts(self) -> bool: ...


def in_force(samples: Sequence[tuple[float, T]], t: float, default: T) -> T:
    """The last sample at or before t; the first one if all are later."""
    found = [value for from_s, value in samples if from_s <= t]
    return found[-1] if found else samples[0][1] if samples else default


KEPT_TO = 1.000001  # section 6

# ---------------------------------------------------------------- the engine


class Engine:
    """What a policy may look at: now, setup, requests, queues, and what the controller saw of each region."""

    def __init__(self, setup: Setup, requests: Sequence[Request], policy: Policy) -> None:
        self.setup, self.policy = setup, policy
        self.now = 0.0
        self.regions = list({id(pool.region): pool.region for pool in setup.pools}.values())
        self.jobs = [Job(i, request, Record(level=self.level(request))) for i, request in enumerate(requests)]
        self.coming = sorted(self.jobs, key=lambda job: job.request.arrival_s)  # stable: ties stay in input order
        self.gpus: list[Gpu] = []
        self.queues: list[Queue] = []
        self.lay_out(policy.layout())
        self.controls = self.admissions = 0
        self.outcome = Outcome([job.record for job in self.jobs])

    def level(self, request: Request) -> int:
        return sum(edge <= self.regions[0].carbon.at(request.arrival_s) for edge in self.setup.level_edges)

    def lay_out(self, layout: str) -> None:
        for number_of_pool, pool in enumerate(self.setup.pools):
            for _ in range(pool.replicas):
                index = len(self.gpus)
                number = {"pools": number_of_pool, "central": 0, "cyclic": index}[layout]
                if number == len(self.queues):
                    self.queues.append(Queue(number, pool.role if layout == "pools" else ""))
                hardware = pool.hardware
                gpu = Gpu(index, number_of_pool, hardware, pool.region, self.queues[number], watts=[(0.0, hardware.replica_watts(0), False)])
                self.gpus.append(gpu)
                self.queues[number].gpus.append(gpu)
                self.queues[number].open_in[id(pool.region)] = True
                self.queues[number].region = pool.region if layout != "central" else None

    # ------------------------------------------------ the clock (section 1)

    def run(self) -> Outcome:
        limit = self.setup.horizon_s + self.setup.drain_s
        while any(math.isnan(job.record.finished_s) for job in self.jobs) and (t := self.next_instant()) <= limit:
            self.now = t
            self.instant()
        return self.settle(limit)

    def next_instant(self) -> float:
        ends = [gpu.iteration.end_s for gpu in self.gpus if gpu.iteration]
        arrivals = [job.request.arrival_s for job in self.coming[:1]]
        return min([self.controls * self.setup.control_step_s, *arrivals, *ends])

    def instant(self) -> None:
        if self.now == self.controls * self.setup.control_step_s:
            self.control()
            self.controls += 1
        for gpu in self.gpus:
            if gpu.iteration and gpu.iteration.end_s == self.now:
                self.close(gpu, gpu.iteration)
        while self.coming and self.coming[0].request.arrival_s == self.now:
            self.arrive(self.coming.pop(0))
        for queue in self.queues:
            self.start_heads(queue)
        for gpu in self.gpus:
            if not gpu.iteration:
                self.begin_or_idle(gpu)

    def control(self) -> None:
        for region in self.regions:
            region.gamma = region.carbon.at(self.now)
            region.threshold = in_force(region.thresholds, self.now, math.inf)
            region.forecast = in_force([(f[0], f) for f in region.forecasts], self.now, (0.0, math.inf, []))
        for queue in self.queues:
            for region in {id(gpu.region): gpu.region for gpu in queue.gpus}.values():
                queue.region = region
                queue.open_in[id(queue.region)] = self.policy.gate(self, queue)
            for _, _, job in queue.waiting:
                if not queue.open and math.isnan(job.record.admitted_s):
                    job.held, job.record.released_s = True, math.nan

    # ------------------------------------------------ arrival, admission, pre-emption (sections 1, 4, 5)

    def held_work_waits(self, queue: Queue) -> bool:
        return any(other.held and math.isnan(other.record.admitted_s) for _, _, other in queue.waiting)

    def arrive(self, job: Job) -> None:
        queue = self.queues[self.policy.route(self, job)]
        job.held = not queue.open or self.held_work_waits(queue)
        if not job.held:
            job.record.released_s = self.now
        if not self.claim(queue, job):
            heapq.heappush(queue.waiting, (self.policy.order(self, queue, job), job.index, job))

    def has_room(self, gpu: Gpu, job: Job) -> bool:
        return len(gpu.residents) < gpu.hardware.max_batch and gpu.reserved + job.request.tokens <= gpu.hardware.kv_capacity_tokens

    def cost(self, gpu: Gpu) -> float:
        """What joining a replica costs, under the scenario's placement."""
        residents, setup = len(gpu.residents), self.setup
        if setup.placement == "prompts":
            prompts = sum(job.prompt_at_admission for job in gpu.residents if job.prompt_left)
            return float(np.float32(setup.tokens_per_resident * residents + prompts))
        if setup.placement == "pack":
            return -residents if residents < math.ceil(setup.pack_below * gpu.hardware.max_batch) else residents
        if setup.placement == "fastest":
            alone_s = sorted({self.alone_s(pool.hardware) for pool in setup.pools})
            return 1e6 * alone_s.index(self.alone_s(gpu.hardware)) + residents
        return residents

    def alone_s(self, hw: Hardware) -> float:
        """How long an average request takes that is alone on a replica."""
        return hw.prefill_s_per_token * self.setup.mean_input + (hw.decode_base_s + hw.decode_s_per_seq) * self.setup.mean_output

    def start_heads(self, queue: Queue) -> None:
        while queue.open and queue.waiting:
            head = queue.waiting[0][2]
            roomy = [gpu for gpu in queue.gpus if queue.open_in[id(gpu.region)] and self.has_room(gpu, head)]
            if not roomy:
                return
            heapq.heappop(queue.waiting)
            self.admit(min(roomy, key=lambda gpu: (self.cost(gpu), gpu.index)), head)

    def admit(self, gpu: Gpu, job: Job) -> None:
        gpu.residents.append(job)
        job.admission, self.admissions = self.admissions, self.admissions + 1
        job.prompt_at_admission = job.prompt_left
        job.record.gpu, job.record.pool = gpu.index, gpu.pool
        if math.isnan(job.record.admitted_s):
            job.record.admitted_s = self.now
        if math.isnan(job.record.released_s):
            job.record.released_s = self.now

    def claim(self, queue: Queue, job: Job) -> bool:
        """A Gold arrival takes the place of a running non-Gold sequence, if it may, must and can."""
        may = self.policy.preempts() and queue.role == "LP" and job.request.tier == GOLD and queue.open
        if not may or any(self.has_room(gpu, job) for gpu in queue.gpus):
            return False
        victims = [(other.admission, gpu, other) for gpu in queue.gpus for other in gpu.residents if self.can_replace(gpu, other, job)]
        if not victims:
            return False
        _, gpu, victim = max(victims, key=lambda entry: entry[0])
        gpu.claims.append((job, victim))
        return True

    def can_replace(self, gpu: Gpu, victim: Job, claimant: Job) -> bool:
        giving_way = any(victim is other for _, other in gpu.claims)
        fits = gpu.reserved - victim.request.tokens + claimant.request.tokens <= gpu.hardware.kv_capacity_tokens
        return victim.request.tier != GOLD and not giving_way and fits

    def honour_claims(self, gpu: Gpu) -> None:
        claims, gpu.claims = gpu.claims, []
        for claimant, victim in claims:
            if victim in gpu.residents:
                gpu.residents.remove(victim)
                victim.record.preempted += 1
                self.outcome.preemptions += 1
                heapq.heappush(gpu.queue.waiting, ((-math.inf,), victim.index, victim))
            self.admit(gpu, claimant)

    # ------------------------------------------------ iterations (section 2)

    def begin_or_idle(self, gpu: Gpu) -> None:
        if gpu.residents:
            if gpu.idle_since_s is not None:
                self.charge_idle(gpu, gpu.idle_since_s, self.now)
            gpu.idle_since_s = None
            gpu.iteration = self.iteration(gpu.hardware, list(gpu.residents))
            gpu.watts.append((self.now, gpu.hardware.replica_watts(len(gpu.residents)), True))
        elif gpu.idle_since_s is None:
            gpu.idle_since_s = self.now
            gpu.watts.append((self.now, gpu.hardware.replica_watts(0), False))

    def iteration(self, hw: Hardware, members: list[Job]) -> Iteration:
        decoders = [job for job in members if job.prompt_left == 0]
        if hw.chunk_tokens:
            budget: float = max(hw.chunk_tokens - len(decoders), 1)
            takes = []
            for job in members:
                takes.append(int(min(job.prompt_left, budget)))
                budget -= takes[-1]
        else:
            first = next((job for job in members if job.prompt_left), None)
            takes = [job.prompt_left if job is first else 0 for job in members]
            if first:
                decoders = []
        context = sum(job.request.input_tokens + job.produced for job in decoders)
        step_s = (
            hw.decode_base_s + hw.decode_s_per_seq * len(decoders) + hw.decode_s_per_context_token * context + hw.prefill_s_per_token * sum(takes)
        )
        return Iteration(self.now, self.now + step_s, members, takes, decoders)

    def close(self, gpu: Gpu, iteration: Iteration) -> None:
        self.charge(gpu, iteration, self.now)
        gpu.iteration = None
        for job in iteration.decoders:
            job.produced += 1
        for job, taken in zip(iteration.members, iteration.prompt_tokens, strict=True):
            job.prompt_done += taken
            if taken and job.prompt_left == 0:
                job.produced = 1
                job.record.first_token_s = self.now
            if job.produced == job.request.output_tokens:
                gpu.residents.remove(job)
                job.record.finished_s = self.now
                job.record.met_slo = self.met_slo(job)
        self.honour_claims(gpu)

    def met_slo(self, job: Job) -> bool:
        tier, request, record = self.setup.tiers[job.request.tier], job.request, job.record
        tpot = (record.finished_s - record.first_token_s) / (request.output_tokens - 1) if request.output_tokens > 1 else 0.0
        return (
            record.first_token_s - request.arrival_s <= tier.ttft_s * KEPT_TO
            and tpot <= tier.tpot_s * KEPT_TO
            and record.finished_s - request.arrival_s <= tier.e2e_s * KEPT_TO
            and record.first_token_s - record.released_s <= tier.ttft_after_release_s * KEPT_TO
        )

    # ------------------------------------------------ energy and carbon (section 3)

    def charge(self, gpu: Gpu, iteration: Iteration, until_s: float) -> None:
        """An iteration's energy and carbon, up to `until_s`, to its members in equal parts."""
        members, watts = iteration.members, gpu.hardware.replica_watts(len(iteration.members))
        energy_j, carbon_g = self.account(gpu, "busy", watts, iteration.start_s, until_s)
        for job in members:
            job.record.energy_j += energy_j / len(members)
            job.record.carbon_g += carbon_g / len(members)
        self.outcome.member_seconds += len(members) * (until_s - iteration.start_s)

    def charge_idle(self, gpu: Gpu, t0: float, t1: float) -> None:
        t1 = min(t1, self.setup.horizon_s)
        if t0 < t1:
            self.account(gpu, "idle", gpu.hardware.replica_watts(0), t0, t1)

    def account(self, gpu: Gpu, state: str, watts: float, t0: float, t1: float) -> tuple[float, float]:
        energy_j, carbon_g = watts * (t1 - t0), watts * gpu.region.carbon.integral(t0, t1) / JOULES_PER_KWH
        row = self.outcome.accounts.setdefault((gpu.pool, state), [0.0, 0.0, 0.0])
        for i, value in enumerate((t1 - t0, energy_j, carbon_g)):
            row[i] += value
        return energy_j, carbon_g

    def settle(self, limit: float) -> Outcome:
        """Close the accounts at the run's end; idle power counts until the arrivals end."""
        out, horizon_s = self.outcome, self.setup.horizon_s
        out.unfinished = sum(math.isnan(record.finished_s) for record in out.records)
        out.end_s = limit if out.unfinished else max((record.finished_s for record in out.records), default=0.0)
        for gpu in self.gpus:
            if gpu.iteration:
                self.charge(gpu, gpu.iteration, out.end_s)
            elif gpu.idle_since_s is not None:
                self.charge_idle(gpu, gpu.idle_since_s, horizon_s)
        pieces = [(gpu, *piece) for gpu in self.gpus for piece in self.power_pieces(gpu, max(out.end_s, horizon_s))]
        out.energy_j = math.fsum(watts * (t1 - t0) for _, t0, t1, watts in pieces)
        out.carbon_g = math.fsum(watts * (t1 - t0) * gpu.region.carbon.at(t0) for gpu, t0, t1, watts in pieces) / JOULES_PER_KWH
        return out

    def power_pieces(self, gpu: Gpu, end_s: float) -> Iterator[tuple[float, float, float]]:
        """(from, to, W) of a replica's log, cut wherever the power or the intensity changes; nothing of idle power after the arrivals."""
        horizon_s = self.setup.horizon_s
        times = sorted([*gpu.region.carbon.times_s, horizon_s])
        for (t0, watts, busy), (t1, _, _) in zip(gpu.watts, [*gpu.watts[1:], (end_s, 0.0, False)], strict=True):
            cuts = [t0, *times[bisect_right(times, t0) : bisect_left(times, t1)], t1]
            yield from ((a, b, watts) for a, b in pairwise(cuts) if busy or a < horizon_s)


def play(setup: Setup, requests: Sequence[Request], policy: Policy) -> Outcome:
    """Play one run out, iteration by iteration."""
    return Engine(setup, requests, policy).run()
