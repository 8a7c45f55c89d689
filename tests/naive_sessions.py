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
from naive_world import Origin, Record, Request, Setup

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
    tenant_share: Sequence[float] = ()  # cumulative; empty where a session comes with a tenant
    tenant_tier: Sequence[int] = ()


@dataclass
class Session:
    start_s: float
    habits: Habits
    tenant: int = -1
    tier: int = -1
    origin: Origin = field(default_factory=Origin)
    number: int = -1
    drawn: int = 0
    turn: int = 0
    context: int = 0

    def begin(self, number: int) -> None:
        self.number = number
        if self.habits.tenant_share:
            self.tenant = bisect_right(self.habits.tenant_share, self.uniform(0, TENANT))
            self.tier = self.habits.tenant_tier[self.tenant]

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
        answer, predicted = min(max(answer, 1), habits.most_output), max(self.tokens(1, estimate), 1.0)
        return Request(t, self.tier, category, self.tenant, prompt, answer, predicted, self.origin)

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
    """A request whose content is drawn when it comes, or one by itself (no session)."""

    session: Session | None = None
    place: tuple[int, int] = (0, 0)  # among those of one instant


class SessionEngine(Engine):
    """Plays users, who pause at t = 0, and what starts later: sessions, and requests by themselves."""

    def __init__(
        self, setup: Setup, users: Sequence[Session], starts: Sequence[Session | Request], policy: Policy, *parts: Any
    ) -> None:
        super().__init__(setup, [], policy, *parts)
        self.sessions = 0
        for user in users:
            self.begin(user)
            self.expect(user, user.start_s)
        for at, one in enumerate(starts):
            if isinstance(one, Session):
                self.expect(one, one.start_s, (0, at))
            else:
                self.put(Turn(-1, one, Record(), place=(0, at)))

    def begin(self, session: Session) -> None:
        session.begin(self.sessions)
        self.sessions += 1

    def expect(self, session: Session, t: float, place: tuple[int, int] | None = None) -> None:
        if t < self.setup.horizon_s:
            turn = Request(t, 0, 0, 0, 0, 0, 0.0)
            self.put(Turn(-1, turn, Record(), session=session, place=place or (1, session.number)))

    def put(self, turn: Turn) -> None:
        insort(self.coming, turn, key=lambda job: (job.request.arrival_s, job.place))

    def goes_on(self, t: float) -> bool:
        return bool(self.coming) or super().goes_on(t)

    def arrive(self, job: Job) -> None:
        assert isinstance(job, Turn)
        session = job.session
        if session and session.number < 0:
            self.begin(session)
        if session:
            job.request = session.next_turn(self.now)
        job.index, job.record.level = len(self.jobs), self.level(job.request)
        self.jobs.append(job)
        self.outcome.records.append(job.record)
        super().arrive(job)
        if session and job.record.rejected:
            self.expect(session, session.over(self.now))

    def finish(self, gpu: Gpu, job: Job) -> None:
        super().finish(gpu, job)
        assert isinstance(job, Turn)
        if job.session:
            self.expect(job.session, job.session.answered(job.request, job.record.finished_s))
