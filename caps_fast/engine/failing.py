"""Replica failures: work stops, residents return to their queues, and the replica is repaired
(docs/model.md, section 15).
"""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined
from caps_fast.arrays import BUSY, FAILED, IDLE, NONE, State
from caps_fast.containers import decoders, flexible, queue
from caps_fast.engine import fair, speed
from caps_fast.engine.clocks import follow_clock
from caps_fast.engine.gpu import charge, mark_dirty, may_give_way, process_prompts
from caps_fast.engine.placing import price, reserve
from caps_fast.engine.preempt import evict
from caps_fast.engine.scaling import count
from caps_fast.engine.states import enter
from caps_fast.physics import iterations_until
from caps_fast.traits import fails, only_if


@inlined
def failure_s(s: State) -> float:
    """Time of the next failure; infinite if there is none."""
    return s.scaling[0].failure_s if fails(s) else math.inf


@only_if("fails")
def fail_now(s: State, policy: Any) -> None:
    """Fail the replicas that are due to fail now."""
    while s.scaling[0].failure_s == s.clock[0].now_s:
        _fail(s, policy, s.scaling[0].fails_next)


@inlined
def _fail(s: State, policy: Any, g: int) -> None:
    gpu = s.gpus[g]
    standing = s.standing[g]
    if gpu.state == BUSY:
        _break_off(s, policy, g)
        _clear(s, policy, g)
    enter(s, g, FAILED, s.lives[standing.life].repair_s)
    standing.life += 1
    standing.left_s = s.lives[standing.life].up_s
    s.strength[gpu.pool].failures += 1
    if not standing.draining:
        s.strength[gpu.pool].serving -= 1
        count(s, gpu.queue)
    price(s, policy, g)


@inlined
def _break_off(s: State, policy: Any, g: int) -> None:
    """End the leap of replica `g` now: its complete iterations count, and no request finished in them."""
    gpu = s.gpus[g]
    now_s = s.clock[0].now_s
    complete = iterations_until(now_s - gpu.since_s, gpu.step_s, speed.growth_s(s, g)) - 1
    complete = min(complete, int(gpu.leap_iterations) - 1)
    charge(s, g)
    gpu.leap_iterations = complete
    fair.end_leap(s, g)
    gpu.state = IDLE
    gpu.since_s = now_s
    follow_clock(s, policy, g)
    gpu.barred = 0
    if gpu.decoding > 0:
        gpu.iterations_done += complete
        gpu.context_tokens += gpu.decoding * complete
    if gpu.chunk > 0:
        process_prompts(s, policy, g, gpu.chunk * complete)


@inlined
def _clear(s: State, policy: Any, g: int) -> None:
    """Return all residents of replica `g` to the front of their queue, without KV, and claimants to their positions in
    their queues.
    """
    gpu = s.gpus[g]
    live = s.live
    r = gpu.claim_head
    gpu.claim_head = NONE
    while r != NONE:
        after = live[r].next
        reserve(s, policy, g, 0, -live[r].prompt_counted)
        s.clock[0].claims -= 1
        queue.push(s, gpu.queue, r)
        mark_dirty(s, gpu.queue)
        r = after
    while gpu.residents > 0:
        r = gpu.joiner_head
        if r == NONE:
            r = gpu.prompt_head if gpu.prompt_tokens > 0 else decoders.who(s, g, 0)
        if may_give_way(s, gpu.queue, r) and not live[r].giving_way:
            flexible.remove(s, gpu.queue, r)
        evict(s, policy, g, r, keeps=False)
    gpu.waited_tail = NONE
    gpu.energy_per_member_j = 0.0
    gpu.carbon_per_member_g = 0.0
    gpu.context_tokens = 0
