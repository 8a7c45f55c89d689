"""Pre-emption: by a Gold request, which claims the slot of a flexible resident, and by lack of memory
(docs/model.md, sections 2 and 4).
"""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined
from caps_fast.arrays import BUSY, NONE, State
from caps_fast.containers import decoders, flexible, queue
from caps_fast.engine import kv
from caps_fast.engine.gpu import admit, cut, mark_dirty, may_give_way
from caps_fast.engine.placing import reserve
from caps_fast.engine.speed import kind_of, prompt_of
from caps_fast.engine.states import takes_work
from caps_fast.reach import may_serve
from caps_fast.records import Array
from caps_fast.traits import fails, grows, has_terms, scales


@inlined
def claim(s: State, policy: Any, q: int, r: int) -> bool:
    """Give Gold request `r` the slot of the flexible resident of queue `q` that was admitted last.

    Is there one?
    """
    live = s.live
    victim = s.queues[q].flexible_tail
    extra = 0
    while victim != NONE:
        g = live[victim].gpu
        capacity = kind_of(s, g).kv_capacity_tokens
        extra = max(0, kv.at_admission(s, g, r) - kv.held_in_progress(s, g, victim))
        roomy = capacity == 0 or (
            kv.held_now(s, g) + extra <= capacity and live[r].input_tokens + live[r].output_tokens <= capacity
        )
        if roomy and may_serve(s, s.pools[s.gpus[g].pool].region, r) and not (scales(s) and not takes_work(s, g)):
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
    live[r].prompt_counted = extra
    if gpu.claim_head == NONE:
        gpu.claim_head = r
    else:
        live[gpu.claim_tail].next = r
    gpu.claim_tail = r
    s.clock[0].claims += 1
    reserve(s, policy, g, 0, extra)
    if gpu.state == BUSY:
        cut(s, g, joins=False)
    return True


@inlined
def apply_preemptions(s: State, policy: Any, g: int) -> None:
    """At the end of an iteration: victims that have not just finished return to the front of their queue, claimants are
    admitted.
    """
    gpu = s.gpus[g]
    live = s.live
    r = gpu.claim_head
    gpu.claim_head = NONE
    while r != NONE:
        after = live[r].next
        victim = live[r].child
        extra = live[r].prompt_counted
        if live[victim].giving_way:
            evict(s, policy, g, victim, keeps=True)
            s.clock[0].preemptions += 1
        gpu.kv_tokens -= extra
        admit(s, policy, g, r)
        s.clock[0].claims -= 1
        r = after


@inlined
def make_room(s: State, policy: Any, g: int) -> None:
    """Replica `g` is between iterations: while its residents would exceed its memory in the next one, the resident
    admitted last leaves.

    No request is admitted in an iteration in which a resident with processed tokens has left.
    """
    gpu = s.gpus[g]
    capacity = kind_of(s, g).kv_capacity_tokens
    while kv.at_most(s, g, 1) > capacity and kv.held_now(s, g) > capacity:
        r = _admitted_last(s, g)
        begun = s.live[r].prompt_left < prompt_of(s, r)
        if may_give_way(s, gpu.queue, r):
            flexible.remove(s, gpu.queue, r)
        gpu.barred |= begun
        s.clock[0].preemptions += begun
        evict(s, policy, g, r, keeps=True)


@inlined
def _admitted_last(s: State, g: int) -> int:
    """The resident of replica `g` that was admitted last: prompts are processed in order of admission, so unfinished
    ones were admitted after all others.
    """
    gpu = s.gpus[g]
    if gpu.joiner_head != NONE:
        return gpu.joiner_tail
    if gpu.prompt_tokens > 0:
        return gpu.prompt_tail
    last = decoders.who(s, g, 0)
    for at in range(1, gpu.heap_len):
        r = decoders.who(s, g, at)
        if s.live[r].key > s.live[last].key:
            last = r
    return last


@inlined
def evict(s: State, policy: Any, g: int, r: int, keeps: bool) -> None:
    """Request `r` leaves replica `g` for the front of its queue.

    Its progress is kept, or recomputed where KV memory grows or the replica `keeps` none.
    """
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
            at = decoders.position(s, g, r)
            live[r].decode_left = decoders.left(s, g, at)
            decoders.remove(s, g, at)
            context_tokens = prompt_of(s, r)
            gpu.context_tokens -= context_tokens
            kv.starts_decoding(s, g, context_tokens, -1)
    else:
        _leave_joiners(s, g, r)
    if live[r].prompt_left > 0:
        s.queues[q].prompt_tokens -= live[r].prompt_counted
        gpu.prompt_counted -= live[r].prompt_counted
    reserve(s, policy, g, -1, -kv.held(s, g, r))
    if kv.grows_on(s, g) or not keeps:
        s.clock[0].recomputed_tokens += prompt_of(s, r) - max(live[r].prompt_left, 1)
        live[r].prompt_left = prompt_of(s, r)
    live[r].joined = 0
    live[r].key = -math.inf
    if grows(s) or fails(s):
        s.queues[q].returned += 1
    queue.push(s, q, r)
    mark_dirty(s, q)


@inlined
def _leave_joiners(s: State, g: int, r: int) -> None:
    """Remove `r` from the joiners of replica `g`."""
    gpu = s.gpus[g]
    if has_terms(s) and gpu.waited_tail == r:
        gpu.waited_tail = NONE
        before = gpu.joiner_head
        while before != r:
            gpu.waited_tail = before
            before = s.live[before].next
    gpu.joiner_head, gpu.joiner_tail = _unlink(s.live, gpu.joiner_head, gpu.joiner_tail, r)


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
