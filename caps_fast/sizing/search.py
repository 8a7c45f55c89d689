"""The search for the cheapest fleet that meets its targets.

Two assumptions: a fleet that misses a target does not meet it with fewer replicas, and one that meets its targets is
not cheaper with more. So a tried fleet excludes others, and the next one to try is the one that leaves the fewest in
the worse case. Both assumptions are verified at the neighbours of the result; if they do not hold there, the search
continues from the better neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from caps_fast.errors import InputError
from caps_fast.scenario import Scenario
from caps_fast.sizing.fleets import REPLICAS, Fleets
from caps_fast.sizing.measure import Ask, Measured, Search
from caps_fast.sizing.targets import Interval, Target, Verdict, interval, judged

MONEY = "cost"
FIRST_SEEDS = 3  # seeds before a verdict; twice as many at each further look
SCREENING = (1 / 16, 1 / 4)  # of the horizon: shorter runs that guide the search
SCREENING_SEEDS = 2
LIKELY = 0.9  # probability that a fleet meets its targets if it did in shorter runs

Steps = Generator[Ask, list[Measured], None]


@dataclass(frozen=True)
class Problem:
    """One search.

    fleets          to choose from
    targets         to keep
    objective       metric to minimise, or `replicas`
    seeds           of all fleets; more of them are used until the intervals decide
    confidence      of the intervals
    on_verdict      called with every fleet tried over the full horizon
    """

    fleets: Fleets
    targets: tuple[Target, ...]
    objective: str
    seeds: tuple[int, ...]
    confidence: float
    on_verdict: Callable[[Tried, int], None] = lambda tried, fleet: None

    @property
    def looks(self) -> list[int]:
        """Seeds at each look at a fleet."""
        found = [min(FIRST_SEEDS, len(self.seeds))]
        while found[-1] < len(self.seeds):
            found.append(min(2 * found[-1], len(self.seeds)))
        return found

    @property
    def look_confidence(self) -> float:
        """Confidence of the interval at one look, so that all looks together have the given one (Bonferroni)."""
        return 1 - (1 - self.confidence) / len(self.looks)

    @property
    def screening(self) -> tuple[float, ...]:
        """Lengths of the shorter runs, days: whole ones if the rate changes with the time of day.

        None if a trace is stretched, which would change its rate.
        """
        days, load = self.fleets.base.days, self.fleets.base.workload
        if load.trace and load.trace_fit == "stretch":
            return ()
        if load.is_steady and not load.trace:
            return tuple(share * days for share in SCREENING)
        return tuple(sorted({float(math.ceil(share * days)) for share in SCREENING if math.ceil(share * days) < days}))

    def search(self) -> Search[Tried]:
        """Try fleets, over shorter horizons first, until the cheapest that meets the targets is known and verified."""
        odds = np.full(len(self.fleets), 0.5)
        for days in self.screening:
            screened = Tried(self, days, self.seeds[:SCREENING_SEEDS], [SCREENING_SEEDS])
            yield from screened.rule_out(odds)
            screened.expect_prices()
            odds = screened.odds()
        tried = Tried(self, self.fleets.base.days, self.seeds, self.looks)
        while True:
            yield from tried.rule_out(odds)
            best = tried.best()
            if best is None:
                return tried
            if (beside := tried.unverified(best)) is not None:
                yield from tried.test(beside)
            elif len(tried.runs[best]) < len(self.seeds) and not tried.errors(best):
                yield from tried.add(best, len(self.seeds))
            else:
                return tried


@dataclass
class Tried:
    """Fleets tried over one horizon: their runs in the order of the seeds."""

    problem: Problem
    days: float
    seeds: Sequence[int]
    looks: Sequence[int]
    runs: dict[int, list[Measured]] = field(default_factory=dict)

    def rule_out(self, odds: NDArray[np.float64]) -> Steps:
        """Try fleets until all others are excluded; `odds` are the odds that each meets its targets."""
        while len(left := self.left()):
            yield from self.test(self._next(left, odds))

    def test(self, fleet: int) -> Steps:
        """Evaluate a fleet until the intervals decide, or all seeds are used."""
        for count in self.looks:
            yield from self.add(fleet, count)
            if self.errors(fleet) or self.verdict(fleet).decided:
                break
        if self.days == self.problem.fleets.base.days:
            self.problem.on_verdict(self, fleet)

    def add(self, fleet: int, count: int) -> Steps:
        """Ensure at least `count` runs of a fleet."""
        runs = self.runs.get(fleet, [])
        missing = self.seeds[len(runs) : count]
        if missing:
            found = yield [self._run(fleet, seed) for seed in missing]
            self.runs[fleet] = [*runs, *found]

    def verdict(self, fleet: int) -> Verdict:
        """Whether a tried fleet meets the targets; an invalid one does not."""
        if self.errors(fleet):
            return Verdict(False, True, self.problem.targets[0], -math.inf)
        found = {target.metric: self.figures(fleet, target.metric) for target in self.problem.targets}
        return judged(self.problem.targets, found, self.problem.look_confidence)

    def is_empty(self) -> bool:
        """Whether no request arrived that a target counts."""
        tried = [fleet for fleet in self.runs if not self.errors(fleet)]
        metrics = [target.metric for target in self.problem.targets]
        return bool(tried) and all(
            math.isnan(one) for at in tried for name in metrics for one in self.figures(at, name)
        )

    def errors(self, fleet: int) -> str:
        """Why a fleet is not valid; empty if it is."""
        return next((one.error for one in self.runs[fleet] if one.error), "")

    def figures(self, fleet: int, metric: str) -> list[float]:
        """A metric of a fleet by seed."""
        return [one.metrics[metric] for one in self.runs[fleet]]

    def interval(self, fleet: int, metric: str) -> Interval:
        """A metric's mean over seeds with its interval, at the confidence of one look."""
        return interval(self.figures(fleet, metric), self.problem.look_confidence)

    def price(self, fleet: int) -> float:
        """The objective of a fleet that was tried."""
        if self.problem.objective == REPLICAS:
            return float(self.problem.fleets.replicas[fleet])
        figures = self.figures(fleet, self.problem.objective)
        return math.fsum(figures) / len(figures)

    def expect_prices(self) -> None:
        """Raise InputError if the objective is money and everything is free."""
        kept = self.keeping()
        if self.problem.objective == MONEY and kept and not any(self.price(fleet) for fleet in kept):
            raise InputError("objective money: the cost of every fleet is 0; expected a scenario with prices")

    def keeping(self) -> list[int]:
        """Fleets that meet the targets."""
        return [fleet for fleet in self.runs if self.verdict(fleet).keeps]

    def best(self) -> int | None:
        """The cheapest fleet that meets the targets, the first of equals; None if none does."""
        return min(self.keeping(), key=lambda fleet: (self.price(fleet), fleet), default=None)

    def unverified(self, best: int) -> int | None:
        """A fleet to try in order to verify the best one: a neighbour, or a neighbour of an uncertain smaller one."""
        fleets = self.problem.fleets
        beside = fleets.neighbours(best)
        for fleet in beside:
            if fleet not in self.runs:
                return fleet
            if fleets.within[best, fleet] and not self.verdict(fleet).decided:
                beside += fleets.smaller(fleet)
        return None

    def left(self) -> NDArray[np.int64]:
        """Fleets that are neither tried nor excluded."""
        fleets = self.problem.fleets
        out = np.zeros(len(fleets), bool)
        for fleet in self.runs:
            out[fleet] = True
            out |= fleets.within[:, fleet] if self.verdict(fleet).keeps else fleets.within[fleet]
        best = self.best()
        if best is not None and self.problem.objective == REPLICAS:
            order = np.arange(len(fleets))
            equal = fleets.replicas == fleets.replicas[best]
            out |= (fleets.replicas > fleets.replicas[best]) | (equal & (order > best))
        return np.flatnonzero(~out)

    def odds(self) -> NDArray[np.float64]:
        """Odds that each fleet meets its targets over a longer horizon, from the results over this one."""
        found = np.full(len(self.problem.fleets), 0.5)
        for fleet in self.runs:
            if self.verdict(fleet).keeps:
                found[self.problem.fleets.within[:, fleet]] = LIKELY
            else:
                found[self.problem.fleets.within[fleet]] = 1 - LIKELY
        return found

    def _next(self, left: NDArray[np.int64], odds: NDArray[np.float64]) -> int:
        """The fleet whose answer leaves the fewest in the worse case, each weighted by its odds; the first of equals.

        Without odds that is bisection. Below the first fleet that meets its targets, shorter runs are trusted: the next
        smaller ones are tried first, because they must be tried in any case to exclude the others.
        """
        fleets, keeping = self.problem.fleets, self.keeping()
        if len(keeping) == 1:
            doubtful = [fleet for fleet in fleets.smaller(keeping[0]) if fleet in left and odds[fleet] < 0.5]
            if doubtful:
                return doubtful[0]
        within = fleets.within[np.ix_(left, left)]
        dearer = within.T
        if self.problem.objective == REPLICAS:
            replicas, order = fleets.replicas[left], np.arange(len(left))
            equal = replicas[None, :] == replicas[:, None]
            dearer = dearer | (replicas[None, :] > replicas[:, None]) | (equal & (order[None, :] > order[:, None]))
        if_kept, if_missed = len(left) - dearer.sum(axis=1), len(left) - within.sum(axis=1)
        return int(left[np.argmin(np.maximum(odds[left] * if_kept, (1 - odds[left]) * if_missed))])

    def _run(self, fleet: int, seed: int) -> Scenario | InputError:
        try:
            return self.problem.fleets.scenario(fleet).replace({"days": self.days, "seed": seed})
        except InputError as error:
            return error
