"""Sessions for the reference engine (docs/model.md, section 14): conversations whose turns come after answers."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from naive import Engine, Policy
from naive_state import Gpu, Job
from naive_world import Record, Request, Setup

MASK = 2**64 - 1
INPUT, KNOWN, REST, GOES_ON, THINK, TENANT = range(6)


def split_mix(word: int) -> int:
    z = (word + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@dataclass
class Habits:
    """What sessions do."""

    seed: int
    closed: bool
    goes_on: float
    turns: int  # 0: as `goes_on` says
    think_law: str
    think_s: float
    think_cv: float
    pause_s: float
    most_context: int
    most_output: int
    predictability: float
    tokens: Sequence[Sequence[float]]  # by score from -8 to 8: what a turn adds, an answer
    edges: tuple[int, int]  # prompts from which a turn is long, agentic
    tenant_share: Sequence[float]  # cumulative
    tenant_tier: Sequence[int]


@dataclass
class Session:
    number: int
    habits: Habits
    drawn: int = 0
    turn: int = 0
    context: int = 0
    tenant: int = field(init=False)

    def __post_init__(self) -> None:
        self.tenant = bisect_right(self.habits.tenant_share, self.uniform(0, TENANT))

    def uniform(self, turn: int, what: int) -> float:
        word = split_mix(split_mix(split_mix(self.habits.seed) ^ self.number) ^ (8 * turn + what))
        return ((word >> 11) + 0.5) * 2.0**-53

    def score(self, what: int) -> float:
        return NormalDist().inv_cdf(self.uniform(self.drawn, what))

    def tokens(self, row: int, z: float) -> float:
        tokens = self.habits.tokens[row]
        return float(np.interp(z, np.linspace(-8, 8, len(tokens)), tokens))

    def next_turn(self, t: float) -> Request:
        habits = self.habits
        known, rest = (math.sqrt(share) for share in (habits.predictability, 1 - habits.predictability))
        estimate = known * self.score(KNOWN)
        new = max(int(self.tokens(0, self.score(INPUT)) + 0.5), 1)
        answer = int(self.tokens(1, estimate + rest * self.score(REST)) + 0.5)
        prompt = min(self.context + new, habits.most_context)
        category = sum(edge <= prompt for edge in habits.edges)
        self.drawn, self.turn = self.drawn + 1, self.turn + 1
        tier = habits.tenant_tier[self.tenant]
        return Request(
            t,
            tier,
            category,
            self.tenant,
            prompt,
            min(max(answer, 1), habits.most_output),
            max(self.tokens(1, estimate), 1.0),
        )

    def answered(self, request: Request, seen_s: float) -> float:
        """When the next turn comes; never after the last."""
        habits, last = self.habits, self.drawn - 1
        if self.turn < habits.turns if habits.turns else self.uniform(last, GOES_ON) < habits.goes_on:
            self.context = request.tokens
            return seen_s + max(self.think_s(self.uniform(last, THINK)), 1e-3)
        return self.over(seen_s)

    def over(self, seen_s: float) -> float:
        """When the user begins another conversation."""
        self.context = self.turn = 0
        pause_s = -math.log(self.uniform(self.drawn - 1, THINK)) * self.habits.pause_s
        return seen_s + max(pause_s, 1e-3) if self.habits.closed else math.inf

    def think_s(self, u: float) -> float:
        habits = self.habits
        if habits.think_law == "exponential":
            return -math.log(u) * habits.think_s
        if habits.think_law == "fixed":
            return habits.think_s
        log_variance = math.log(1 + habits.think_cv**2)
        return math.exp(math.log(habits.think_s) - log_variance / 2 + math.sqrt(log_variance) * NormalDist().inv_cdf(u))


@dataclass(eq=False)
class Turn(Job):
    """A request whose content is drawn when it comes."""

    session: Session | None = None


class SessionEngine(Engine):
    """Plays the sessions that begin at `starts_s`."""

    def __init__(self, setup: Setup, starts_s: Sequence[float], habits: Habits, policy: Policy, *parts: Any) -> None:
        super().__init__(setup, [], policy, *parts)
        for number, start_s in enumerate(starts_s):
            self.expect(Session(number, habits), start_s)

    def expect(self, session: Session, t: float) -> None:
        if t < self.setup.horizon_s:
            request = Request(t, 0, 0, 0, 0, 0, 0.0)
            insort(
                self.coming,
                Turn(-1, request, Record(), session=session),
                key=lambda job: (job.request.arrival_s, job.session.number),
            )

    def goes_on(self, t: float) -> bool:
        return bool(self.coming) or super().goes_on(t)

    def arrive(self, job: Job) -> None:
        assert isinstance(job, Turn)
        assert job.session
        job.request, job.index = job.session.next_turn(self.now), len(self.jobs)
        job.record.level = self.level(job.request)
        self.jobs.append(job)
        self.outcome.records.append(job.record)
        super().arrive(job)
        if job.record.rejected:
            self.expect(job.session, job.session.over(self.now))

    def finish(self, gpu: Gpu, job: Job) -> None:
        super().finish(gpu, job)
        assert isinstance(job, Turn)
        assert job.session
        self.expect(job.session, job.session.answered(job.request, job.record.finished_s))
