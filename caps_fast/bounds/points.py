"""Operating points: the work of a replica of a kind per second, and its least power while it does that.

An iteration in which `b` sequences decode and `c` prompt tokens are processed (docs/model.md, section 2) is no cheaper
and no shorter than a mixture of these points with the same work (docs/bound.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from caps_fast.clock_levels import levels
from caps_fast.pack_kinds import replica_power_w, replica_prompt_w
from caps_fast.records import Array
from caps_fast.replica_section import Kind

WORK = ("prompt_tokens", "output_tokens", "context_tokens", "prompt_pairs")
"""Sorts of work: prompt tokens, decoded tokens, tokens of context read by decoding, pairs of a prompt token and one
before it.
"""
PROMPT, OUTPUT, CONTEXT, PAIRS = range(4)
TANGENTS = np.array([0.0, 0.25, 0.5, 0.7, 0.85, 1.0, 1.18, 1.43, 2.0, 4.0, np.inf])
"""Compute time over the time of weights at which tangents touch the curve of a step, where it is curved."""
TOUCHES = np.array([0.1, 0.3, 1.0])
"""Times of prompts over the longest at which tangents touch the energy that they save, where they draw less than
decoding.
"""
UPRIGHT = 1e-9  # the part of power in the normal of a facet along which only power changes


@dataclass(frozen=True)
class Points:
    """Operating points of a replica, a row each.

    power_w     float64 (n,), of the whole replica
    per_s       float64 (n, 4): WORK done in a second
    """

    power_w: Array
    per_s: Array


def operating_points(kind: Kind, longest_prompt: int, idle_w: float = 0.0) -> Points:
    """The points of a kind, at all its clocks, for prompts of at most `longest_prompt` tokens. Points that a mixture of
    others and rest covers are left out; rest draws nothing or, while requests arrive, `idle_w`.
    """
    at_clocks = levels(kind)
    table = np.array([row for one in at_clocks for row in _rows(one, longest_prompt)], np.float64)
    keep = np.unique(
        np.concatenate(
            [_needed(table[:, 0] - doing_nothing_w, table[:, 1:3] / table[:, 3:]) for doing_nothing_w in {0.0, idle_w}]
        )
    )
    per_s = np.zeros((len(keep), len(WORK)))
    per_s[:, [PROMPT, OUTPUT]] = table[keep, 1:3] / table[keep, 3:]
    found = Points(table[keep, 0], per_s)
    for one in at_clocks:
        least_w = min(float(power(one, np.ones(1))[0]) for power in (replica_power_w, replica_prompt_w))
        for sort, seconds in ((CONTEXT, one.decode_s_per_context_token), (PAIRS, one.prefill_s_per_token_pair)):
            found = _with_ray(found, sort, seconds, least_w)
    return found


def _rows(kind: Kind, longest_prompt: int) -> Iterator[tuple[float, float, float, float]]:
    """Iterations of a kind at one clock: least power, W, prompt tokens, decoding sequences, and length, s."""
    power_w, prompts_w = (power(kind, np.arange(kind.max_batch + 1)) for power in (replica_power_w, replica_prompt_w))
    yield from ((power_w[b], 0.0, b, _step_s(kind, kind.decode_s_per_seq * b)) for b in range(1, kind.max_batch + 1))
    for b in range(kind.max_batch if kind.prefill == "chunked" else 1):
        most = max(kind.chunk_tokens - b, 1) if kind.prefill == "chunked" else longest_prompt
        from_s, until_s = kind.decode_s_per_seq * b, kind.decode_s_per_seq * b + kind.prefill_s_per_token * most
        compute_s, step_s = _vertices(kind, from_s, until_s)
        prompts_s, more_w = compute_s - from_s, prompts_w[b + 1] - power_w[b + 1]
        if more_w < 0.0:
            prompts_s, step_s, more_j = _lower_vertices(kind, prompts_s, step_s, more_w)
        else:
            more_j = (
                more_w
                * prompts_s
                / (kind.decode_base_s + prompts_s)
                * (step_s if kind.overlap_exponent == 1.0 else step_s[0])
            )
        tokens = prompts_s / kind.prefill_s_per_token
        yield from zip(
            power_w[b + 1] + (more_j / step_s)[1:], tokens[1:], np.full(len(tokens) - 1, b), step_s[1:], strict=True
        )


def _lower_vertices(kind: Kind, prompts_s: Array, step_s: Array, more_w: float) -> tuple[Array, Array, Array]:
    """Times of prompts, lengths of steps and what prompts add to their energy, J, at corners of a polygon that lies
    nowhere above it, where prompts draw less than decoding (`more_w` < 0); the first is at no prompts.

    The step is no longer than `step_s[0]` and the time of prompts together, so `more_w` is drawn for `prompts_s * (1 +
    (step_s[0] - base) / (base + prompts_s))` seconds at the most, base being `decode_base_s`: concave in the time of
    prompts, hence below its tangents.
    """
    base_s, beside_s = kind.decode_base_s, step_s[0] - kind.decode_base_s
    touch_s = np.unique(np.concatenate([[0.0], TOUCHES * prompts_s[-1]]))
    slope = 1.0 + beside_s * base_s / (base_s + touch_s) ** 2
    offset = touch_s * (1.0 + beside_s / (base_s + touch_s)) - slope * touch_s
    fall = -np.diff(slope)
    bent = fall > UPRIGHT
    corner_s = (np.diff(offset) / np.where(bent, fall, 1.0))[bent]
    at_s = np.unique(np.concatenate([prompts_s, np.clip(corner_s, 0.0, prompts_s[-1])]))
    seconds = (offset[:, None] + slope[:, None] * at_s).min(axis=0)
    return at_s, np.interp(at_s, prompts_s, step_s), more_w * seconds


def _with_ray(points: Points, sort: int, seconds: float, least_w: float) -> Points:
    """Points with one more that does only one sort of work; if that takes no time, all points do it at any rate."""
    if seconds == 0.0:
        points.per_s[:, sort] = np.inf
        return points
    row = np.zeros((1, len(WORK)))
    row[0, sort] = 1.0 / seconds
    return Points(np.append(points.power_w, least_w), np.vstack([points.per_s, row]))


def _step_s(kind: Kind, compute_s: float) -> float:
    """Length of an iteration without its context: overhead, and the power mean of the time of weights and that of
    computing.
    """
    weights_s = max(kind.decode_base_s - kind.overhead_s, 0.0)
    longer_s, shorter_s = max(weights_s, compute_s), min(weights_s, compute_s)
    if longer_s == 0.0:
        return kind.overhead_s
    p = kind.overlap_exponent
    return float(kind.overhead_s + longer_s * (1.0 + (shorter_s / longer_s) ** p) ** (1.0 / p))


def _vertices(kind: Kind, from_s: float, to_s: float) -> tuple[Array, Array]:
    """Compute times and step lengths at the corners of a polygon that lies nowhere above the curve of a step
    between two compute times.

    The curve is convex, so tangents lie below it; it is a line for an overlap exponent of 1.
    """
    weights_s = max(kind.decode_base_s - kind.overhead_s, 0.0)
    if kind.overlap_exponent == 1.0 or weights_s == 0.0:
        ends = np.array([from_s, to_s])
        return ends, np.array([_step_s(kind, float(x)) for x in ends])
    touch_s = np.unique(np.clip(TANGENTS * weights_s, from_s, to_s))
    step_s = np.array([_step_s(kind, float(x)) for x in touch_s])
    mean = (step_s - kind.overhead_s) / touch_s.clip(min=1e-300)
    slope = np.where(touch_s > 0.0, mean ** (1.0 - kind.overlap_exponent), 0.0)
    rise = np.diff(slope)
    bent = rise > 1e-9
    offset = step_s - slope * touch_s
    corner_s = np.where(bent, -np.diff(offset) / np.where(bent, rise, 1.0), touch_s[:-1])
    corner_s = np.clip(corner_s, touch_s[:-1], touch_s[1:])
    compute_s = np.concatenate([[from_s], corner_s[bent], [to_s]])
    lowest_s: Array = (offset[:, None] + slope[:, None] * compute_s).max(axis=0)
    return compute_s, lowest_s


def _needed(power_w: Array, per_s: Array) -> Array:
    """Indices of the points that no other point run for part of the time replaces, among those on the lower side (in
    power) of the convex hull of all points and rest.
    """
    at = np.arange(len(power_w))
    scaled = np.column_stack([power_w / max(power_w.max(), 1e-300), per_s / np.maximum(per_s.max(axis=0), 1e-300)])
    try:
        hull = ConvexHull(np.vstack([scaled, np.zeros(3)]))
        below = np.unique(hull.simplices[hull.equations[:, 0] < -UPRIGHT])
        at = below[below < len(power_w)]
    except (QhullError, ValueError):
        pass  # flat: all of them are kept
    return at[[not _is_covered(i, scaled[at]) for i in range(len(at))]]


def _is_covered(i: int, points: Array) -> bool:
    """Whether another point does at least the work of point `i` in part of the time, for no more energy; of equal
    points the first stays.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        need = np.where(points[i, 1:] > 0.0, points[i, 1:] / points[:, 1:], 0.0).max(axis=1)
        covers = (need <= 1.0) & (need * points[:, 0] <= points[i, 0])
    alike = (need == 1.0) & (points[:, 0] == points[i, 0])
    covers &= ~alike | (np.arange(len(points)) < i)
    return bool(covers.any())
