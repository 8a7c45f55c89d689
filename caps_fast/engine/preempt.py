"""Pre-emption: a Gold request claims the place of a flexible resident (docs/model.md, section 4)."""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined
from caps_fast.arrays import BUSY, NONE, State
from caps_fast.containers import decoders, flexible, queue
from caps_fast.engine.gpu import admit, cut, fits, mark_dirty, reserve
from caps_fast.records import Array


@inlined
def claim(s: State, policy: Any, q: int, r: int) -> bool:
    """Let Gold request `r` take the place of the flexible resident of queue `q` that was admitted last. Is there one?"""
    live = s.live
    need = live[r].input_tokens + live[r].output_tokens
    victim = s.queues[q].flexible_tail
    while victim != NONE:
        extra = max(0, need - live[victim].input_tokens - live[victim].output_tokens)
        if fits(s, live[victim].gpu, extra):
            break
        victim = live[victim].flexible_prev
    if victim == NONE:
        return False
    g = live[victim].gpu
    gpu = s.gpus[g]
    flexible.remove(s, q, victim)
    live[victim].giving_way = 1
    live[r].child = victim
    live[r].next = NONE
    if gpu.claim_head == NONE:
        gpu.claim_head = r
    else:
        live[gpu.claim_tail].next = r
    gpu.claim_tail = r
    s.clock[0].claims += 1
    reserve(s, policy, g, 0, extra)
    if gpu.state == BUSY:
        cut(s, g)
    return True


@inlined
def honour_claims(s: State, policy: Any, g: int) -> None:
    """At an iteration's end: victims that have not just finished return to the front of their queue, claimants come in."""
    gpu = s.gpus[g]
    live = s.live
    r = gpu.claim_head
    gpu.claim_head = NONE
    while r != NONE:
        after = live[r].next
        victim = live[r].child
        need = live[r].input_tokens + live[r].output_tokens
        freed = live[victim].input_tokens + live[victim].output_tokens
        if live[victim].giving_way:
            _evict(s, policy, g, victim)
        gpu.kv_tokens -= max(0, need - freed)
        admit(s, policy, g, r)
        s.clock[0].claims -= 1
        r = after


@inlined
def _evict(s: State, policy: Any, g: int, r: int) -> None:
    """Request `r` leaves GPU `g` with its progress kept, for the front of its queue."""
    live = s.live
    gpu = s.gpus[g]
    q = gpu.queue
    live[r].giving_way = 0
    if live[r].joined:
        live[r].energy_j += gpu.energy_per_member_j
        live[r].carbon_g += gpu.carbon_per_member_g
        if live[r].prompt_left > 0:
            gpu.prompt_head, gpu.prompt_tail = _unlink(live, gpu.prompt_head, gpu.prompt_tail, r)
            gpu.prompt_tokens -= live[r].prompt_left
        else:
            at = 0
            while decoders.who(s, g, at) != r:
                at += 1
            live[r].decode_left = decoders.left(s, g, at)
            decoders.remove(s, g, at)
            gpu.context_tokens -= live[r].input_tokens + live[r].output_tokens - live[r].decode_left
    else:
        gpu.joiner_head, gpu.joiner_tail = _unlink(live, gpu.joiner_head, gpu.joiner_tail, r)
    if live[r].prompt_left > 0:
        s.queues[q].prompt_tokens -= live[r].prompt_counted
        gpu.prompt_counted -= live[r].prompt_counted
    reserve(s, policy, g, -1, -(live[r].input_tokens + live[r].output_tokens))
    live[r].joined = 0
    live[r].key = -math.inf
    queue.push(s, q, r)
    mark_dirty(s, q)
    s.clock[0].preemptions += 1


@inlined
def _unlink(live: Array, head: int, tail: int, r: int) -> tuple[int, int]:
    """Head and tail of a linked list without `r`, which is in it."""
    after = live[r].next
    if head == r:
        return after, (NONE if after == NONE else tail)
    at = head
    while live[at].next != r:
        at = live[at].next
    live[at].next = after
    return head, (at if tail == r else tail)
