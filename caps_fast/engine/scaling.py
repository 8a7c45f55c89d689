"""Scaling: the scale rule sets how many replicas serve, others drain, and replicas that come on take work; the clock
rule sets clocks (docs/model.md, sections 9 and 11).
"""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined
from caps_fast.arrays import ASLEEP, BUSY, FAILED, IDLE, NONE, OFF, STARTING, STOPPING, WAKING, State
from caps_fast.containers import agenda
from caps_fast.engine import fair
from caps_fast.engine.clocks import follow_clock
from caps_fast.engine.gpu import cut, mark_dirty
from caps_fast.engine.placing import price
from caps_fast.engine.states import enter, node_of, rest, rested, serves, start_node, wake
from caps_fast.policy import clock as clock_wanted
from caps_fast.policy import scale
from caps_fast.traits import only_if

MANY = 1 << 20  # greater than the replicas of a node and the residents of a replica


@only_if("scales")
def scale_pools(s: State, policy: Any) -> None:
    """Evaluate and apply the scale rule of every pool."""
    clock = s.clock[0]
    scaling = s.scaling[0]
    if clock.now_s < scaling.decisions * scaling.every_s:
        return
    scaling.decisions += 1
    for p in range(s.strength.shape[0]):
        pool = s.strength[p]
        before = pool.serving
        wanted = min(max(scale(policy, clock.now_s, p, s), 0), pool.end_gpu - pool.first_gpu)
        g, cost = NONE, 0
        while pool.serving > wanted:
            g, cost = _first_to_go(s, p, g, cost)
            _drain(s, policy, g)
        g = NONE
        while pool.serving < wanted:
            g, cost = _first_to_come(s, p, g, cost)
            if g == NONE:
                break
            _want(s, policy, g)
        if pool.serving != before:
            count(s, s.gpus[pool.first_gpu].queue)


@only_if("clocks")
def set_clocks(s: State, policy: Any) -> None:
    """Evaluate the clock rule of every pool whose clock the scenario does not fix, and apply it, at once or when the
    iteration in progress ends.
    """
    now_s = s.clock[0].now_s
    scaling = s.scaling[0]
    if now_s < scaling.clock_decisions * scaling.every_s:
        return
    scaling.clock_decisions += 1
    for p in range(s.strength.shape[0]):
        pool = s.strength[p]
        kind = pool.kind if pool.keeps_clock else _lowest_from(s, pool.kind, clock_wanted(policy, now_s, p, s))
        if kind != pool.kind:
            pool.kind = kind
            for g in range(pool.first_gpu, pool.end_gpu):
                if s.gpus[g].state == BUSY:
                    cut(s, g, joins=False)
                else:
                    follow_clock(s, policy, g)
                if s.queues[s.gpus[g].queue].first_gpu == g:
                    s.queues[s.gpus[g].queue].kind = kind


@inlined
def _lowest_from(s: State, kind: int, clock: float) -> int:
    """The row of the lowest clock of a kind that is at least `clock`; of the highest one if all are below."""
    row = s.changes[kind].first_clock
    while row < s.changes[kind].end_clock - 1 and not s.changes[row].clock >= clock:
        row += 1
    return int(row)


@inlined
def _first_to_come(s: State, p: int, last: int, last_cost: int) -> tuple[int, int]:
    """The draining replica of pool `p` that returns to work fastest, on the node with the most serving replicas, and
    its cost; NONE if all that drain are stopping.

    `last` is the previous choice: its node now has one more serving replica, and the costs of the others are unchanged,
    so that a replica of that node with a lower cost than `last_cost` is the first of all.
    """
    if last != NONE:
        first, end = node_of(s, last)
        g, cost = _cheapest_to_come(s, first, end, last_cost)
        if g != NONE:
            return g, cost
    pool = s.strength[p]
    return _cheapest_to_come(s, pool.first_gpu, pool.end_gpu, STOPPING * MANY)


@inlined
def _cheapest_to_come(s: State, first: int, end: int, below: int) -> tuple[int, int]:
    """The first replica with the lowest cost of those from `first` to `end`, which are whole nodes, and its cost; NONE
    if none is below `below`.
    """
    best = NONE
    of_node = 0
    node_end = first
    for g in range(first, end):
        if g == node_end:
            node_end = node_of(s, g)[1]
            of_node = serving_of_node(s, g)
        cost = max(int(s.gpus[g].state), BUSY) * MANY - of_node
        if s.standing[g].draining and s.gpus[g].state not in (STOPPING, FAILED) and cost < below:
            best = g
            below = cost
    return best, below


@inlined
def serving_of_node(s: State, g: int) -> int:
    """Number of serving replicas on the node of replica `g`."""
    first, end = node_of(s, g)
    serving = 0
    for other in range(first, end):
        serving += serves(s, other)
    return serving


@inlined
def _first_to_go(s: State, p: int, last: int, last_cost: int) -> tuple[int, int]:
    """The serving replica of pool `p` to drain: one that starts or wakes, else on the node with the fewest serving
    replicas, then the emptiest, then the last; and its cost. `last` is the previous choice, whose node now has one
    fewer.
    """
    if last != NONE:
        first, end = node_of(s, last)
        g, cost = _cheapest_to_go(s, first, end, last_cost - 1)
        if g != NONE:
            return g, cost
    pool = s.strength[p]
    return _cheapest_to_go(s, pool.first_gpu, pool.end_gpu, MANY * MANY * MANY)


@inlined
def _cheapest_to_go(s: State, first: int, end: int, most: int) -> tuple[int, int]:
    """The last replica with the lowest cost of those from `first` to `end`, which are whole nodes, and its cost; NONE
    if none costs `most` or less.
    """
    best = NONE
    of_node = 0
    node_end = first
    for g in range(first, end):
        if g == node_end:
            node_end = node_of(s, g)[1]
            of_node = serving_of_node(s, g)
        if serves(s, g):
            gpu = s.gpus[g]
            way = 0 if gpu.state == STARTING else 1 if gpu.state == WAKING else 2
            cost = (way * MANY + of_node) * MANY + int(gpu.residents)
            if cost <= most:
                best = g
                most = cost
    return best, most


@inlined
def _drain(s: State, policy: Any, g: int) -> None:
    s.standing[g].draining = 1
    s.strength[s.gpus[g].pool].serving -= 1
    price(s, policy, g)
    if s.gpus[g].state == IDLE:
        rest(s, g)


@inlined
def _want(s: State, policy: Any, g: int) -> None:
    state = s.gpus[g].state
    s.standing[g].draining = 0
    s.standing[g].rested = 0
    s.strength[s.gpus[g].pool].serving += 1
    if state == ASLEEP:
        wake(s, g)
    elif state == OFF:
        start_node(s, g)
    elif state <= BUSY:
        if state == IDLE:
            agenda.put(s, g, math.inf)
        _open(s, policy, g)


@inlined
def _open(s: State, policy: Any, g: int) -> None:
    """Replica `g` takes work from now on."""
    price(s, policy, g)
    fair.unblock(s, s.gpus[g].queue)
    if s.queues[s.gpus[g].queue].waiting > 0:
        mark_dirty(s, s.gpus[g].queue)


@inlined
def count(s: State, q: int) -> None:
    """The replicas that a policy counts in queue `q`: those that serve; the first if none does."""
    queue = s.queues[q]
    if queue.end_gpu - queue.first_gpu == 1:
        return
    slots = 0
    serving = 0
    p = -1
    for g in range(queue.first_gpu, queue.end_gpu):
        if s.gpus[g].pool != p:
            p = s.gpus[g].pool
            slots += s.strength[p].serving * s.pools[p].max_batch
            serving += s.strength[p].serving
    queue.slots = slots if serving > 0 else s.pools[s.gpus[queue.first_gpu].pool].max_batch
    queue.per_gpu = 1.0 / max(serving, 1)


@only_if("scales")
def end_change(s: State, policy: Any, g: int) -> None:
    """The current state of replica `g`, which is not busy, ends now: it is on, off or repaired, or has rested for long
    enough.
    """
    state = s.gpus[g].state
    if state == STOPPING:
        enter(s, g, OFF, math.inf)
    elif state in (IDLE, ASLEEP):
        rested(s, g)
    elif state == FAILED:
        enter(s, g, STARTING, s.changes[s.gpus[g].kind].start_s)
        if not s.standing[g].draining:
            s.strength[s.gpus[g].pool].serving += 1
            count(s, s.gpus[g].queue)
    else:
        enter(s, g, IDLE, math.inf)
        rest(s, g)
        if not s.standing[g].draining:
            _open(s, policy, g)
