"""A published claim, its test, and the verdict on the measurement."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from caps_fast.reproduce.evidence import Evidence, Floats
from caps_fast.reproduce.statistics import Estimate, estimate

Kind = Literal["above 0", "not below 0", "near", "at most", "between"]
Verdict = Literal["holds", "fails", "undecided", "not measured"]


@dataclass(frozen=True)
class Claim:
    """A claim and its test.

    text        the claim
    unit        "%" and "points" are shown times 100; otherwise the unit's name
    paper       the paper's figure; None if it only states an order
    kind        the test of our figure: above 0 or not below 0 (orders), near `paper` within `tolerance`, at most
                `paper`, or between the two of `span`
    ours        our figure by seed, paired seed by seed if two runs are compared
    why         one sentence, from the evidence
    """

    key: str
    text: str
    unit: str
    paper: float | None
    kind: Kind
    ours: Callable[[Evidence], Floats]
    why: Callable[[Evidence], str]
    tolerance: float = 0.0
    span: tuple[float, float] = (-math.inf, math.inf)


def verdict(claim: Claim, ours: Estimate) -> Verdict:
    """Whether a claim holds.

    An order above 0 holds (or fails) if the interval lies on that side, and is undecided if it contains 0; "not below
    0" fails only if all of the interval is below. Sizes are tested by the mean.
    """
    if math.isnan(ours.mean):
        return "not measured"
    if claim.kind == "above 0":
        return "undecided" if ours.low <= 0 <= ours.high else _yes(ours.mean > 0)
    if claim.kind == "not below 0":
        return _yes(ours.mean >= 0 or ours.high >= 0)
    low, high = claim.span
    if claim.paper is not None and claim.kind == "near":
        low, high = claim.paper - claim.tolerance, claim.paper + claim.tolerance
    if claim.paper is not None and claim.kind == "at most":
        low, high = -math.inf, claim.paper
    return _yes(low <= ours.mean <= high)


def judge(claim: Claim, evidence: Evidence) -> dict[str, object]:
    """A row of the claims table: one claim under one preset."""
    ours = estimate(claim.ours(evidence))
    found = verdict(claim, ours)
    return {
        "claim": claim.key,
        "text": claim.text,
        "unit": claim.unit,
        "paper": claim.paper,
        "test": _test(claim),
        "preset": evidence.preset,
        "ours": ours.mean,
        "low": ours.low,
        "high": ours.high,
        "seeds": ours.n,
        "verdict": found,
        "why": claim.why(evidence) if found != "not measured" else "No such run is available.",
    }


def _yes(holds: bool) -> Verdict:
    return "holds" if holds else "fails"


def _test(claim: Claim) -> str:
    scale = 100 if claim.unit in {"%", "points"} else 1
    if claim.kind == "near":
        return f"within {claim.tolerance * scale:g} {claim.unit}"
    if claim.kind == "between":
        return f"{claim.span[0] * scale:g} to {claim.span[1] * scale:g} {claim.unit}"
    return claim.kind
