"""One GPU: admission, the leap over equal iterations, completion (docs/model.md, sections 1, 2 and 4)."""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined, prefetch
from caps_fast.arrays import BUSY, GOLD, IDLE, LP, NONE, State
from caps_fast.containers import agenda, decoders, flexible
from caps_fast.engine import fair, kv, ledger, speed
from caps_fast.engine.accounts import spend
from caps_fast.engine.clocks import follow_clock
from caps_fast.engine.placing import FIT_THE_CACHE, price, reserve
from caps_fast.engine.speed import kind_of
from caps_fast.engine.states import rest
from caps_fast.physics import iterations_until, leap_s
from caps_fast.traits import fails, grows, has_clocks, has_origins, has_terms


@inlined
def touch(s: State, g: int) -> None:
    """Record that GPU `g` is between iterations at this instant."""
    if not s.gpus[g].touched:
        s.gpus[g].touched = 1
        s.touched[s.clock[0].touched] = g
        s.clock[0].touched += 1


@inlined
def may_give_way(s: State, q: int, r: int) -> Any:
    """Can request `r`, a resident of queue `q`, be pre-empted by Gold?"""
    return s.setup[0].preempts and s.queues[q].role == LP and s.live[r].tier != GOLD


@inlined
def admit(s: State, policy: Any, g: int, r: int) -> None:
    """Make request `r`, for which there is room, a resident of GPU `g`; it joins at the start of the next iteration."""
    gpu = s.gpus[g]
    live = s.live
    gpu.prompt_counted += live[r].prompt_left
    reserve(s, policy, g, 1, kv.at_admission(s, g, r))
    now_s = s.clock[0].now_s
    if not live[r].admitted:
        joined_s = live[r].released_s if has_origins(s) else live[r].arrival_s
        held = live[r].held or joined_s < s.queues[gpu.queue].reopened_s
        live[r].admitted = 1
        live[r].held = held
        live[r].released_s = now_s if held else live[r].arrival_s
        live[r].admitted_s = now_s
        live[r].first_token_s = math.nan
        live[r].energy_j = 0.0
        live[r].carbon_g = 0.0
        live[r].decode_left = live[r].output_tokens
        live[r].giving_way = 0
        fair.take_prompt(s, g, r)
    if grows(s):
        s.clock[0].admissions += 1
        live[r].key = s.clock[0].admissions
    live[r].gpu = g
    live[r].joined = 0
    live[r].next = NONE
    if gpu.joiner_head == NONE:
        gpu.joiner_head = r
    else:
        live[gpu.joiner_tail].next = r
    gpu.joiner_tail = r
    if may_give_way(s, gpu.queue, r):
        flexible.append(s, gpu.queue, r)
    live[r].prompt_counted = live[r].prompt_left
    s.queues[gpu.queue].prompt_tokens += live[r].prompt_counted
    if gpu.state == BUSY:
        cut(s, g, joins=True)
    else:
        touch(s, g)


@inlined
def cut(s: State, g: int, joins: bool) -> None:
    """End the leap of GPU `g` with the iteration in progress; or, if a request `joins` and joining lags, with the one
    after it where possible.
    """
    gpu = s.gpus[g]
    if gpu.leap_iterations == 1:
        return
    growth_s = speed.growth_s(s, g)
    count = iterations_until(s.clock[0].now_s - gpu.since_s, gpu.step_s, growth_s)
    if count < gpu.leap_iterations:
        if has_terms(s) and kind_of(s, g).lag_iterations > 0:
            waits = joins and kv.fits_on(s, g, count)
            count += waits
            gpu.waited_tail = gpu.joiner_tail if waits else NONE
        gpu.leap_iterations = count
        agenda.put(s, g, gpu.since_s + leap_s(gpu.step_s, count, growth_s))


@inlined
def begin(s: State, g: int) -> None:
    """Start the next leap of GPU `g`, or make it idle."""
    gpu = s.gpus[g]
    gpu.touched = 0
    _join(s, g)
    if gpu.residents == 0:
        gpu.energy_per_member_j = 0.0
        gpu.carbon_per_member_g = 0.0
        gpu.context_tokens = 0
        agenda.put(s, g, math.inf)
        rest(s, g)
        return
    now_s = s.clock[0].now_s
    if gpu.since_s < now_s:
        spend_idle(s, g, now_s)
    kind = kind_of(s, g)
    decoding = gpu.heap_len
    count = decoders.left(s, g, 0) if decoding > 0 else 1
    chunk = 0
    if gpu.prompt_tokens > 0:
        first = s.live[gpu.prompt_head].prompt_left
        if kind.chunk_tokens == 0:
            chunk = first
            count = 1
            decoding = 0
        else:
            chunk = max(kind.chunk_tokens - decoding, 1)
            if first > chunk:
                whole = (first - 1) // chunk
                count = whole if decoding == 0 else min(count, whole)
            else:
                chunk = min(chunk, gpu.prompt_tokens)
                count = 1
    if gpu.claim_head != NONE:
        count = 1
    gpu.members = gpu.residents
    gpu.decoding = decoding
    gpu.chunk = chunk
    if has_terms(s) and gpu.joiner_head != NONE:
        count = 1
        gpu.members -= _joiners(s, g)
    if kv.grows_on(s, g):
        count = 1 if gpu.barred else count
        while count > 1 and not kv.fits_on(s, g, count - 1):
            count = (count + 1) // 2
    count = 1 if speed.stands_still_s(s, g) > 0.0 else count
    gpu.step_s = speed.first_step_s(s, g)
    gpu.since_s = now_s
    gpu.leap_iterations = count
    gpu.state = BUSY
    agenda.put(s, g, gpu.since_s + leap_s(gpu.step_s, count, speed.growth_s(s, g)))
    _fetch_next(s)


@inlined
def _fetch_next(s: State) -> None:
    """Prefetch the records of the GPUs whose leaps are likely to end next: the winners of the agenda's two halves."""
    if s.gpus.shape[0] > FIT_THE_CACHE:
        for half in (2, 3):
            g = s.first_to_end[half]
            prefetch(s.gpus, g)
            prefetch(s.finish_at[g], 0)


@inlined
def end(s: State, policy: Any, g: int) -> None:
    """Close the leap of GPU `g`, which ends now: account for it, advance tokens, remove finished requests."""
    gpu = s.gpus[g]
    charge(s, g)
    gpu.state = IDLE
    gpu.since_s = s.clock[0].now_s
    follow_clock(s, policy, g)
    if grows(s) and gpu.barred:
        gpu.barred = 0
        price(s, policy, g)
        fair.unblock(s, gpu.queue)
    fair.end_leap(s, g)
    if gpu.decoding > 0:
        gpu.iterations_done += gpu.leap_iterations
        gpu.context_tokens += gpu.decoding * gpu.leap_iterations
        while gpu.heap_len > 0 and decoders.left(s, g, 0) == 0:
            r = decoders.who(s, g, 0)
            decoders.remove(s, g, 0)
            context_tokens = s.live[r].input_tokens + s.live[r].output_tokens
            gpu.context_tokens -= context_tokens
            kv.starts_decoding(s, g, context_tokens, -1)
            _leave_finished(s, policy, g, r)
    if gpu.chunk > 0:
        process_prompts(s, policy, g, gpu.chunk * gpu.leap_iterations)
    if s.queues[gpu.queue].waiting > 0:
        mark_dirty(s, gpu.queue)


@inlined
def mark_dirty(s: State, q: int) -> None:
    """Mark queue `q` for dispatch at this instant."""
    if not s.queues[q].dirty:
        s.queues[q].dirty = 1
        s.dirty[s.clock[0].dirty] = q
        s.clock[0].dirty += 1


@inlined
def charge(s: State, g: int) -> None:
    """Account for the leap of replica `g` up to now, for its pool and per member."""
    gpu = s.gpus[g]
    members = gpu.members
    power_w = speed.power_w(s, g)
    elapsed_s = s.clock[0].now_s - gpu.since_s
    carbon_g = spend(s, gpu.pool, BUSY, gpu.since_s, s.clock[0].now_s, power_w)
    share = 1.0 / members
    gpu.energy_per_member_j += power_w * elapsed_s * share
    gpu.carbon_per_member_g += carbon_g * share
    s.pools[gpu.pool].member_s += elapsed_s * members
    if has_clocks(s):
        s.strength[gpu.pool].clock_s += elapsed_s * s.changes[gpu.kind].clock


@inlined
def spend_idle(s: State, g: int, until_s: float) -> None:
    """Account for the idle time of replica `g` up to `until_s`, or to the end of the arrivals."""
    gpu = s.gpus[g]
    until_s = min(until_s, s.setup[0].horizon_s)
    if gpu.since_s < until_s:
        spend(s, gpu.pool, IDLE, gpu.since_s, until_s, s.power_w[kind_of(s, g).power_at])


@inlined
def _join(s: State, g: int) -> None:
    """Make the joiners of GPU `g` members: prompts queue for the chunk, resumed sequences continue to decode."""
    gpu = s.gpus[g]
    live = s.live
    r = gpu.joiner_head
    stop = _first_to_wait(s, g)
    gpu.joiner_head = stop
    while r != stop:
        after = live[r].next
        live[r].joined = 1
        live[r].energy_j -= gpu.energy_per_member_j
        live[r].carbon_g -= gpu.carbon_per_member_g
        if live[r].prompt_left > 0:
            live[r].next = NONE
            if gpu.prompt_tokens == 0:
                gpu.prompt_head = r
            else:
                live[gpu.prompt_tail].next = r
            gpu.prompt_tail = r
            gpu.prompt_tokens += live[r].prompt_left
        else:
            gpu.context_tokens += speed.prompt_of(s, r)
            decoders.push(s, g, live[r].decode_left, r)
        r = after


@inlined
def _first_to_wait(s: State, g: int) -> int:
    """The first joiner of GPU `g` that has to wait another iteration because joining lags; NONE if all join."""
    gpu = s.gpus[g]
    if not has_terms(s) or kind_of(s, g).lag_iterations == 0 or gpu.joiner_head == NONE:
        return NONE
    stop = NONE
    if gpu.waited_tail != NONE:
        stop = s.live[gpu.waited_tail].next
    elif gpu.heap_len > 0 or gpu.prompt_tokens > 0:
        stop = gpu.joiner_head
    gpu.waited_tail = gpu.joiner_tail if stop != NONE else NONE
    return stop


@inlined
def _joiners(s: State, g: int) -> int:
    """Residents of GPU `g` that are not yet members."""
    count = 0
    r = s.gpus[g].joiner_head
    while r != NONE:
        count += 1
        r = s.live[r].next
    return count


@inlined
def process_prompts(s: State, policy: Any, g: int, tokens: int) -> None:
    """Process `tokens` prompt tokens of the prompts of GPU `g` in order; complete prompts have their first token."""
    gpu = s.gpus[g]
    live = s.live
    gpu.prompt_tokens -= tokens
    while tokens > 0:
        r = gpu.prompt_head
        taken = min(tokens, live[r].prompt_left)
        tokens -= taken
        had = kv.held(s, g, r) if kv.grows_on(s, g) else 0
        live[r].prompt_left -= taken
        if live[r].prompt_left > 0:
            if kv.grows_on(s, g):
                gpu.kv_tokens += kv.held(s, g, r) - had
            return
        gpu.prompt_head = live[r].next
        s.queues[gpu.queue].prompt_tokens -= live[r].prompt_counted
        gpu.prompt_counted -= live[r].prompt_counted
        if not (grows(s) or fails(s)) or math.isnan(
            live[r].first_token_s
        ):  # it is the first, and not the next one after a recomputation
            live[r].first_token_s = s.clock[0].now_s + speed.delay_s(s, g, r)
        live[r].decode_left -= 1
        fair.take_token(s, g, r)
        gpu.kv_tokens -= had
        if live[r].decode_left == 0:
            _leave_finished(s, policy, g, r)
        else:
            context_tokens = speed.prompt_of(s, r)
            gpu.context_tokens += context_tokens
            kv.starts_decoding(s, g, context_tokens, 1)
            decoders.push(s, g, live[r].decode_left, r)
            if s.setup[0].watches_prompts:
                price(s, policy, g)


@inlined
def _leave_finished(s: State, policy: Any, g: int, r: int) -> None:
    """Request `r` is done: it leaves GPU `g` and its account is closed."""
    gpu = s.gpus[g]
    live = s.live
    live[r].energy_j += gpu.energy_per_member_j
    live[r].carbon_g += gpu.carbon_per_member_g
    if may_give_way(s, gpu.queue, r):
        if live[r].giving_way:
            live[r].giving_way = 0
        else:
            flexible.remove(s, gpu.queue, r)
    reserve(s, policy, g, -1, -kv.held(s, g, r))
    ledger.finish(s, policy, g, r)
