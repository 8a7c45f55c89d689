"""Which replica a request joins: the cost of joining each and its free room, kept in tournament trees (docs/model.md,
section 1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caps_fast._jit import inlined, prefetch
from caps_fast.arrays import NONE, State
from caps_fast.containers import tournament
from caps_fast.engine import kv
from caps_fast.engine.speed import kind_of
from caps_fast.engine.states import takes_work
from caps_fast.policy import place
from caps_fast.reach import may_serve
from caps_fast.traits import fair, grows, of_many, scales

FIT_THE_CACHE = 256  # replicas whose records and heaps are cached in any case


@inlined
def reserve(s: State, policy: Any, g: int, residents: int, kv_tokens: int) -> None:
    """Change the reservation of replica `g`, and the cost of joining it."""
    gpu = s.gpus[g]
    gpu.residents += residents
    gpu.kv_tokens += kv_tokens
    s.queues[gpu.queue].residents += residents
    if fair(s) and residents < 0:
        s.turns[gpu.queue].blocked = 0
    price(s, policy, g)


@inlined
def price(s: State, policy: Any, g: int) -> None:
    """Update the cost of joining replica `g` and its free room in the tournament trees that `find` reads."""
    gpu = s.gpus[g]
    queue = s.queues[gpu.queue]
    if queue.end_gpu - queue.first_gpu == 1:
        return
    span = s.spans[s.pools[gpu.pool].span if of_many(s) else gpu.queue]
    leaf = g - span.first_gpu
    full = _is_full(s, g)
    key: Any = np.int64(gpu.residents)
    if of_many(s) and not s.setup[0].by_residents:
        key = _key_of_cost(s, policy, g)
    tournament.put(s.tree, span, leaf, tournament.FULL if full else key)
    if s.gpus.shape[0] > FIT_THE_CACHE:
        prefetch(s.gpus, span.first_gpu + tournament.leaf_of(tournament.root(s.tree, span)))
    if s.setup[0].limits_kv:
        capacity = kind_of(s, g).kv_capacity_tokens
        held = gpu.kv_tokens + (gpu.context_tokens if kv.grows_on(s, g) else 0)
        free = capacity - held if capacity > 0 else tournament.FULL
        tournament.put(s.room_tree, span, leaf, 0 if full else -free)


@inlined
def _key_of_cost(s: State, policy: Any, g: int) -> int:
    """The sort key of the cost of joining replica `g` by its placement; the first NaN is recorded."""
    cost = float(place(policy, g, s))
    if math.isnan(cost) and s.clock[0].unpriced == 0:
        s.clock[0].unpriced = g + 1
    return tournament.key_of_cost(cost)


@inlined
def _is_full(s: State, g: int) -> bool:
    gpu = s.gpus[g]
    full: bool = gpu.residents >= (s.pools[gpu.pool].max_batch if of_many(s) else s.kinds[0].max_batch)
    return full or (grows(s) and gpu.barred != 0) or (scales(s) and not takes_work(s, g))


@inlined
def find(s: State, q: int, r: int) -> int:
    """The cheapest replica of queue `q` to join, among those in open regions with room for request `r`; NONE if there
    is none.
    """
    queue = s.queues[q]
    limits_kv = s.setup[0].limits_kv
    g = queue.first_gpu
    if queue.end_gpu - g == 1:
        return NONE if _is_full(s, g) or (limits_kv and not kv.fits(s, g, r)) else g
    best = NONE
    lowest = tournament.FULL
    first = queue.first_span if of_many(s) else q
    for at in range(first, queue.end_span if of_many(s) else first + 1):
        span = s.spans[at]
        cheapest = tournament.root(s.tree, span)
        if (span.open or not of_many(s)) and may_serve(s, span.region, r) and tournament.key_of(cheapest) < lowest:
            if limits_kv and not kv.fits(s, span.first_gpu + tournament.leaf_of(cheapest), r):
                cheapest = _cheapest_with_room(s, at, r, lowest)
            if cheapest != tournament.NOBODY:
                lowest = tournament.key_of(cheapest)
                best = span.first_gpu + tournament.leaf_of(cheapest)
    return best


@inlined
def _cheapest_with_room(s: State, at: int, r: int, below: int) -> int:
    """The node of the cheapest replica of span `at` below the key with room for request `r`, by branch and bound over
    both trees; else NOBODY.

    Where memory grows, the room in the tree is that at the last change, an upper bound of what is free now.
    """
    span = s.spans[at]
    need = s.live[r].input_tokens + s.live[r].output_tokens
    if grows(s):
        need = min(need, s.live[r].prompt_left, s.setup[0].least_chunk_tokens)
    best = tournament.NOBODY
    node = 1
    while True:
        here = s.tree[span.tree_at + node]
        too_dear = tournament.key_of(here) >= below or tournament.key_of(s.room_tree[span.tree_at + node]) > -need
        if too_dear or (grows(s) and node >= span.width and not kv.fits(s, span.first_gpu + node - span.width, r)):
            while node & 1:
                node >>= 1
            if node == 0:
                return best
            node += 1
        elif node < span.width:
            node *= 2
        else:
            below = tournament.key_of(here)
            best = here
