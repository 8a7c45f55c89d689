"""Targets of a fleet, verdicts, and missed limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from caps_fast.arrays import HISTOGRAMS
from caps_fast.books import bin_edges_s, ratio
from caps_fast.errors import InputError, did_you_mean
from caps_fast.records import Array
from caps_fast.results import Result
from caps_fast.scenario import Scenario
from caps_fast.sections import TIERS

SLO = "slo_attainment"
LIMITS = tuple(f"{latency}_s" for latency in HISTOGRAMS)
UNFINISHED, REJECTED = "unfinished", "rejected"
KEPT_TO = 1 + 1e-6  # limits are compared with a tolerance of 1e-6


@dataclass(frozen=True)
class Target:
    """A metric of attainment, and its target share."""

    metric: str
    least: float


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with the ends of its confidence interval, nan for a single seed."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        return self.high - self.mean


@dataclass(frozen=True)
class Verdict:
    """Whether a fleet meets all targets.

    keeps       by the means over seeds
    decided     whether the intervals agree: all above their targets, or one below
    missed      the target that is missed by most (or met by least)
    margin      the mean less the target
    """

    keeps: bool
    decided: bool
    missed: Target
    margin: float


def targets(config: Scenario, slo: float | None, tiers: Mapping[str, float]) -> tuple[Target, ...]:
    """The targets of a study: the share of all requests that meet their SLO, and of requests of some tiers.

    Raises InputError.
    """
    wanted = {SLO: slo} if slo is not None else {}
    for tier, least in tiers.items():
        if tier not in TIERS:
            raise InputError(f"--tier {tier}{did_you_mean(tier, TIERS)}: expected one of {', '.join(TIERS)}")
        if not getattr(config.slo, tier).share and not config.workload.trace:
            raise InputError(f"--tier {tier}: slo.{tier}.share is 0; expected a tier that has requests")
        wanted[f"{SLO}_{tier}"] = least
    for name, least in wanted.items():
        if not 0 < least <= 1:
            tier = name.removeprefix(SLO)[1:]
            raise InputError(f"{f'--tier {tier}=' if tier else '--slo '}{least:g}: expected a share above 0, at most 1")
    if not wanted:
        raise InputError("no target: expected --slo or --tier")
    return tuple(Target(metric, least) for metric, least in wanted.items())


def interval(figures: Sequence[float], confidence: float) -> Interval:
    """The mean of a figure over seeds with Student's interval."""
    count, mean = len(figures), math.fsum(figures) / len(figures)
    if count < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(student.ppf((1 + confidence) / 2, count - 1) * np.std(figures, ddof=1) / math.sqrt(count))
    return Interval(mean, mean - half, mean + half)


def judged(wanted: Sequence[Target], found: Mapping[str, Sequence[float]], confidence: float) -> Verdict:
    """The verdict on a fleet from its attainments by seed. A tier without requests meets its target."""
    intervals = [(target, interval(found[target.metric], confidence)) for target in wanted]
    intervals = [(target, one) for target, one in intervals if math.isfinite(one.mean)]
    if not intervals:
        return Verdict(True, False, wanted[0], 0.0)
    above = all(one.low >= target.least for target, one in intervals)
    below = any(one.high < target.least for target, one in intervals)
    margin, missed = min(((one.mean - target.least, target) for target, one in intervals), key=lambda pair: pair[0])
    return Verdict(margin >= 0, above or below, missed, margin)


def misses(result: Result) -> dict[str, float]:
    """By tier and limit (`gold ttft_s`): the share of the tier's requests beyond it; `gold unfinished` and, if there
    are any, `gold rejected`.
    """
    outcome, edges, found = result.outcome, bin_edges_s(), {}
    for tier, name in enumerate(TIERS):
        books = outcome.books
        requests = books.of_tier("requests", tier)
        found[f"{name} {UNFINISHED}"] = ratio(
            requests - outcome.books.of_tier("finished", tier) - outcome.books.of_tier("rejected", tier), requests
        )
        if books.rejected:
            found[f"{name} {REJECTED}"] = ratio(books.of_tier("rejected", tier), requests)
        for at, latency in enumerate(LIMITS):
            limit = getattr(getattr(result.scenario.slo, name), latency)
            if limit is not None:
                beyond = _beyond(outcome.histograms[tier, at], edges, limit * KEPT_TO)
                found[f"{name} {latency}"] = ratio(beyond, requests)
    return found


def _beyond(counts: Array, edges: Array, limit: float) -> float:
    """Number of values of a histogram beyond a limit, assumed uniform within their bin."""
    at = min(max(int(np.searchsorted(edges, limit, side="right")) - 1, 0), len(counts) - 1)
    inside = (edges[at + 1] - limit) / (edges[at + 1] - edges[at])
    return float(counts[at + 1 :].sum() + counts[at] * min(max(inside, 0.0), 1.0))
