"""Movable work: energy moved to later samples of its day, to the cheapest remaining energy."""

from __future__ import annotations

import numpy as np

from caps_fast._jit import compiled
from caps_fast.records import Array


def moved(load_kwh: Array, may_wait_kwh: Array, made_kwh: Array, price: Array, most_kwh: Array, days: Array) -> Array:
    """The load by sample, float64 (n,), after movable work has been placed within its day.

    load_kwh        float64 (n,)
    may_wait_kwh    float64 (n,): the part of it that may run in its own or a later sample of the day
    made_kwh        float64 (n,): on-site generation, whose surplus is used first
    price           float64 (n,): of energy from the grid; the cheapest first, of equals the earliest
    most_kwh        float64 (n,): greatest load
    days            int64 (n_days + 1,): first samples of the days, and n

    Without a battery no other placement of the same work has a lower price: placements form a polymatroid, for which
    the greedy choice is optimal.
    """
    fixed = load_kwh - may_wait_kwh
    free = np.clip(np.minimum(made_kwh, most_kwh) - fixed, 0.0, None)
    paid = np.maximum(np.maximum(most_kwh, load_kwh) - fixed - free, 0.0)
    lowest = min(float(price.min()), 0.0) - 1.0  # surplus, before any price
    n = len(load_kwh)
    day = np.repeat(np.arange(len(days) - 1), np.diff(days))
    cost = np.concatenate([np.full(n, lowest), price])
    order = np.lexsort((np.tile(np.arange(n), 2), cost, np.tile(day, 2)))
    placed = np.zeros(n)
    _place(order, np.concatenate([free, paid]), may_wait_kwh, days, placed)
    return fixed + placed


@compiled
def _place(order: Array, sizes: Array, work: Array, days: Array, placed: Array) -> None:
    """Blocks of `order`, day by day (block k is sample k or, from n on, k - n), receive what may still be placed in
    them.
    """
    n = work.shape[0]
    slack = np.empty(n)  # work that has arrived by each sample and is not placed up to it
    for d in range(days.shape[0] - 1):
        begin, end = days[d], days[d + 1]
        total = 0.0
        for i in range(begin, end):
            total += work[i]
            slack[i] = total
        for k in range(2 * begin, 2 * end):
            block = order[k]
            at = block % n
            amount = sizes[block]
            for i in range(at, end):
                amount = min(amount, slack[i])
            if amount > 0.0:
                placed[at] += amount
                for i in range(at, end):
                    slack[i] -= amount
