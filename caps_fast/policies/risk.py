"""The learned SLO risk: the features of a request and of a pool's load, and the lookup (docs/predictor.md).

It is evaluated at arrival, for every pool that the request may enter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import N_ROLES, State
from caps_fast.records import Array

OPEN, BACKLOG, CLOSED = 0, 1, 2
N_GATES = 3
CELL_BITS, FIRST_EXPONENT, OCTAVES = 7, -8, 30
CELLS = OCTAVES << CELL_BITS
_1 = np.uint16(1)


class Risk(NamedTuple):
    """The learned SLO-risk model: odds of a miss as a product of three tables over bins; empty if the closed form is
    used.
    """

    edges: Array  # float64 (5, n), upper bin edges of input, output, residents, waiting, ahead; padded with inf
    guide: Array  # uint16 (5, cells): start of the search for a bin
    request: Array  # float64 (12, bins, bins): tier * 3 + role, input, output
    queue: Array  # float64 (36, bins, bins): (tier * 3 + role) * 3 + gate, residents, waiting
    prompts: Array  # float64 (36, bins, bins): the same, residents, ahead


CLOSED_FORM = Risk(
    np.zeros((0, 0)), np.zeros((0, 0), np.uint16), np.zeros((0, 0, 0)), np.zeros((0, 0, 0)), np.zeros((0, 0, 0))
)


class Load(NamedTuple):
    """A pool's load as the risk model sees it."""

    gate: int  # OPEN; BACKLOG: open, held work is waiting; CLOSED
    residents: float  # per slot
    waiting: float  # requests per slot
    prompt_tokens: (
        float  # unprocessed prompt tokens per GPU: of residents, and of waiting requests unless they are held
    )


@inlined
def load_of(q: int, s: State) -> Load:
    """The load of queue `q` now."""
    queue = s.queues[q]
    per_slot = 1.0 / queue.slots
    gate = CLOSED
    if queue.open:
        gate = BACKLOG if queue.backlog else OPEN
    prompt_tokens = queue.prompt_tokens
    if gate == OPEN:
        prompt_tokens += queue.waiting_prompt_tokens
    return Load(gate, queue.residents * per_slot, queue.waiting * per_slot, prompt_tokens * queue.per_gpu)


@inlined
def bin_of(edges: Array, guide: Array, feature: int, value: Any) -> Any:
    """Number of edges of the feature below `value`: its bin.

    The guide gives the start (`guide_to`); an edge of inf ends the search.
    """
    bits: Any = np.float64(value).view(np.int64)
    cell = (bits >> (52 - CELL_BITS)) - ((1023 + FIRST_EXPONENT) << CELL_BITS)
    at = guide[feature, min(max(cell, 0), CELLS - 1)]
    at += edges[feature, at] < value  # a cell rarely holds more than one edge, so a linear search is enough
    while edges[feature, at] < value:
        at += _1
    return at


def guide_to(edges: Array) -> Array:
    """For `bin_of`: the number of edges below each cell of the number line, uint16 (features, CELLS); a cell is
    1/128 of an octave.
    """
    at = np.arange(CELLS)
    starts = np.ldexp(1 + at % (1 << CELL_BITS) / (1 << CELL_BITS), (at >> CELL_BITS) + FIRST_EXPONENT)
    starts[0] = -np.inf
    return np.array([np.searchsorted(row, starts) for row in edges], np.uint16)


@inlined
def request_bins(risk: Risk, input_tokens: int, predicted_tokens: float) -> tuple[int, int]:
    """Inputs of `odds` from a request, the same for all pools."""
    return bin_of(risk.edges, risk.guide, 0, input_tokens), bin_of(risk.edges, risk.guide, 1, predicted_tokens)


@inlined
def odds(risk: Risk, tier: int, role: int, bins: tuple[int, int], input_tokens: int, load: Load) -> float:
    """Odds that a request of that tier and those bins of input and predicted output misses its SLO in a pool of
    that role under that load.
    """
    context = tier * N_ROLES + role
    loaded = context * N_GATES + load.gate
    residents = bin_of(risk.edges, risk.guide, 2, load.residents)
    waiting = bin_of(risk.edges, risk.guide, 3, load.waiting)
    ahead = bin_of(risk.edges, risk.guide, 4, input_tokens + load.prompt_tokens)
    return (
        risk.request[context, bins[0], bins[1]]
        * risk.queue[loaded, residents, waiting]
        * risk.prompts[loaded, residents, ahead]
    )


@inlined
def probability(odds: float) -> float:
    """Probability from odds."""
    return 1.0 - 1.0 / (1.0 + odds)
