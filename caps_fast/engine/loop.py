"""The outer loop: time-stepped control with exact events inside (docs/model.md, section 1)."""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined, kernel
from caps_fast.arrays import GOLD, LP, NONE, State
from caps_fast.containers import mintree, queue
from caps_fast.engine import control, gpu, preempt
from caps_fast.engine.ledger import cell_of
from caps_fast.policy import order, route


@kernel
def advance(s: State, policy: Any, until_s: float, draining: bool) -> None:
    """Simulate every instant before `until_s`, or, draining, until nothing is left.

    Mutates all arrays of `s`. `s.clock.cursor` is the next request of `s.block`; the caller sees to it that the block holds every arrival before
    `until_s`, that `live` has room for them, and `done` too where requests are recorded.
    """
    clock = s.clock[0]
    while True:
        arrival_s = math.inf
        if clock["cursor"] < s.block.shape[0]:
            arrival_s = s.block[clock["cursor"]]["arrival_s"]
        elif draining and clock["live"] == 0:
            return
        soonest = mintree.smallest(s.tree, s.levels[0])
        leap_end_s = mintree.time_of(soonest)
        now_s = min(min(arrival_s, leap_end_s), clock["next_control_s"])
        if now_s >= until_s:
            return
        clock["now_s"] = now_s
        clock["carbon_at"] = control.in_force(s.carbon_s, clock["carbon_at"], now_s)
        if now_s == clock["next_control_s"]:
            control.step(s, policy)
        while leap_end_s == now_s:
            clock["events"] += 1
            g = mintree.where_smallest(s.tree, s.levels[0], soonest)
            mintree.put(s.tree, s.levels[0], g, mintree.NEVER)
            gpu.end(s, g)
            if s.gpus[g]["claim_head"] != NONE:
                preempt.honour_claims(s, g)
            soonest = mintree.smallest(s.tree, s.levels[0])
            leap_end_s = mintree.time_of(soonest)
        while arrival_s == now_s:
            _arrive(s, policy)
            arrival_s = s.block[clock["cursor"]]["arrival_s"] if clock["cursor"] < s.block.shape[0] else math.inf
        for i in range(clock["dirty"]):
            _dispatch(s, s.dirty[i])
        clock["dirty"] = 0
        for i in range(clock["touched"]):
            gpu.begin(s, s.touched[i])
        clock["touched"] = 0


@inlined
def _arrive(s: State, policy: Any) -> None:
    """Take the next request of the block in: route it, then claim a place or queue."""
    clock = s.clock[0]
    new = s.block[clock["cursor"]]
    clock["cursor"] += 1
    clock["free"] -= 1
    r = s.free[clock["free"]]
    clock["live"] += 1
    request = s.live[r]
    request["arrival_s"] = new["arrival_s"]
    request["released_s"] = new["arrival_s"]
    request["admitted_s"] = math.nan
    request["first_token_s"] = math.nan
    request["predicted_tokens"] = new["predicted_tokens"]
    request["input_tokens"] = new["input_tokens"]
    request["output_tokens"] = new["output_tokens"]
    request["prompt_left"] = new["input_tokens"]
    request["tenant"] = new["tenant"]
    request["turns"] = new["turns"]
    request["tier"] = new["tier"]
    request["category"] = new["category"]
    request["task"] = new["task"]
    request["seq"] = clock["seq"]
    clock["seq"] += 1
    request["energy_j"] = 0.0
    request["carbon_g"] = 0.0
    request["gpu"] = NONE
    request["held"] = 0
    request["giving_way"] = 0
    intensity = s.carbon_g_per_kwh[clock["carbon_at"]]
    request["level"] = (intensity >= s.setup[0]["low_g_per_kwh"]) + (intensity >= s.setup[0]["high_g_per_kwh"])
    s.cells[cell_of(request)]["requests"] += 1
    q = route(policy, clock["now_s"], r, s)
    target = s.queues[q]
    may_claim = s.setup[0]["preempts"] and request["tier"] == GOLD and target["role"] == LP and target["open"]
    if may_claim and gpu.find(s, q, r) == NONE and preempt.claim(s, q, r):
        return
    request["held"] = (not target["open"]) or target["backlog"]
    request["key"] = order(policy, clock["now_s"], r, q, s)
    queue.push(s, q, r)
    gpu.mark_dirty(s, q)


@inlined
def _dispatch(s: State, q: int) -> None:
    """Start the head of queue `q`, again and again, while its gate is open and there is room."""
    target = s.queues[q]
    target["dirty"] = 0
    while target["open"] and target["waiting"] > 0:
        r = queue.peek(s, q)
        g = gpu.find(s, q, r)
        if g == NONE:
            return
        queue.pop(s, q, r)
        gpu.reserve(s, g, 1, s.live[r]["input_tokens"] + s.live[r]["output_tokens"])
        gpu.admit(s, g, r)
        if target["waiting"] == 0:
            target["backlog"] = 0


@kernel
def settle(s: State, end_s: float) -> None:
    """End the run at `end_s` with work unfinished: charge iterations in progress up to then, close what residents have used so far."""
    clock = s.clock[0]
    clock["now_s"] = end_s
    clock["carbon_at"] = control.in_force(s.carbon_s, clock["carbon_at"], end_s)
    for g in range(s.gpus.shape[0]):
        if s.gpus[g]["running"]:
            gpu.charge(s, g)
    for i in range(clock["free"]):
        s.live[s.free[i]]["gpu"] = NONE
        s.live[s.free[i]]["arrival_s"] = math.inf
    for r in range(s.live.shape[0]):
        g = s.live[r]["gpu"]
        if g != NONE and s.live[r]["joined"]:
            s.live[r]["energy_j"] += s.gpus[g]["energy_per_member_j"] - s.live[r]["energy_base_j"]
            s.live[r]["carbon_g"] += s.gpus[g]["carbon_per_member_g"] - s.live[r]["carbon_base_g"]
