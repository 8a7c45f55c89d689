"""The outer loop: time-stepped control with exact events between the steps (docs/model.md, section 1)."""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined, kernel, prefetch, use_cache
from caps_fast.arrays import BUSY, GOLD, LP, NONE, State
from caps_fast.by_reference import by_reference
from caps_fast.containers import agenda, queue
from caps_fast.engine import admission, control, fair, gpu, kv, ledger, placing, preempt, turns
from caps_fast.engine.accounts import close_sample
from caps_fast.engine.failing import fail_now, failure_s
from caps_fast.engine.journeys import due_s, find_way, on_its_way
from caps_fast.engine.scaling import end_change
from caps_fast.engine.states import close_state
from caps_fast.policy import order, route
from caps_fast.traits import fails, grows, has_clocks, has_origins, is_timed, limits, only_if, scales, sessions
from caps_fast.traits import fair as has_fairness


@kernel
def advance(s: State, policy: Any, until_s: float, draining: bool) -> None:
    """Simulate every instant before `until_s`, or, when draining, until no request remains.

    Mutates all arrays of `s`. `s.clock.cursor` is the next request of `s.block`; the caller ensures that the block
    holds every arrival before `until_s`, that `live` has room for them, and `done` too where requests are recorded.
    With sessions it stops where `done` might be full (`crowd.full`).
    """
    s = by_reference(s)
    clock = s.clock[0]
    arrival_s = _next_arrival_s(s)
    while True:
        leap_end_s = agenda.first_end_s(s)
        now_s = min(min(min(min(arrival_s, due_s(s)), leap_end_s), clock.next_control_s), failure_s(s))
        if draining and clock.live == 0 and arrival_s == math.inf and not (scales(s) and now_s <= s.setup[0].horizon_s):
            return
        if now_s >= until_s:
            return
        if turns.stops(s):
            return
        clock.now_s = now_s
        if now_s >= clock.intensity_until_s:
            control.read_intensity(s)
        if now_s == clock.next_control_s:
            control.step(s, policy)
        fail_now(s, policy)
        if scales(s) or has_clocks(s):
            leap_end_s = agenda.first_end_s(s)
        alone = NONE
        if leap_end_s == now_s:
            alone = _end_leaps(s, policy, now_s < min(arrival_s, due_s(s)))
            arrival_s = turns.sooner(s, arrival_s)
        _take_in(s, policy)
        while arrival_s == now_s:
            arrival_s = _arrive_next(s, policy)
        _dispatch_all(s, policy)
        while alone != NONE or clock.touched > 0:
            if alone != NONE:
                g = alone
                alone = NONE
            else:
                clock.touched -= 1
                g = s.touched[clock.touched]
            gpu.begin(s, g)


@inlined
def _end_leaps(s: State, policy: Any, none_arrives: bool) -> int:
    """End the leaps that end now.

    Where no request arrives or waits, the first GPU is returned at once: no other GPU affects what it does next.
    """
    clock = s.clock[0]
    while agenda.first_end_s(s) == clock.now_s:
        g = agenda.first(s)
        if scales(s) and s.gpus[g].state != BUSY:
            end_change(s, policy, g)
            continue
        clock.events += 1
        gpu.end(s, policy, g)
        claimed = s.gpus[g].claim_head != NONE
        if kv.grows_on(s, g) and not claimed:
            preempt.make_room(s, policy, g)
        if none_arrives and clock.dirty == 0 and clock.claims == 0:
            return g
        gpu.touch(s, g)
        agenda.put(s, g, math.inf)
        if claimed:
            preempt.apply_preemptions(s, policy, g)
            if kv.grows_on(s, g):
                preempt.make_room(s, policy, g)
    return NONE


@inlined
def _next_arrival_s(s: State) -> float:
    """Time of the next arrival, a request of the block or a session's turn; infinite after the last."""
    at = s.clock[0].cursor
    arrival_s: Any = s.block[at].arrival_s if at < s.block.shape[0] else math.inf
    return turns.sooner(s, arrival_s)


@inlined
def _arrive_next(s: State, policy: Any) -> float:
    """Process the arrivals of this instant, requests of the block and turns of sessions. Returns the time of the next
    one.
    """
    if limits(s):
        _dispatch_all(s, policy)
    session = NONE
    if sessions(s):
        session = turns.next_session(s)
    else:
        s.clock[0].cursor += 1
    arrival_s = _next_arrival_s(s)
    _arrive(s, policy, session, arrival_s > s.clock[0].now_s or limits(s))
    return turns.sooner(s, arrival_s)  # a rejected request returns


@inlined
def _arrive(s: State, policy: Any, session: int, alone: bool) -> None:
    """Route the last request before the cursor, or the next turn of a session; it joins its queue or is in transit to
    it.

    Is it the only event (`alone`) of this instant?
    """
    clock = s.clock[0]
    r = _entry(s)
    request = s.live[r]
    request.origin = 0
    if sessions(s):
        s.session_of[r] = session
    if sessions(s) and session != NONE:
        turns.draw(s, r, session)
    else:
        _read(s, r)
    request.seq = clock.seq
    clock.seq += 1
    request.held = 0
    request.admitted = 0
    g_per_kwh = s.regions[0].g_per_kwh
    request.level = (g_per_kwh >= s.setup[0].low_g_per_kwh) + (g_per_kwh >= s.setup[0].high_g_per_kwh)
    s.cells[ledger.cell_of(request)].requests += 1
    q = route(policy, clock.now_s, r, s)
    if not 0 <= q < s.queues.shape[0]:
        _refuse(s, q, r)
        q = 0
    find_way(s, q, r)
    if has_origins(s):
        q = s.transit[0].queue
    if (s.setup[0].limits_kv or has_origins(s)) and not queue.may_hold(s, q, r):
        _refuse(s, q, r)
    if has_origins(s) and s.transit[0].left:
        return
    _join(s, policy, q, r, alone)


@only_if("origins")
def _take_in(s: State, policy: Any) -> None:
    """The requests whose context arrives now join their queues."""
    while due_s(s) == s.clock[0].now_s:
        if limits(s):
            _dispatch_all(s, policy)
        r = on_its_way(s)
        _join(s, policy, s.live[r].gpu, r, limits(s))


@inlined
def _join(s: State, policy: Any, q: int, r: int, alone: bool) -> None:
    """Start request `r`, claim a slot for it, or queue it in queue `q`. Is it `alone` at this instant?"""
    clock = s.clock[0]
    request = s.live[r]
    target = s.queues[q]
    if has_origins(s):
        request.released_s = clock.now_s  # when it joined, until it is admitted
    request.key = order(policy, clock.now_s, r, q, s)
    if math.isnan(request.key):
        _refuse(s, q, r)
        request.key = math.inf
    planned = is_timed(s) and request.key > clock.now_s
    fair.lift(s, q, r)
    if has_fairness(s) and target.waiting > 0:
        gpu.mark_dirty(s, q)
    may_claim = s.setup[0].preempts and request.tier == GOLD and target.role == LP and target.open
    may_start = alone and target.open and target.waiting == 0 and not planned
    if may_claim or may_start:
        g = placing.find(s, q, r)
        if g == NONE:
            if may_claim and preempt.claim(s, policy, q, r):
                return
        elif may_start:
            fair.passes(s, q, r)
            gpu.admit(s, policy, g, r)
            return
    if limits(s) and admission.rejects(s, q, r):
        ledger.reject(s, r)
        return
    request.held = (not target.open) or target.backlog or planned
    queue.push(s, q, r)
    gpu.mark_dirty(s, q)


@inlined
def _read(s: State, r: int) -> None:
    """Make `r` the last request before the cursor."""
    new = s.block[s.clock[0].cursor - 1]
    request = s.live[r]
    request.arrival_s = new.arrival_s
    request.predicted_tokens = new.predicted_tokens
    request.input_tokens = new.input_tokens
    request.output_tokens = new.output_tokens
    request.prompt_left = new.input_tokens
    request.tenant = new.tenant
    request.turns = new.turns
    request.tier = new.tier
    request.category = new.category
    request.task = new.task
    if has_origins(s):
        request.origin = new.origin


@inlined
def _entry(s: State) -> int:
    """An entry for a live request: the one freed last, or a new one."""
    clock = s.clock[0]
    clock.live += 1
    if clock.free == 0:
        clock.used += 1
        return int(clock.used - 1)
    clock.free -= 1
    r: Any = s.free[clock.free]
    prefetch(s.live, s.free[max(clock.free - 1, 0)])
    return r


@inlined
def _refuse(s: State, q: int, r: int) -> None:
    """Record that the policy's answer for request `r`, for queue `q`, is invalid."""
    clock = s.clock[0]
    if clock.refused == 0:
        clock.refused = s.live[r].seq + 1
        clock.refused_queue = q


@inlined
def _dispatch_all(s: State, policy: Any) -> None:
    """Start all requests that can start in the queues marked for dispatch."""
    clock = s.clock[0]
    while clock.dirty > 0:
        clock.dirty -= 1
        _dispatch(s, policy, s.dirty[clock.dirty])


@inlined
def _dispatch(s: State, policy: Any, q: int) -> None:
    """Start the head of queue `q` repeatedly while its gate is open and there is room."""
    target = s.queues[q]
    target.dirty = 0
    if has_fairness(s) and s.turns[q].blocked:
        return
    fair.settle(s, q)
    while target.open and target.waiting > 0:
        r = queue.peek(s, q)
        if is_timed(s) and not control.is_due(s, r):
            return
        g = placing.find(s, q, r)
        if g == NONE:
            fair.block(s, q)
            return
        queue.pop(s, q, r)
        if grows(s) or fails(s):
            target.returned -= s.live[r].admitted
        gpu.admit(s, policy, g, r)
        if target.waiting == target.returned:
            target.backlog = 0


@kernel
def settle(s: State, end_s: float) -> None:
    """Close the accounts of a run that ends at `end_s`: iterations in progress up to then, everything else up to the
    end of the arrivals.

    Usage so far is attributed to the residents.
    """
    s = by_reference(s)
    clock = s.clock[0]
    clock.now_s = max(end_s, s.setup[0].horizon_s)
    control.read_intensity(s)
    for g in range(s.gpus.shape[0]):
        if s.gpus[g].state != BUSY:
            close_state(s, g, clock.now_s)
    clock.now_s = end_s
    for g in range(s.gpus.shape[0]):
        if s.gpus[g].state == BUSY:
            gpu.charge(s, g)
    for p in range(s.pools.shape[0]):
        close_sample(s, p)
    for i in range(clock.free):
        s.live[s.free[i]].admitted = 0
        s.live[s.free[i]].arrival_s = math.inf
    for r in range(clock.used):
        if s.live[r].admitted and s.live[r].joined:
            g = s.live[r].gpu
            s.live[r].energy_j += s.gpus[g].energy_per_member_j
            s.live[r].carbon_g += s.gpus[g].carbon_per_member_g


use_cache(settle)
