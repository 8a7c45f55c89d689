"""The reference engine: docs/model.md played out in plain Python, token by token.

Slow on purpose. Every iteration of every GPU is one event and every sum is recomputed where it is needed,
so that the code can be checked against the text by eye. Section numbers refer to docs/model.md.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

import naive_admission
import naive_fair
from naive_state import Gpu, Iteration, Job, Queue, work_of
from naive_world import JOULES_PER_KWH, Hardware, Outcome, Record, Region, Request, Setup, in_force

GOLD, SILVER, BRONZE = 0, 1, 2
KEPT_TO = 1.000001  # section 6


class Policy(Protocol):
    """Three decisions and a layout (section 1). `route` gives the queue's index."""

    def layout(self) -> str: ...
    def route(self, engine: Engine, job: Job) -> int: ...
    def order(self, engine: Engine, queue: Queue, job: Job) -> tuple[float, ...]: ...
    def gate(self, engine: Engine, queue: Queue) -> bool: ...
    def preempts(self) -> bool: ...
    def timed(self) -> bool: ...


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
                hardware = pool.hardware.at(pool.clock or 1.0)
                gpu = Gpu(index, number_of_pool, hardware, pool.region, self.queues[number], hardware.clock)
                gpu.watts.append((0.0, hardware.replica_watts(0), False))
                self.gpus.append(gpu)
                self.queues[number].gpus.append(gpu)
                self.queues[number].open_in[id(pool.region)] = True
                self.queues[number].region = pool.region if layout != "central" else None

    # ------------------------------------------------ the clock (section 1)

    def run(self) -> Outcome:
        limit = self.setup.horizon_s + self.setup.drain_s
        while (t := self.next_instant()) <= limit and self.goes_on(t):
            self.now = t
            self.instant()
        return self.settle(limit)

    def goes_on(self, t: float) -> bool:
        return any(math.isnan(job.record.finished_s) and not job.record.rejected for job in self.jobs)

    def next_instant(self) -> float:
        ends = [gpu.iteration.end_s for gpu in self.gpus if gpu.iteration]
        arrivals = [job.request.arrival_s for job in self.coming[:1]]
        return min([self.controls * self.setup.control_step_s, *arrivals, *ends])

    def instant(self) -> None:
        if self.now == self.controls * self.setup.control_step_s:
            self.control()
            self.controls += 1
        self.end_changes()
        for gpu in self.gpus:
            if gpu.iteration and gpu.iteration.end_s == self.now:
                self.close(gpu, gpu.iteration)
        self.take_in()
        while self.coming and self.coming[0].request.arrival_s == self.now:
            if self.setup.limits:  # one after another
                for queue in self.queues:
                    self.start_heads(queue)
            self.arrive(self.coming.pop(0))
        for queue in self.queues:
            self.start_heads(queue)
        for gpu in self.gpus:
            if not gpu.iteration:
                self.begin_or_idle(gpu)

    def end_changes(self) -> None:
        """Of a replica's state (section 9)."""

    def take_in(self) -> None:
        """Requests whose context gets to their queue now (section 10)."""

    def may_serve(self, region: Region, job: Job) -> bool:
        return True

    def delay_s(self, gpu: Gpu, job: Job) -> float:
        """How much later than the replica makes a token its client sees it."""
        return gpu.hardware.first_token_overhead_s

    def away_s(self, queue: Queue, job: Job) -> float:
        """The round trip to a queue."""
        return 0.0

    def refresh(self) -> None:
        for region in self.regions:
            region.gamma = (region.seen or region.carbon).at(self.now)
            region.threshold = in_force(region.thresholds, self.now, math.inf)
            region.forecast = in_force([(f[0], f) for f in region.forecasts], self.now, (0.0, math.inf, []))

    def control(self) -> None:
        self.refresh()
        for queue in self.queues:
            queue.blocked = False
            for region in {id(gpu.region): gpu.region for gpu in queue.gpus}.values():
                queue.region = region
                queue.open_in[id(queue.region)] = self.policy.gate(self, queue)
            for _, _, job in queue.waiting:
                if not queue.open and math.isnan(job.record.admitted_s):
                    job.held, job.record.released_s = True, math.nan

    # ------------------------------------------------ arrival, admission, pre-emption (sections 1, 4, 5)

    def held_work_waits(self, queue: Queue) -> bool:
        return not self.policy.timed() and any(
            other.held and math.isnan(other.record.admitted_s) for _, _, other in queue.waiting
        )

    def arrive(self, job: Job) -> None:
        self.join(self.queues[self.policy.route(self, job)], job)

    def join(self, queue: Queue, job: Job) -> None:
        job.held = not queue.open or self.held_work_waits(queue)
        if not job.held:
            job.record.released_s = job.request.arrival_s
        key = self.policy.order(self, queue, job)
        planned = self.policy.timed() and key[0] > self.now
        naive_fair.lift(self, queue, job)
        if self.claim(queue, job):
            return
        if self.setup.limits and naive_admission.rejects(
            self, queue, job, self.setup.limits[job.request.tier], planned
        ):
            job.record.rejected, job.record.released_s = True, math.nan
            return
        if planned:
            job.held, job.record.released_s = True, math.nan
        heapq.heappush(queue.waiting, (key, job.index, job))

    def is_due(self, queue: Queue) -> bool:
        """Has the planned start of the head come, when it joined or by the last control step (section 10)?"""
        key, _, head = naive_fair.head(self, queue)
        return not self.policy.timed() or not head.held or key[0] <= (self.controls - 1) * self.setup.control_step_s

    def cost(self, gpu: Gpu) -> float:
        """What joining a replica costs, by the policy's rule or the scenario's placement."""
        residents, setup, rule = len(gpu.residents), self.setup, getattr(self.policy, "place", None)
        if rule:
            return float(np.float32(rule(gpu)))
        if setup.placement == "prompts":
            prompts = sum(job.prompt_at_admission for job in gpu.residents if job.prompt_left)
            return float(np.float32(setup.tokens_per_resident * residents + prompts))
        if setup.placement == "pack":
            return -residents if residents < math.ceil(setup.pack_below * gpu.hardware.max_batch) else residents
        if setup.placement == "fastest":
            alone_s = sorted(
                {self.alone_s(pool.hardware.at(clock)) for pool in setup.pools for clock in pool.hardware.clocks}
            )
            return 1e6 * alone_s.index(self.alone_s(gpu.hardware)) + residents
        return residents

    def alone_s(self, hw: Hardware) -> float:
        """How long an average request takes that is alone on a replica."""
        return hw.prompt_s * self.setup.mean_input + (hw.base_s + hw.seq_s) * self.setup.mean_output

    def start_heads(self, queue: Queue) -> None:
        while queue.open and queue.waiting and not queue.blocked and self.is_due(queue):
            entry = naive_fair.head(self, queue)
            head = entry[2]
            roomy = [
                gpu
                for gpu in queue.gpus
                if queue.open_in[id(gpu.region)] and self.may_serve(gpu.region, head) and gpu.has_room(head)
            ]
            if not roomy:
                queue.blocked = self.setup.fairness is not None
                return
            naive_fair.take(self, queue, entry)
            self.admit(min(roomy, key=lambda gpu: (self.cost(gpu), gpu.index)), head)

    def admit(self, gpu: Gpu, job: Job) -> None:
        gpu.residents.append(job)
        job.admission, self.admissions = self.admissions, self.admissions + 1
        job.prompt_at_admission = job.prompt_left
        job.joined = job.waited = False
        job.record.gpu, job.record.pool = gpu.index, gpu.pool
        if math.isnan(job.record.admitted_s):
            job.record.admitted_s = self.now
            naive_fair.count(self, gpu.queue, job, input_tokens=job.request.input_tokens)
        if math.isnan(job.record.released_s):
            job.record.released_s = self.now

    def claim(self, queue: Queue, job: Job) -> bool:
        """A Gold arrival takes the place of a running non-Gold sequence, if it may, must and can."""
        may = self.policy.preempts() and queue.role == "LP" and job.request.tier == GOLD and queue.open
        if not may or any(gpu.has_room(job) for gpu in queue.gpus):
            return False
        residents = [(other.admission, gpu, other) for gpu in queue.gpus for other in gpu.residents]
        victims = [
            entry for entry in residents if entry[2].request.tier != GOLD and entry[1].can_replace(entry[2], job)
        ]
        if not victims:
            return False
        _, gpu, victim = max(victims, key=lambda entry: entry[0])
        gpu.claims.append((job, victim))
        return True

    def apply_preemptions(self, gpu: Gpu) -> None:
        claims, gpu.claims = gpu.claims, []
        for claimant, victim in claims:
            if victim in gpu.residents:
                self.preempt(gpu, victim)
            self.admit(gpu, claimant)

    def preempt(self, gpu: Gpu, job: Job) -> None:
        """Send a resident back to the front of its queue; what it had computed is lost where memory grows."""
        job.record.preempted += 1
        self.outcome.preemptions += 1
        if gpu.hardware.grows:
            self.outcome.recomputed_tokens += job.lose_kv()
        self.put_back(gpu, job)

    def leave(self, gpu: Gpu, job: Job) -> None:
        gpu.residents.remove(job)
        gpu.queue.blocked = False

    def put_back(self, gpu: Gpu, job: Job) -> None:
        self.leave(gpu, job)
        heapq.heappush(gpu.queue.waiting, ((-math.inf,), job.index, job))

    def make_room(self, gpu: Gpu) -> None:
        """Where the coming iteration does not fit into memory, who was admitted last goes (section 2)."""
        while gpu.hardware.grows and gpu.taken() > gpu.hardware.capacity:
            last = gpu.residents[-1]
            if last.prompt_done > 0:
                gpu.barred = True
                self.preempt(gpu, last)
            else:
                self.put_back(gpu, last)

    # ------------------------------------------------ iterations (section 2)

    def begin_or_idle(self, gpu: Gpu) -> None:
        if gpu.residents:
            if gpu.idle_since_s is not None:
                self.charge_idle(gpu, gpu.idle_since_s, self.now)
            gpu.idle_since_s = None
            gpu.join()
            gpu.iteration = self.iteration(gpu.hardware, gpu.members, max(0.0, gpu.ready_s - self.now))
            gpu.watts.append((self.now, gpu.iteration.watts, True))
        elif gpu.idle_since_s is None:
            gpu.idle_since_s = self.now
            gpu.watts.append((self.now, gpu.hardware.replica_watts(0), False))

    def follow_clock(self, gpu: Gpu) -> None:
        """A replica that is not in an iteration takes the clock that it is to have (section 11)."""
        if gpu.clock != gpu.hardware.clock:
            gpu.hardware = gpu.hardware.at(gpu.clock)
            gpu.ready_s = self.now + gpu.hardware.clock_change_s

    def iteration(self, hw: Hardware, members: list[Job], stands_s: float) -> Iteration:
        work = work_of(hw, members)
        prompts = [(taken, job.prompt_done) for job, taken in work.takes.items()]
        step_s = hw.step_s(len(work.decoders), sum(job.context for job in work.decoders), prompts)
        watts = hw.replica_watts(len(members), sum(work.takes.values()))
        return Iteration(self.now, self.now + stands_s + step_s, members, work, watts)

    def close(self, gpu: Gpu, iteration: Iteration) -> None:
        self.charge(gpu, iteration, self.now)
        gpu.queue.blocked &= not gpu.barred
        gpu.iteration, gpu.barred = None, False
        self.follow_clock(gpu)
        for job in iteration.work.decoders:
            job.produced += 1
            naive_fair.count(self, gpu.queue, job, output_tokens=1)
        for job, taken in iteration.work.takes.items():
            job.prompt_done += taken
            if job.prompt_left == 0:
                self.complete_prompt(gpu, job)
        for job in iteration.members:
            if job.produced == job.request.output_tokens:
                self.finish(gpu, job)
        self.apply_preemptions(gpu)
        self.make_room(gpu)

    def complete_prompt(self, gpu: Gpu, job: Job) -> None:
        """A complete prompt has produced the next token, which is the first one unless the prompt was recomputed."""
        job.produced += 1
        gpu.queue.blocked = False
        naive_fair.count(self, gpu.queue, job, output_tokens=1)
        if job.produced == 1:
            job.record.first_token_s = self.now + self.delay_s(gpu, job)

    def finish(self, gpu: Gpu, job: Job) -> None:
        self.leave(gpu, job)
        job.done_s = self.now
        job.record.finished_s = self.now + self.delay_s(gpu, job)
        job.record.met_slo = self.met_slo(job)

    def met_slo(self, job: Job) -> bool:
        tier, request, record = self.setup.tiers[job.request.tier], job.request, job.record
        tpot = (
            (record.finished_s - record.first_token_s) / (request.output_tokens - 1)
            if request.output_tokens > 1
            else 0.0
        )
        return (
            record.first_token_s - request.arrival_s <= tier.ttft_s * KEPT_TO
            and tpot <= tier.tpot_s * KEPT_TO
            and record.finished_s - request.arrival_s <= tier.e2e_s * KEPT_TO
            and record.first_token_s - record.released_s <= tier.ttft_after_release_s * KEPT_TO
        )

    # ------------------------------------------------ energy and carbon (section 3)

    def charge(self, gpu: Gpu, iteration: Iteration, until_s: float) -> None:
        """An iteration's energy and carbon, up to `until_s`, to its members in equal parts."""
        members = iteration.members
        energy_j, carbon_g = self.account(gpu, "busy", iteration.watts, iteration.start_s, until_s)
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
        out.unfinished = sum(math.isnan(record.finished_s) and not record.rejected for record in out.records)
        out.end_s = (
            limit if out.unfinished else max((job.done_s for job in self.jobs if not job.record.rejected), default=0.0)
        )
        for gpu in self.gpus:
            if gpu.iteration:
                self.charge(gpu, gpu.iteration, out.end_s)
            elif gpu.idle_since_s is not None:
                self.charge_idle(gpu, gpu.idle_since_s, horizon_s)
        pieces = [(gpu, *piece) for gpu in self.gpus for piece in self.power_pieces(gpu, max(out.end_s, horizon_s))]
        out.energy_j = math.fsum(watts * (t1 - t0) for _, t0, t1, watts in pieces)
        out.carbon_g = (
            math.fsum(watts * (t1 - t0) * gpu.region.carbon.at(t0) for gpu, t0, t1, watts in pieces) / JOULES_PER_KWH
        )
        return out

    def power_pieces(self, gpu: Gpu, end_s: float) -> Iterator[tuple[float, float, float]]:
        """(from, to, W) of a replica's log, cut wherever the power or the intensity changes; nothing of idle power
        after the arrivals.
        """
        horizon_s = self.setup.horizon_s
        times = sorted([*gpu.region.carbon.times_s, horizon_s])
        for (t0, watts, always), (t1, _, _) in zip(gpu.watts, [*gpu.watts[1:], (end_s, 0.0, False)], strict=True):
            cuts = [t0, *times[bisect_right(times, t0) : bisect_left(times, t1)], t1]
            yield from ((a, b, watts) for a, b in pairwise(cuts) if always or a < horizon_s)


def play(setup: Setup, requests: Sequence[Request], policy: Policy) -> Outcome:
    """One run, iteration by iteration."""
    return Engine(setup, requests, policy).run()
