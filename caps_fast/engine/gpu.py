"""One GPU: who is admitted, the leap over equal iterations, who leaves (docs/model.md, sections 1, 2 and 4)."""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined, prefetch
from caps_fast.arrays import GOLD, J_PER_KWH, LP, NONE, State
from caps_fast.containers import agenda, decoders, flexible, tournament
from caps_fast.engine import ledger
from caps_fast.physics import intensity_integral, iterations_until, leap_s

FIT_THE_CACHE = 256  # GPUs whose records and heaps are at hand in any case


@inlined
def reserve(s: State, g: int, residents: int, kv_tokens: int) -> None:
    """Change what GPU `g` has reserved, and the trees that `find` reads."""
    gpu = s.gpus[g]
    gpu.residents += residents
    gpu.kv_tokens += kv_tokens
    q = gpu.queue
    s.queues[q].residents += residents
    if s.queues[q].end_gpu - s.queues[q].first_gpu == 1:
        return
    leaf = g - s.queues[q].first_gpu
    tournament.put(s.tree, s.places[q], leaf, gpu.residents)
    if s.gpus.shape[0] > FIT_THE_CACHE:
        prefetch(s.gpus, s.queues[q].first_gpu + tournament.leaf_of(tournament.root(s.tree, s.places[q])))
    if s.setup[0].kv_capacity_tokens > 0:
        full = gpu.residents >= s.setup[0].max_batch
        free = 0 if full else s.setup[0].kv_capacity_tokens - gpu.kv_tokens
        tournament.put(s.room_tree, s.places[q], leaf, -free)


@inlined
def find(s: State, q: int, r: int) -> int:
    """The GPU of queue `q` with the fewest residents that has room for request `r`; NONE if there is none."""
    first = s.queues[q].first_gpu
    limit = s.setup[0].max_batch
    capacity = s.setup[0].kv_capacity_tokens
    g = first
    residents = s.gpus[first].residents
    alone = s.queues[q].end_gpu - first == 1
    if not alone:
        emptiest = tournament.root(s.tree, s.places[q])
        g = first + tournament.leaf_of(emptiest)
        residents = tournament.key_of(emptiest)
    if residents >= limit:
        return NONE
    if capacity == 0:
        return g
    need = s.live[r].input_tokens + s.live[r].output_tokens
    if s.gpus[g].kv_tokens + need <= capacity:
        return g
    if alone or -tournament.key_of(tournament.root(s.room_tree, s.places[q])) < need:
        return NONE
    return _fewest_with_room(s, q, need)


@inlined
def _fewest_with_room(s: State, q: int, need: int) -> int:
    """The GPU with the fewest residents of those with room for `need` tokens, by branch and bound over both trees."""
    at, width = s.places[q]
    fewest = s.setup[0].max_batch
    g = NONE
    node = 1
    while True:
        if tournament.key_of(s.tree[at + node]) >= fewest or tournament.key_of(s.room_tree[at + node]) > -need:
            while node & 1:
                node >>= 1
            if node == 0:
                return g
            node += 1
        elif node < width:
            node *= 2
        else:
            fewest = tournament.key_of(s.tree[at + node])
            g = s.queues[q].first_gpu + node - width


@inlined
def touch(s: State, g: int) -> None:
    """Note that GPU `g` is between iterations at this instant."""
    if not s.gpus[g].touched:
        s.gpus[g].touched = 1
        s.touched[s.clock[0].touched] = g
        s.clock[0].touched += 1


@inlined
def _may_give_way(s: State, q: int, r: int) -> Any:
    """May request `r`, a resident of queue `q`, have to give its place to Gold?"""
    return s.setup[0].preempts and s.queues[q].role == LP and s.live[r].tier != GOLD


@inlined
def admit(s: State, g: int, r: int) -> None:
    """Make request `r`, for which there is room, a resident of GPU `g`; it joins at the next start of an iteration."""
    gpu = s.gpus[g]
    reserve(s, g, 1, s.live[r].input_tokens + s.live[r].output_tokens)
    live = s.live
    now_s = s.clock[0].now_s
    if not live[r].admitted:
        held = live[r].held or live[r].arrival_s < s.queues[gpu.queue].reopened_s
        live[r].admitted = 1
        live[r].held = held
        live[r].released_s = now_s if held else live[r].arrival_s
        live[r].admitted_s = now_s
        live[r].first_token_s = math.nan
        live[r].energy_j = 0.0
        live[r].carbon_g = 0.0
        live[r].giving_way = 0
    live[r].gpu = g
    live[r].joined = 0
    live[r].next = NONE
    if gpu.joiner_head == NONE:
        gpu.joiner_head = r
    else:
        live[gpu.joiner_tail].next = r
    gpu.joiner_tail = r
    if _may_give_way(s, gpu.queue, r):
        flexible.append(s, gpu.queue, r)
    live[r].prompt_counted = live[r].prompt_left
    s.queues[gpu.queue].prompt_tokens += live[r].prompt_counted
    if gpu.running:
        cut(s, g)
    else:
        touch(s, g)


@inlined
def cut(s: State, g: int) -> None:
    """End the leap of GPU `g` with the iteration in progress."""
    gpu = s.gpus[g]
    if gpu.leap_iterations == 1:
        return
    growth_s = s.setup[0].decode_s_per_context_token * gpu.decoding
    count = iterations_until(s.clock[0].now_s - gpu.leap_start_s, gpu.step_s, growth_s)
    if count < gpu.leap_iterations:
        gpu.leap_iterations = count
        agenda.put(s, g, gpu.leap_start_s + leap_s(gpu.step_s, count, growth_s))


@inlined
def begin(s: State, g: int) -> None:
    """Start the next leap of GPU `g`, or let it idle."""
    gpu = s.gpus[g]
    gpu.touched = 0
    _join(s, g)
    if gpu.residents == 0:
        gpu.energy_per_member_j = 0.0
        gpu.carbon_per_member_g = 0.0
        gpu.context_tokens = 0
        agenda.put(s, g, math.inf)
        return
    setup = s.setup[0]
    decoding = gpu.heap_len
    count = decoders.left(s, g, 0) if decoding > 0 else 1
    chunk = 0
    if gpu.prompt_tokens > 0:
        first = s.live[gpu.prompt_head].prompt_left
        if setup.chunk_tokens == 0:
            chunk = first
            count = 1
            decoding = 0
        else:
            chunk = max(setup.chunk_tokens - decoding, 1)
            if first > chunk:
                whole = (first - 1) // chunk
                count = whole if decoding == 0 else min(count, whole)
            else:
                chunk = min(chunk, gpu.prompt_tokens)
                count = 1
    if gpu.claim_head != NONE:
        count = 1
    step_s = setup.decode_base_s + setup.decode_s_per_seq * decoding + setup.prefill_s_per_token * chunk
    growth_s = setup.decode_s_per_context_token * decoding
    if growth_s > 0.0:
        step_s += setup.decode_s_per_context_token * gpu.context_tokens
    gpu.members = gpu.residents
    gpu.decoding = decoding
    gpu.chunk = chunk
    gpu.step_s = step_s
    gpu.leap_start_s = s.clock[0].now_s
    gpu.leap_iterations = count
    gpu.running = 1
    agenda.put(s, g, gpu.leap_start_s + leap_s(step_s, count, growth_s))
    _fetch_next(s)


@inlined
def _fetch_next(s: State) -> None:
    """Ask the memory for the GPUs whose leaps are likely to end next: the winners of the agenda's two halves."""
    if s.gpus.shape[0] > FIT_THE_CACHE:
        for half in (2, 3):
            g = s.first_to_end[half]
            prefetch(s.gpus, g)
            prefetch(s.finish_at[g], 0)


@inlined
def end(s: State, g: int) -> None:
    """Close the leap of GPU `g`, which ends now: account for it, move tokens, let the finished go."""
    gpu = s.gpus[g]
    charge(s, g)
    gpu.running = 0
    if gpu.decoding > 0:
        gpu.iterations_done += gpu.leap_iterations
        gpu.context_tokens += gpu.decoding * gpu.leap_iterations
        while gpu.heap_len > 0 and decoders.left(s, g, 0) == 0:
            r = decoders.who(s, g, 0)
            decoders.remove(s, g, 0)
            gpu.context_tokens -= s.live[r].input_tokens + s.live[r].output_tokens
            _leave_finished(s, g, r)
    if gpu.chunk > 0:
        _process_prompts(s, g, gpu.chunk * gpu.leap_iterations)
    if s.queues[gpu.queue].waiting > 0:
        mark_dirty(s, gpu.queue)


@inlined
def mark_dirty(s: State, q: int) -> None:
    """Have queue `q` dispatched at this instant."""
    if not s.queues[q].dirty:
        s.queues[q].dirty = 1
        s.dirty[s.clock[0].dirty] = q
        s.clock[0].dirty += 1


@inlined
def charge(s: State, g: int) -> None:
    """Account for the leap of GPU `g` up to now: energy, carbon and time, to the pool and per member."""
    gpu = s.gpus[g]
    elapsed_s = s.clock[0].now_s - gpu.leap_start_s
    members = gpu.members
    energy_j = s.power_w[members] * elapsed_s
    intensity = intensity_integral(s, gpu.leap_start_s, s.clock[0].now_s)
    carbon_g = s.power_w[members] * intensity * (1.0 / J_PER_KWH)
    share = 1.0 / members
    gpu.energy_per_member_j += energy_j * share
    gpu.carbon_per_member_g += carbon_g * share
    pool = s.pools[gpu.pool]
    pool.energy_j += energy_j
    pool.carbon_g += carbon_g
    pool.busy_s += elapsed_s
    pool.busy_intensity += intensity
    pool.member_s += elapsed_s * members


@inlined
def _join(s: State, g: int) -> None:
    """Make the joiners of GPU `g` members: prompts queue for the chunk, resumed sequences decode on."""
    gpu = s.gpus[g]
    live = s.live
    r = gpu.joiner_head
    gpu.joiner_head = NONE
    while r != NONE:
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
            gpu.context_tokens += live[r].input_tokens + live[r].output_tokens - live[r].decode_left
            decoders.push(s, g, live[r].decode_left, r)
        r = after


@inlined
def _process_prompts(s: State, g: int, tokens: int) -> None:
    """Take `tokens` prompt tokens off the prompts of GPU `g` in order; those complete have their first token."""
    gpu = s.gpus[g]
    live = s.live
    gpu.prompt_tokens -= tokens
    while tokens > 0:
        r = gpu.prompt_head
        taken = min(tokens, live[r].prompt_left)
        tokens -= taken
        live[r].prompt_left -= taken
        if live[r].prompt_left > 0:
            return
        gpu.prompt_head = live[r].next
        s.queues[gpu.queue].prompt_tokens -= live[r].prompt_counted
        live[r].first_token_s = s.clock[0].now_s
        if live[r].output_tokens == 1:
            _leave_finished(s, g, r)
        else:
            gpu.context_tokens += live[r].input_tokens + 1
            decoders.push(s, g, live[r].output_tokens - 1, r)


@inlined
def _leave_finished(s: State, g: int, r: int) -> None:
    """Request `r` is done: it leaves GPU `g` and the books are closed on it."""
    gpu = s.gpus[g]
    live = s.live
    live[r].energy_j += gpu.energy_per_member_j
    live[r].carbon_g += gpu.carbon_per_member_g
    if _may_give_way(s, gpu.queue, r):
        if live[r].giving_way:
            live[r].giving_way = 0
        else:
            flexible.remove(s, gpu.queue, r)
    reserve(s, g, -1, -(live[r].input_tokens + live[r].output_tokens))
    ledger.finish(s, g, r)
