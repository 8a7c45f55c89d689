"""Inputs of scale rules: a pool's current work, its recent needs, and its break-even time of idling."""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined
from caps_fast.arrays import State

REMEMBERED = 256  # decisions; a longer window counts as one of this many
RECENT = [
    ("needed", "i4", (REMEMBERED,)),
    ("asked_s", "f8", (REMEMBERED,)),
    ("asked", "i8"),
]  # memory of a rule with a window


@inlined
def waiting_for(p: int, s: State) -> float:
    """Requests that wait for a replica of pool `p`, not for a gate: its share by size, where its queue serves other
    pools too.
    """
    pool = s.strength[p]
    queue = s.queues[s.gpus[pool.first_gpu].queue]
    if not queue.open:
        return 0.0
    return queue.waiting * ((pool.end_gpu - pool.first_gpu) / (queue.end_gpu - queue.first_gpu))


@inlined
def residents_of(p: int, s: State) -> int:
    """Residents of all replicas of pool `p`, including draining ones."""
    residents = 0
    for g in range(s.strength[p].first_gpu, s.strength[p].end_gpu):
        residents += s.gpus[g].residents
    return residents


@inlined
def load_of_pool(p: int, s: State, utilization: float) -> float:
    """Replicas of pool `p` that its residents and waiting requests fill at that share of their slots, a real number."""
    return (residents_of(p, s) + waiting_for(p, s)) / (utilization * s.pools[p].max_batch)


@inlined
def most_of_window(memory: Any, t_s: float, needed: int, window_s: float) -> int:
    """Store the current need in a memory of RECENT; returns the largest need of the last `window_s`."""
    memory.needed[memory.asked % REMEMBERED] = needed
    memory.asked_s[memory.asked % REMEMBERED] = t_s
    memory.asked += 1
    for i in range(min(memory.asked, REMEMBERED)):
        if memory.asked_s[i] >= t_s - window_s:
            needed = max(needed, memory.needed[i])
    return needed


@inlined
def break_even_s(p: int, s: State) -> float:
    """Break-even time of pool `p`, s: idling that long costs as much energy as sleeping, or being off, and coming back;
    inf if it can do neither.
    """
    change = s.changes[s.gpus[s.strength[p].first_gpu].kind]
    if change.can_sleep:
        change_j, saved_w = change.wake_s * change.standby_w, change.standby_w - change.asleep_w
    elif change.can_stop:
        change_j, saved_w = (
            change.start_s * change.starting_w + change.stop_s * change.standby_w,
            change.standby_w - change.off_w,
        )
    else:
        return math.inf
    return change_j / saved_w if saved_w > 0.0 else math.inf
