"""Expectations: of a queue, by closed forms, and of a region, by the forecast in force."""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import State


@inlined
def queueing_s(s: State, q: int) -> float:
    """Expected wait of a request that joins queue `q` now for a slot of its replicas, s."""
    queue = s.queues[q]
    present = queue.residents + queue.waiting
    return 0.0 if present < queue.slots else (queue.waiting + 1) * s.kinds[queue.kind].service_s / queue.slots


@inlined
def step_s(s: State, q: int, present: int) -> float:
    """Length of an iteration of queue `q` with one more request than this number on its replicas."""
    queue = s.queues[q]
    kind = s.kinds[queue.kind]
    return kind.decode_base_s + kind.decode_s_per_seq * min(1.0 + present * queue.per_gpu, kind.max_batch)


@inlined
def first_token_s(s: State, q: int, input_tokens: int, prompt_tokens: int, step_s: float, wait_s: float) -> float:
    """Time of the first token of a request that starts after `wait_s`, behind this many prompt tokens of queue `q`."""
    queue = s.queues[q]
    kind = s.kinds[queue.kind]
    ahead_tokens = input_tokens + prompt_tokens * queue.per_gpu
    rounds = max(1.0, ahead_tokens / kind.chunk_tokens) if kind.chunk_tokens > 0 else 1.0
    return wait_s + (rounds + 0.5) * step_s + kind.prefill_s_per_token * ahead_tokens


@inlined
def slot_start_s(s: State, z: int, slot: int) -> float:
    """Start of slot `slot` of the forecast in force in region `z`."""
    return s.issued_s[s.regions[z].issue_at] + slot * s.regions[z].forecast_step_s


@inlined
def slot_at(s: State, z: int, t_s: float) -> int:
    """The slot of the forecast in force that covers `t_s`; the first and last slots extend without end."""
    slot = math.floor((t_s - s.issued_s[s.regions[z].issue_at]) / s.regions[z].forecast_step_s)
    return min(max(slot, 0), s.regions[z].leads - 1)


@inlined
def slot_end_s(s: State, z: int, slot: int) -> float:
    """End of slot `slot`: the next one's start; inf for the last."""
    if slot + 1 == s.regions[z].leads:
        return math.inf
    return slot_start_s(s, z, slot + 1)


@inlined
def first_slot(s: State, z: int) -> int:
    """Index of the forecast in force in `forecast_g_per_kwh`."""
    region = s.regions[z]
    return region.forecast_at + (region.issue_at - region.issue_first) * region.leads


@inlined
def cleaner_s(s: State, z: int, t_s: float, until_s: float, g_per_kwh: float) -> float:
    """Time in (t_s, until_s) whose forecast is below `g_per_kwh`."""
    first = first_slot(s, z)
    total_s = 0.0
    at_s = t_s
    slot = slot_at(s, z, t_s)
    while at_s < until_s:
        end_s = min(slot_end_s(s, z, slot), until_s)
        if s.forecast_g_per_kwh[first + slot] < g_per_kwh:
            total_s += end_s - at_s
        at_s = end_s
        slot += 1
    return total_s


@inlined
def cleanest_slot(s: State, z: int, t_s: float, until_s: float) -> int:
    """The slot with the lowest forecast among those that overlap (t_s, until_s), the earliest on ties."""
    first = first_slot(s, z)
    best = slot_at(s, z, t_s)
    slot = best
    while slot_end_s(s, z, slot) < until_s:
        slot += 1
        if s.forecast_g_per_kwh[first + slot] < s.forecast_g_per_kwh[first + best]:
            best = slot
    return best


@inlined
def first_slot_below(s: State, z: int, t_s: float, g_per_kwh: float) -> int:
    """The first slot that ends after `t_s` with a forecast at or below `g_per_kwh`; the number of slots if there is
    none.
    """
    first = first_slot(s, z)
    slot = slot_at(s, z, t_s)
    leads = s.regions[z].leads
    while slot < leads and s.forecast_g_per_kwh[first + slot] > g_per_kwh:
        slot += 1
    return slot
