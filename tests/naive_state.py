"""The state of a run of the reference engine: requests on their way, replicas and what their memory holds, queues."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from naive_world import Hardware, Record, Region, Request


@dataclass(eq=False)
class Job:
    """A request on its way through the system."""

    index: int
    request: Request
    record: Record
    prompt_done: int = 0
    produced: int = 0
    recomputed: int = 0  # of the tokens produced, those that have become part of the prompt
    held: bool = False
    done_s: float = math.nan  # when the engine made its last token
    admission: int = -1  # number of its latest admission, over the whole run
    prompt_at_admission: int = 0  # prompt tokens left then
    joined: bool = False  # has been in an iteration since then
    waited: bool = False  # has seen an iteration begin without it since then

    @property
    def prompt(self) -> int:
        return self.request.input_tokens + self.recomputed

    @property
    def prompt_left(self) -> int:
        return self.prompt - self.prompt_done

    @property
    def context(self) -> int:
        return self.request.input_tokens + self.produced

    def lose_kv(self) -> int:
        """Input and answer so far become the prompt, none of it done.

        Returns the tokens that are processed once more.
        """
        lost = self.prompt_done if self.prompt_left else self.context - 1
        self.recomputed, self.prompt_done = self.produced, 0
        return lost


@dataclass
class Work:
    """What an iteration does."""

    decoders: list[Job]  # members that produce one more token
    takes: dict[Job, int]  # prompt tokens that the others take


def work_of(hw: Hardware, members: Sequence[Job]) -> Work:
    """Of an iteration with these members, in order of admission (section 2)."""
    decoders = [job for job in members if job.prompt_left == 0]
    prompts = [job for job in members if job.prompt_left]
    if not hw.chunk_tokens:
        return Work([], {prompts[0]: prompts[0].prompt_left}) if prompts else Work(decoders, {})
    budget = max(hw.chunk_tokens - len(decoders), 1)
    takes = {}
    for job in prompts:
        if budget:
            takes[job] = min(job.prompt_left, budget)
            budget -= takes[job]
    return Work(decoders, takes)


@dataclass
class Iteration:
    start_s: float
    end_s: float
    members: list[Job]
    work: Work
    watts: float


@dataclass
class Gpu:
    index: int
    pool: int
    hardware: Hardware
    region: Region
    queue: Queue
    clock: float = 1.0  # that it is to have; its hardware's is the one in force
    ready_s: float = 0.0  # stands still until then, for its clock has changed
    residents: list[Job] = field(default_factory=list)  # in order of admission
    claims: list[tuple[Job, Job]] = field(default_factory=list)  # (claimant, victim), in order of claim
    iteration: Iteration | None = None
    barred: bool = False  # admits nobody until its next iteration has ended: its memory was too small
    idle_since_s: float | None = 0.0
    on: bool = True  # idle or busy, and in no other state of section 9
    draining: bool = False
    failed: bool = False
    watts: list[tuple[float, float, bool]] = field(
        default_factory=list
    )  # (from_s, W, counts after the arrivals): for the independent integral

    @property
    def members(self) -> list[Job]:
        return [job for job in self.residents if job.joined]

    def join(self) -> None:
        """An iteration is about to begin: which joiners become members (section 2)."""
        joiners = [job for job in self.residents if not job.joined]
        ready = [job for job in joiners if job.waited or not self.hardware.lag_iterations]
        for job in ready if ready or self.members else joiners:
            job.joined = True
        for job in joiners:
            job.waited = True

    # ------------------------------------------------ KV memory (section 2)

    def entry(self, job: Job) -> int:
        """Room that admission needs, of the capacity."""
        hw = self.hardware
        return hw.room(hw.first_chunk(job.prompt) if hw.grows else job.request.tokens)

    def holdings(self) -> dict[Job, int]:
        """What each resident holds in the iteration in progress, or else in the one to begin."""
        hw = self.hardware
        if not hw.grows:
            return {job: hw.room(job.request.tokens) for job in self.residents}
        takes = (self.iteration.work if self.iteration else work_of(hw, self.members)).takes

        def tokens(job: Job) -> int:
            if job.prompt_left == 0:
                return job.context
            return max(hw.first_chunk(job.prompt), job.prompt_done + takes.get(job, 0))

        return {job: hw.room(tokens(job)) for job in self.residents}

    def taken(self) -> int:
        """What the residents hold, and what each claim needs beyond its victim's."""
        held = self.holdings()
        return sum(held.values()) + sum(max(0, self.entry(claimant) - held[victim]) for claimant, victim in self.claims)

    @property
    def counts(self) -> bool:
        """Is it one of the replicas that its pool counts on?"""
        return not self.draining and not self.failed

    @property
    def takes_work(self) -> bool:
        return self.on and not self.draining

    def has_room(self, job: Job) -> bool:
        hw = self.hardware
        free_slot = self.takes_work and len(self.residents) < hw.max_batch and not self.barred
        return free_slot and hw.can_hold(job.request) and self.taken() + self.entry(job) <= hw.capacity

    def can_replace(self, victim: Job, claimant: Job) -> bool:
        """Would the claimant have room, had the victim left?"""
        hw = self.hardware
        giving_way = any(victim is other for _, other in self.claims)
        fits = self.taken() - self.holdings()[victim] + self.entry(claimant) <= hw.capacity
        return self.takes_work and not giving_way and fits and hw.can_hold(claimant.request)


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
    counters: dict[int, float] = field(default_factory=dict)  # tokens served, weighted, by tenant or tier (section 13)
    last_left: int | None = None
    blocked: bool = False  # with turns: the first fits nowhere, and nothing has happened since

    @property
    def open(self) -> bool:
        return any(self.open_in.values())

    @property
    def counted(self) -> list[Gpu]:
        """The replicas that its policy counts on."""
        return [gpu for gpu in self.gpus if gpu.counts] or self.gpus[:1]

    @property
    def hardware(self) -> Hardware:
        """What its policy knows of its replicas: their kind at the clock that they are to have."""
        return self.gpus[0].hardware.at(self.gpus[0].clock)

    @property
    def slots(self) -> int:
        return sum(gpu.hardware.max_batch for gpu in self.counted)

    @property
    def residents(self) -> int:
        return sum(len(gpu.residents) for gpu in self.gpus)

    @property
    def prompt_waiting(self) -> int:
        return sum(job.prompt_left for _, _, job in self.waiting)

    @property
    def prompt_admitted(self) -> int:
        return sum(job.prompt_at_admission for gpu in self.gpus for job in gpu.residents if job.prompt_left)
