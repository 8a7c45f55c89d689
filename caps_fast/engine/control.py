"""The control step: what the controller sees is refreshed, gates are asked, the series is recorded. Nothing else changes."""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined
from caps_fast.arrays import Array, State
from caps_fast.engine.gpu import mark_dirty
from caps_fast.policy import gate


@inlined
def in_force(times_s: Array, at: int, now_s: float) -> int:
    """Index of the last time that is not after `now_s`, searched onwards from `at`."""
    while at + 1 < times_s.shape[0] and times_s[at + 1] <= now_s:
        at += 1
    return at


@inlined
def read_intensity(s: State) -> None:
    """Put the carbon sample in force at the clock's time on the clock."""
    clock = s.clock[0]
    at = in_force(s.carbon_s, clock.carbon_at, clock.now_s)
    clock.carbon_at = at
    clock.g_per_kwh = s.carbon_g_per_kwh[at]
    clock.intensity_from_s = s.carbon_s[at] if at > 0 else -math.inf
    clock.intensity_until_s = s.carbon_s[at + 1] if at + 1 < s.carbon_s.shape[0] else math.inf


@inlined
def step(s: State, policy: Any) -> None:
    """One control step at the clock's time."""
    clock = s.clock[0]
    now_s = clock.now_s
    clock.threshold_at = in_force(s.threshold_s, clock.threshold_at, now_s)
    clock.issue_at = in_force(s.issued_s, clock.issue_at, now_s)
    clock.gamma = clock.g_per_kwh
    clock.threshold = s.threshold_g_per_kwh[clock.threshold_at]
    if s.setup[0].gated:
        for q in range(s.queues.shape[0]):
            _ask_gate(s, policy, q)
    if now_s >= clock.samples * s.setup[0].sample_step_s and clock.samples < s.series.shape[0]:
        _sample(s)
    clock.controls += 1
    clock.next_control_s = clock.controls * s.setup[0].control_step_s


@inlined
def _ask_gate(s: State, policy: Any, q: int) -> None:
    queue = s.queues[q]
    now_open = bool(gate(policy, s.clock[0].now_s, q, s))
    if now_open and not queue.open:
        queue.reopened_s = s.clock[0].now_s
        queue.backlog = queue.waiting > 0
        mark_dirty(s, q)
    queue.open = now_open


@inlined
def _sample(s: State) -> None:
    """Record every pool."""
    row = s.series[s.clock[0].samples]
    for p in range(row.shape[0]):
        row[p].t_s = s.clock[0].now_s
        row[p].gamma = s.clock[0].gamma
        row[p].energy_j = s.pools[p].energy_j
        row[p].busy_s = s.pools[p].busy_s
    for q in range(s.queues.shape[0]):
        first = s.gpus[s.queues[q].first_gpu].pool
        row[first].waiting += s.queues[q].waiting
        for p in range(first, s.gpus[s.queues[q].end_gpu - 1].pool + 1):
            row[p].open |= s.queues[q].open
    for g in range(s.gpus.shape[0]):
        gpu = s.gpus[g]
        row[gpu.pool].residents += gpu.residents
        if gpu.running:
            elapsed_s = s.clock[0].now_s - gpu.leap_start_s
            row[gpu.pool].energy_j += s.power_w[gpu.members] * elapsed_s
            row[gpu.pool].busy_s += elapsed_s
    s.clock[0].samples += 1
