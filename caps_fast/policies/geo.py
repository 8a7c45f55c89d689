"""Common parts of policies over several regions: pools ranked by the current worth of their region and their load."""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import State
from caps_fast.containers.queue import may_hold
from caps_fast.records import Record, f8


class Worth(Record):
    """The worth of a queue's region; of the run, the time of the next update."""

    worth: f8
    next_s: f8


@inlined
def is_due(t_s: float, every_s: float, s: State) -> bool:
    """Whether it is time to update the worth of regions; the next time is then stored."""
    run = s.run_memory[0]
    if t_s < run.next_s:
        return False
    run.next_s = t_s + every_s
    return True


@inlined
def may_join(r: int, q: int, s: State) -> bool:
    """Whether the tier of request `r` may enter queue `q`, and the queue may serve it."""
    return bool(s.tiers[s.live[r].tier].roles >> s.queues[q].role & 1) and may_hold(s, q, r)


@inlined
def first_of_its_roles(r: int, s: State) -> int:
    """The first queue that the tier of request `r` may enter, if none may serve it: the kernel then finds one that may,
    or reports why none can.
    """
    q = 0
    while not s.tiers[s.live[r].tier].roles >> s.queues[q].role & 1:
        q += 1
    return q


@inlined
def used(q: int, s: State) -> float:
    """Residents and waiting requests of queue `q` per slot."""
    return (s.queues[q].residents + s.queues[q].waiting) / s.queues[q].slots


@inlined
def least_used(r: int, s: State) -> int:
    """The least used queue for request `r`, the lower on ties."""
    best = -1
    least = math.inf
    for q in range(s.queues.shape[0]):
        if may_join(r, q, s) and used(q, s) < least:
            best = q
            least = used(q, s)
    return best if best >= 0 else first_of_its_roles(r, s)


@inlined
def is_better(worth: float, load: float, than_worth: float, than_load: float) -> bool:
    """Whether a queue of that worth and load (`used`) is preferred to another one: free ones first, then by worth, then
    the least used.
    """
    free = load < 1.0
    if free != (than_load < 1.0):
        return free
    if free and worth != than_worth:
        return worth > than_worth
    return load < than_load
