"""The control step: refresh what the controller observes, evaluate the gates, record the series.

It changes nothing else.
"""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined
from caps_fast.arrays import BUSY, N_STATES, State
from caps_fast.containers import queue
from caps_fast.engine import fair
from caps_fast.engine.accounts import close_sample
from caps_fast.engine.gpu import mark_dirty
from caps_fast.engine.placing import price
from caps_fast.engine.scaling import scale_pools, set_clocks
from caps_fast.engine.states import draws_w
from caps_fast.policy import gate
from caps_fast.records import Array
from caps_fast.traits import only_if


@inlined
def in_force(times_s: Array, at: int, last: int, now_s: float) -> int:
    """Index of the last time that is at most `now_s`, searched forward from `at` up to `last`."""
    while at < last and times_s[at + 1] <= now_s:
        at += 1
    return at


@inlined
def read_intensity(s: State) -> None:
    """Set the carbon samples of the current time in the regions and their pools."""
    now_s = s.clock[0].now_s
    until_s = math.inf
    for p in range(s.pools.shape[0]):
        close_sample(s, p)
    for z in range(s.regions.shape[0]):
        region = s.regions[z]
        at = in_force(s.carbon_s, region.carbon_at, region.carbon_last, now_s)
        region.carbon_at = at
        region.g_per_kwh = s.carbon_g_per_kwh[at]
        if at < region.carbon_last:
            until_s = min(until_s, s.carbon_s[at + 1])
    s.clock[0].intensity_until_s = until_s
    for p in range(s.pools.shape[0]):
        pool = s.pools[p]
        at = s.regions[pool.region].carbon_at
        pool.g_per_kwh = s.carbon_g_per_kwh[at]
        pool.intensity_from_s = s.carbon_s[at] if at > s.regions[pool.region].carbon_first else -math.inf


@inlined
def step(s: State, policy: Any) -> None:
    """One control step at the current time."""
    clock = s.clock[0]
    now_s = clock.now_s
    for z in range(s.regions.shape[0]):
        region = s.regions[z]
        region.threshold_at = in_force(s.threshold_s, region.threshold_at, region.threshold_last, now_s)
        region.issue_at = in_force(s.issued_s, region.issue_at, region.issue_last, now_s)
        region.gamma = s.seen_g_per_kwh[region.carbon_at]
        region.threshold = s.threshold_g_per_kwh[region.threshold_at]
    if clock.controls == 0 and not s.setup[0].by_residents:  # empty replicas cost 0 there, as planted
        for g in range(s.gpus.shape[0]):
            price(s, policy, g)
    scale_pools(s, policy)
    set_clocks(s, policy)
    if s.setup[0].gated:
        for q in range(s.queues.shape[0]):
            _ask_gate(s, policy, q)
    start_planned(s)
    take_turns(s)
    if now_s >= clock.samples * s.setup[0].sample_step_s and clock.samples < s.series.shape[0]:
        _sample(s)
    clock.controls += 1
    clock.next_control_s = clock.controls * s.setup[0].control_step_s


@only_if("fair")
def take_turns(s: State) -> None:
    """Decide anew who goes first in each queue."""
    for q in range(s.queues.shape[0]):
        s.turns[q].blocked = 0
        if s.queues[q].waiting > 0:
            mark_dirty(s, q)


@only_if("timed")
def start_planned(s: State) -> None:
    """Dispatch the queues whose heads have reached their planned starts."""
    for q in range(s.queues.shape[0]):
        if s.queues[q].waiting > 0 and s.live[queue.peek(s, q)].key <= s.clock[0].now_s:
            mark_dirty(s, q)


@inlined
def is_due(s: State, r: int) -> bool:
    """May request `r`, in a queue ordered by planned starts, start: was its start due when it joined, or at the last
    control step?
    """
    return not s.live[r].held or s.live[r].key <= (s.clock[0].controls - 1) * s.setup[0].control_step_s


@inlined
def _ask_gate(s: State, policy: Any, q: int) -> None:
    """Evaluate the gate of queue `q` for each of its regions; the queue is open if any of them is."""
    row = s.queues[q]
    fair.settle(s, q)
    is_open = False
    opens = False
    for at in range(row.first_span, row.end_span):
        span = s.spans[at]
        row.region = span.region
        open_here = bool(gate(policy, s.clock[0].now_s, q, s))
        opens = opens or (open_here and not span.open)
        span.open = open_here
        is_open = is_open or open_here
    if is_open and not row.open:
        row.reopened_s = s.clock[0].now_s
        row.backlog = row.waiting > row.returned
    row.open = is_open
    if opens:
        mark_dirty(s, q)


@inlined
def _sample(s: State) -> None:
    """Record every pool."""
    now_s = s.clock[0].now_s
    row = s.series[s.clock[0].samples]
    for p in range(row.shape[0]):
        row[p].t_s = now_s
        row[p].gamma = s.regions[s.pools[p].region].gamma
        for state in range(N_STATES):
            row[p].energy_j += s.accounts[p * N_STATES + state].energy_j
    for q in range(s.queues.shape[0]):
        row[s.gpus[s.queues[q].first_gpu].pool].waiting += s.queues[q].waiting
        for at in range(s.queues[q].first_span, s.queues[q].end_span):
            span = s.spans[at]
            for p in range(s.gpus[span.first_gpu].pool, s.gpus[span.end_gpu - 1].pool + 1):
                row[p].open |= span.open
    for g in range(s.gpus.shape[0]):
        gpu = s.gpus[g]
        row[gpu.pool].residents += gpu.residents
        row[gpu.pool].replicas[N_STATES if gpu.state <= BUSY and s.standing[g].draining else gpu.state] += 1
        row[gpu.pool].energy_j += draws_w(s, g) * (now_s - gpu.since_s)
    s.clock[0].samples += 1
