"""The work of a scenario's requests by tier and time: what arrives in each slot, and what is due by its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from caps_fast.arrays import N_TIERS, SLACK
from caps_fast.bounds.points import CONTEXT, OUTPUT, PAIRS, PROMPT, WORK
from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.sections import TIERS, Tier

RATIOS = np.array([0.25, 0.5, 1.0, 2.0, 4.0])
ROUNDING = 1e-6  # of a request: shares are quotients of whole numbers


@dataclass(frozen=True)
class Demand:
    """Work by sort, tier and slot of time, in tokens (or pairs of tokens).

    arrived     float64 (4, 3, n_slots): work of the requests that arrive in the slot
    due         float64 (4, 3, n_slots): work that must be done by the end of the slot for its requests to meet their
                SLOs
    weights     float64 (n, 4): weightings of the sorts of work
    excused     float64 (n, 3): by weighting and tier, most work of the requests that may miss their SLOs
    dropped     float64 (n,): most work of the requests that may be left unfinished
    requests    int64 (3,): by tier
    """

    arrived: Array
    due: Array
    weights: Array
    excused: Array
    dropped: Array
    requests: Array


@dataclass(frozen=True)
class Promise:
    """What policies must achieve for a bound to hold: least shares of requests.

    attainment  by tier, of its requests that meet their SLO
    finished    of all requests that finish
    """

    attainment: tuple[float, float, float] = (1.0, 1.0, 1.0)
    finished: float = 1.0

    @classmethod
    def of(cls, attainment: float | Mapping[str, float], finished: float = 1.0) -> Promise:
        """One share for every tier, or one per tier by name (1 for tiers that are left out).

        Raises InputError outside 0..1 and for unknown tiers.
        """
        by_tier = dict.fromkeys(TIERS, attainment) if isinstance(attainment, int | float) else dict(attainment)
        for name, share in {**by_tier, "finished": finished}.items():
            if name not in (*TIERS, "finished"):
                raise InputError(f"attainment of {name!r}: expected one of {', '.join(TIERS)}")
            if not (isinstance(share, int | float) and 0.0 <= share <= 1.0):
                said = f"finished {share!r}" if name == "finished" else f"attainment {share!r} of {name}"
                raise InputError(f"{said}: expected a share from 0 to 1")
        gold, silver, bronze = (float(by_tier.get(tier, 1.0)) for tier in TIERS)
        return cls((gold, silver, bronze), float(finished))


def demand(blocks: Sequence[Array], tiers: Sequence[Tier], edges_s: Array, promise: Promise, prices: Array) -> Demand:
    """The work of requests (REQUEST, in blocks) in the slots between `edges_s`, float64 (n_slots + 1,), from 0 to
    the end of the drain; 0 of sorts whose price in `prices`, float64 (4,), is 0. The others are weighted by these
    prices in the most work that excused requests can have.

    Everything is rounded in favour of the server: work is available from the start of its slot, and due at the end of
    the slot that holds its deadline, or of the last slot without a limit. Only limits on absolute times count: `ttft_s`
    for the prompt, and for the answer `e2e_s` and, with a `ttft_s`, `tpot_s`.
    """
    shape = (N_TIERS, len(edges_s) - 1)
    arrived, due = (np.zeros((len(WORK), *shape)) for _ in range(2))
    count = np.zeros(N_TIERS, np.int64)
    sorts, weights = np.flatnonzero(prices).tolist(), weightings(prices)
    kept: list[tuple[Array, dict[int, Array]]] = []
    choosing = min(*promise.attainment, promise.finished) < 1.0
    for block in blocks:
        tier = block["tier"].astype(np.int64)
        count += np.bincount(tier, minlength=N_TIERS)
        work = work_of(block, sorts)
        by = dict(zip((PROMPT, OUTPUT), _due_s(block, tier, tiers), strict=True))
        cell = tier * shape[1]
        comes = cell + _slot(block["arrival_s"], edges_s)
        ends = {part: cell + _slot(at_s, edges_s) for part, at_s in by.items()}
        for sort, amount in work.items():
            arrived[sort] += np.bincount(comes, amount, arrived[sort].size).reshape(shape)
            due[sort] += np.bincount(
                ends[PROMPT if sort in (PROMPT, PAIRS) else OUTPUT], amount, due[sort].size
            ).reshape(shape)
        if choosing:
            kept.append((tier, work))
    excused, dropped = np.zeros((len(weights), N_TIERS)), np.zeros(len(weights))
    if kept:
        tier = np.concatenate([part for part, _ in kept])
        own = [tier == t for t in range(N_TIERS)]
        missed = [
            math.floor(n * (1.0 - share) + ROUNDING)
            for n, share in zip(count.tolist(), promise.attainment, strict=True)
        ]
        left = math.floor(len(tier) * (1.0 - promise.finished) + ROUNDING)
        for row, weight in enumerate(weights):
            amount = np.concatenate(
                [sum((weight[sort] * part[sort] for sort in sorts), np.zeros(len(of))) for of, part in kept]
            )
            excused[row] = [_largest(amount[own[t]], missed[t]) for t in range(N_TIERS)]
            dropped[row] = _largest(amount, left)
    return Demand(arrived, due, weights, excused, dropped, count)


def weightings(prices: Array) -> Array:
    """Weights of the sorts of work, float64 (n, 4): each sort alone, and all by their prices, with prompts dearer or
    cheaper.
    """
    alone = np.diag(prices)[prices > 0.0]
    together = np.outer(RATIOS, prices)
    together[:, [OUTPUT, CONTEXT]] = prices[[OUTPUT, CONTEXT]]
    return np.concatenate([alone, together])


def work_of(requests: Array, sorts: Sequence[int]) -> dict[int, Array]:
    """WORK of each request, by sort: float64 (n,) each.

    The first token comes with the prompt; each later one reads the tokens before it.
    """
    prompt, more = requests["input_tokens"].astype(np.float64), requests["output_tokens"] - 1.0
    found = {PROMPT: prompt, OUTPUT: more}
    if CONTEXT in sorts:
        found[CONTEXT] = more * prompt + more * (more + 1.0) / 2.0
    if PAIRS in sorts:
        found[PAIRS] = prompt * prompt / 2.0
    return found


def _due_s(requests: Array, tier: Array, tiers: Sequence[Tier]) -> tuple[Array, Array]:
    """When a request's prompt and its answer must be done for its SLO, s; inf without a limit."""
    first_s, end_s, step_s = (
        np.array([getattr(one, name) or math.inf for one in tiers])[tier] for name in ("ttft_s", "e2e_s", "tpot_s")
    )
    more = requests["output_tokens"] - 1.0
    speaks = more > 0.0
    spoken_s = np.where(speaks, first_s + step_s * np.maximum(more, 1.0), end_s)
    arrival_s = requests["arrival_s"]
    return arrival_s + np.minimum(first_s, end_s) * SLACK, arrival_s + np.minimum(spoken_s, end_s) * SLACK


def _slot(at_s: Array, edges_s: Array) -> Array:
    """The slot in which each time lies, the last one for times after it."""
    return np.minimum(np.searchsorted(edges_s, at_s, side="right") - 1, len(edges_s) - 2)


def _largest(work: Array, count: int) -> float:
    """Sum of the `count` largest."""
    if count <= 0:
        return 0.0
    return float(work.sum() if count >= len(work) else np.partition(work, len(work) - count)[len(work) - count :].sum())
