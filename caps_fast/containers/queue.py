"""A queue of live requests, smallest (key, seq) first: a sorted run (O(1) while keys rise) and a pairing heap for the
rest.

With fairness (docs/model.md, section 13), every tenant or tier has its own line of this form in the queue.
"""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined, prefetch
from caps_fast.arrays import NONE, State
from caps_fast.reach import may_serve
from caps_fast.records import Array
from caps_fast.traits import fair, has_origins


@inlined
def may_hold(s: State, q: int, r: int) -> bool:
    """Whether a replica of queue `q` has enough KV memory, used or free, for request `r`, in a region that may serve
    it.
    """
    if has_origins(s):
        return _may_hold_where_it_may_go(s, q, r)
    capacity = s.queues[q].kv_capacity_tokens
    return capacity == 0 or s.live[r].input_tokens + s.live[r].output_tokens <= capacity


@inlined
def _may_hold_where_it_may_go(s: State, q: int, r: int) -> bool:
    for at in range(s.queues[q].first_span, s.queues[q].end_span):
        capacity = s.spans[at].kv_capacity_tokens
        holds = capacity == 0 or s.live[r].input_tokens + s.live[r].output_tokens <= capacity
        if holds and may_serve(s, s.spans[at].region, r):
            return True
    return False


@inlined
def before(live: Array, a: int, b: int) -> bool:
    """Does request `a` go before request `b`?"""
    return live[a].key < live[b].key or (live[a].key == live[b].key and live[a].seq < live[b].seq)


@inlined
def meld(live: Array, a: int, b: int) -> int:
    """One heap of two roots."""
    if a == NONE:
        return b
    if b == NONE:
        return a
    if before(live, b, a):
        a, b = b, a
    live[b].next = live[a].child
    live[a].child = b
    return a


@inlined
def pop_root(live: Array, root: int) -> int:
    """Remove the root of a heap: meld its children in pairs, then the pairs."""
    pairs = NONE
    rest = live[root].child
    while rest != NONE:
        a = rest
        b = live[a].next
        rest = live[b].next if b != NONE else NONE
        a = meld(live, a, b)
        live[a].next = pairs
        pairs = a
    merged = NONE
    while pairs != NONE:
        after = live[pairs].next
        merged = meld(live, merged, pairs)
        pairs = after
    return merged


@inlined
def push(s: State, q: int, r: int) -> None:
    """Add request `r`, whose key is set, to queue `q`."""
    queue = s.queues[q]
    if fair(s):
        _enter_line(s, q, r)
        _put(s.live, s.lines[line_of(s, q, r)], r)
    else:
        _put(s.live, queue, r)
    queue.waiting += 1
    queue.waiting_prompt_tokens += s.live[r].prompt_left
    queue.waiting_predicted_tokens += s.live[r].predicted_tokens


@inlined
def _put(live: Array, line: Any, r: int) -> None:
    live[r].next = NONE
    tail = line.tail
    if tail == NONE:
        line.head = r
        line.tail = r
    elif not before(live, r, tail):
        live[tail].next = r
        line.tail = r
    else:
        live[r].child = NONE
        line.root = meld(live, line.root, r)


@inlined
def peek(s: State, q: int) -> int:
    """The first request; the queue must not be empty. With fairness, counters must be settled."""
    if fair(s):
        return _first_in_turn(s, q)
    return _first(s.live, s.queues[q])


@inlined
def _first(live: Array, line: Any) -> int:
    head = line.head
    root = line.root
    if head == NONE or (root != NONE and before(live, root, head)):
        return root
    return head


@inlined
def pop(s: State, q: int, r: int) -> None:
    """Remove request `r`, which `peek` returned."""
    queue = s.queues[q]
    if fair(s):
        _take(s.live, s.lines[line_of(s, q, r)], r)
        _leave_line(s, q, r)
    else:
        _take(s.live, queue, r)
    queue.waiting -= 1
    queue.waiting_prompt_tokens -= s.live[r].prompt_left
    queue.waiting_predicted_tokens = (
        queue.waiting_predicted_tokens - s.live[r].predicted_tokens if queue.waiting > 0 else 0.0
    )


@inlined
def _take(live: Array, line: Any, r: int) -> None:
    if r == line.root:
        line.root = pop_root(live, r)
    else:
        line.head = live[r].next
        if line.head == NONE:
            line.tail = NONE
        else:
            prefetch(live, line.head)


@inlined
def owner_of(s: State, r: int) -> int:
    """The owner of request `r` for fairness: its tenant or its tier."""
    return s.live[r].tenant if s.fairness[0].by_tenant else s.live[r].tier


@inlined
def line_of(s: State, q: int, r: int) -> int:
    """The line in queue `q` of the owner of request `r`."""
    return q * s.fairness[0].owners + owner_of(s, r)


@inlined
def _first_in_turn(s: State, q: int) -> int:
    """The first request of the owner with the lowest counter; on ties the one with the first key."""
    first_line = q * s.fairness[0].owners
    chosen = NONE
    lowest = math.inf
    for at in range(s.turns[q].owners):
        line = s.lines[first_line + s.in_line[first_line + at]]
        if line.counter <= lowest:
            r = _first(s.live, line)
            if line.counter < lowest or before(s.live, r, chosen):
                chosen = r
                lowest = line.counter
    return chosen


@inlined
def _enter_line(s: State, q: int, r: int) -> None:
    line = s.lines[line_of(s, q, r)]
    if line.waiting == 0:
        line.place = s.turns[q].owners
        s.in_line[q * s.fairness[0].owners + line.place] = owner_of(s, r)
        s.turns[q].owners += 1
    line.waiting += 1


@inlined
def _leave_line(s: State, q: int, r: int) -> None:
    """The last request of an owner leaves; the owner at the end takes its place."""
    line = s.lines[line_of(s, q, r)]
    line.waiting -= 1
    if line.waiting == 0:
        first_line = q * s.fairness[0].owners
        s.turns[q].owners -= 1
        moved = s.in_line[first_line + s.turns[q].owners]
        s.in_line[first_line + line.place] = moved
        s.lines[first_line + moved].place = line.place
        s.turns[q].last_left = owner_of(s, r)
