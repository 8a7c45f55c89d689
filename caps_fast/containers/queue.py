"""A queue of live requests, smallest (key, seq) first: a sorted run (O(1) while keys rise) with a pairing heap beside it for the rest."""

from __future__ import annotations

from caps_fast._jit import inlined, prefetch
from caps_fast.arrays import NONE, State
from caps_fast.reach import may_serve
from caps_fast.records import Array
from caps_fast.traits import has_origins


@inlined
def may_hold(s: State, q: int, r: int) -> bool:
    """Has a replica of queue `q` the KV memory for request `r`, be it in use or not, in a region that may serve it?"""
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
    """The heap without its root: melds the children in pairs, then the pairs."""
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
    """Put request `r`, whose key is set, into queue `q`."""
    queue = s.queues[q]
    live = s.live
    live[r].next = NONE
    tail = queue.tail
    if tail == NONE:
        queue.head = r
        queue.tail = r
    elif not before(live, r, tail):
        live[tail].next = r
        queue.tail = r
    else:
        live[r].child = NONE
        queue.root = meld(live, queue.root, r)
    queue.waiting += 1
    queue.waiting_prompt_tokens += live[r].prompt_left
    queue.waiting_predicted_tokens += live[r].predicted_tokens


@inlined
def peek(s: State, q: int) -> int:
    """The request that goes first; the queue must not be empty."""
    head = s.queues[q].head
    root = s.queues[q].root
    if head == NONE or (root != NONE and before(s.live, root, head)):
        return root
    return head


@inlined
def pop(s: State, q: int, r: int) -> None:
    """Take out request `r`, which `peek` has found."""
    queue = s.queues[q]
    live = s.live
    if r == queue.root:
        queue.root = pop_root(live, r)
    else:
        queue.head = live[r].next
        if queue.head == NONE:
            queue.tail = NONE
        else:
            prefetch(live, queue.head)
    queue.waiting -= 1
    queue.waiting_prompt_tokens -= live[r].prompt_left
    queue.waiting_predicted_tokens = queue.waiting_predicted_tokens - live[r].predicted_tokens if queue.waiting > 0 else 0.0
