"""Requests between regions: restricted to the regions that may serve them, and in transit with their context
(docs/model.md, section 10).
"""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import NONE, State
from caps_fast.containers.queue import may_hold, meld, pop_root
from caps_fast.reach import moves_from
from caps_fast.traits import has_origins, only_if


@only_if("origins")
def find_way(s: State, q: int, r: int) -> None:
    """Record the queue that request `r` joins, where the policy has chosen queue `q`, and whether it is in transit to
    it.
    """
    transit = s.transit[0]
    transit.queue = kept_within(s, q, r)
    transit.left = sets_out(s, transit.queue, r)


@inlined
def kept_within(s: State, q: int, r: int) -> int:
    """Queue `q` if request `r` may be served there; else the least used queue that may serve it, of the same role if
    there is one.
    """
    if may_hold(s, q, r):
        return q
    best = q
    least = math.inf
    same_role = False
    for other in range(s.queues.shape[0]):
        queue = s.queues[other]
        if may_hold(s, other, r):
            same = queue.role == s.queues[q].role
            used = (queue.residents + queue.waiting) / queue.slots
            if (same and not same_role) or (same == same_role and used < least):
                best = other
                least = used
                same_role = same
    return best


@inlined
def sets_out(s: State, q: int, r: int) -> bool:
    """Account for the transfer of request `r`'s context to queue `q`; does it take time? If so, the request is in
    transit.
    """
    transit = s.transit[0]
    live = s.live
    home = moves_from(s, q, r)
    z = s.queues[q].region
    if home == NONE:
        return False
    tokens = live[r].input_tokens
    half_j = 0.5 * s.move_j[home, z] * tokens
    s.link_j[s.regions[home].carbon_at] += half_j
    s.link_j[s.regions[z].carbon_at] += half_j
    transit.moved += 1
    transit.moved_tokens += tokens
    takes_s = s.move_s[home, z] * tokens
    if takes_s == 0.0:
        return False
    live[r].key = s.clock[0].now_s + takes_s
    live[r].gpu = q
    live[r].next = NONE
    live[r].child = NONE
    transit.root = meld(live, transit.root, r)
    transit.due_s = live[transit.root].key
    return True


@inlined
def due_s(s: State) -> float:
    """Time at which the next context arrives at its queue; infinite without links."""
    return s.transit[0].due_s if has_origins(s) else math.inf


@inlined
def on_its_way(s: State) -> int:
    """Remove the request whose context arrives at its queue next."""
    transit = s.transit[0]
    r: int = transit.root
    transit.root = pop_root(s.live, r)
    transit.due_s = s.live[transit.root].key if transit.root != NONE else math.inf
    return r
