"""The non-Gold residents of a queue's GPUs in order of admission: a doubly linked list, read only at its end."""

from __future__ import annotations

from caps_fast._jit import inlined
from caps_fast.arrays import NONE, State


@inlined
def append(s: State, q: int, r: int) -> None:
    """Append `r` to the flexible residents of queue `q`, in order of admission."""
    tail = s.queues[q].flexible_tail
    s.live[r].flexible_prev = tail
    s.live[r].flexible_next = NONE
    if tail != NONE:
        s.live[tail].flexible_next = r
    s.queues[q].flexible_tail = r


@inlined
def remove(s: State, q: int, r: int) -> None:
    """Remove `r` from the flexible residents of queue `q`."""
    before = s.live[r].flexible_prev
    after = s.live[r].flexible_next
    if before != NONE:
        s.live[before].flexible_next = after
    if after != NONE:
        s.live[after].flexible_prev = before
    else:
        s.queues[q].flexible_tail = before
