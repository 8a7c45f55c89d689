"""States of a replica: which take work, power per state, transitions and their ends in the agenda (docs/model.md,
section 9).
"""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import ASLEEP, BUSY, FAILED, IDLE, OFF, STARTING, STOPPING, WAKING, State
from caps_fast.containers import agenda
from caps_fast.engine import speed
from caps_fast.engine.accounts import spend
from caps_fast.traits import only_if


@inlined
def takes_work(s: State, g: int) -> bool:
    """Is replica `g` on and not draining?"""
    return s.gpus[g].state <= BUSY and not s.standing[g].draining


@inlined
def serves(s: State, g: int) -> bool:
    """Is replica `g` counted as serving by its pool, including while it wakes or starts?"""
    return s.gpus[g].state != FAILED and not s.standing[g].draining


@inlined
def draws_w(s: State, g: int) -> float:
    """Power of replica `g` in its state, W."""
    gpu = s.gpus[g]
    if gpu.state == BUSY:
        return speed.power_w(s, g)
    kind = s.changes[gpu.kind]
    if gpu.state == ASLEEP:
        return kind.asleep_w
    if gpu.state == OFF:
        return kind.off_w
    if gpu.state == FAILED:
        return kind.failed_w
    return kind.starting_w if gpu.state == STARTING else kind.standby_w


@inlined
def close_state(s: State, g: int, until_s: float) -> None:
    """Account for replica `g`, which is not busy, in its state up to `until_s`; if idle, asleep, off or failed, at most
    up to the end of the arrivals.
    """
    gpu = s.gpus[g]
    if gpu.state in (IDLE, ASLEEP, OFF, FAILED):
        until_s = min(until_s, s.setup[0].horizon_s)
    if gpu.since_s < until_s:
        spend(s, gpu.pool, gpu.state, gpu.since_s, until_s, draws_w(s, g))


@inlined
def enter(s: State, g: int, state: int, lasts_s: float) -> None:
    """Replica `g`, which is not busy, changes its state; the new state ends after `lasts_s`."""
    now_s = s.clock[0].now_s
    close_state(s, g, now_s)
    _keep_time_on(s, g, state)
    s.gpus[g].state = state
    s.gpus[g].since_s = now_s
    s.standing[g].rested = 0
    agenda.put(s, g, now_s + lasts_s)


@only_if("fails")
def _keep_time_on(s: State, g: int, state: int) -> None:
    """The time to failure of replica `g` counts down only while it is on."""
    standing = s.standing[g]
    now_s = s.clock[0].now_s
    if s.gpus[g].state <= BUSY < state:
        standing.left_s = standing.fails_s - now_s
        standing.fails_s = math.inf
        if s.scaling[0].fails_next == g:
            _find_next_failure(s)
    elif state <= BUSY < s.gpus[g].state:
        standing.fails_s = now_s + standing.left_s
        if standing.fails_s < s.scaling[0].failure_s:
            s.scaling[0].failure_s = standing.fails_s
            s.scaling[0].fails_next = g


@inlined
def _find_next_failure(s: State) -> None:
    first = 0
    for g in range(s.standing.shape[0]):
        if s.standing[g].fails_s < s.standing[first].fails_s:
            first = g
    s.scaling[0].failure_s = s.standing[first].fails_s
    s.scaling[0].fails_next = first


@only_if("scales")
def rest(s: State, g: int) -> None:
    """Replica `g` is idle without residents: if it drains, it sleeps if it can, and is scheduled to switch off if it
    can.
    """
    if not s.standing[g].draining:
        return
    kind = s.changes[s.gpus[g].kind]
    off_after_s = s.scaling[0].off_after_s if kind.can_stop else math.inf
    if kind.can_sleep:
        enter(s, g, ASLEEP, off_after_s)
    else:
        agenda.put(s, g, s.clock[0].now_s + off_after_s)


@inlined
def node_of(s: State, g: int) -> tuple[int, int]:
    """First replica of the node of replica `g`, and the end."""
    pool = s.strength[s.gpus[g].pool]
    size = s.changes[s.gpus[g].kind].replicas_per_node
    first = pool.first_gpu + (g - pool.first_gpu) // size * size
    return first, min(first + size, pool.end_gpu)


@inlined
def start_node(s: State, g: int) -> None:
    """The node of replica `g`, which is off, starts."""
    first, end = node_of(s, g)
    for other in range(first, end):
        enter(s, other, STARTING, s.changes[s.gpus[g].kind].start_s)
        s.strength[s.gpus[g].pool].starts += 1


@inlined
def wake(s: State, g: int) -> None:
    """Replica `g`, which is asleep, wakes."""
    enter(s, g, WAKING, s.changes[s.gpus[g].kind].wake_s)
    s.strength[s.gpus[g].pool].wakes += 1


@inlined
def rested(s: State, g: int) -> None:
    """Replica `g` has rested for `off_after_s`: its node stops if all of it has."""
    s.standing[g].rested = 1
    agenda.put(s, g, math.inf)
    first, end = node_of(s, g)
    for other in range(first, end):
        if not s.standing[other].rested:
            return
    for other in range(first, end):
        enter(s, other, STOPPING, s.changes[s.gpus[g].kind].stop_s)
