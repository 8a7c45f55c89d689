"""One GPU: who is admitted, the leap over equal iterations, who leaves (docs/model.md, sections 1, 2 and 4)."""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import GOLD, NONE, State
from caps_fast.containers import mintree, queue
from caps_fast.engine import ledger
from caps_fast.physics import intensity_integral, iterations_until, leap_s


@inlined
def reserve(s: State, g, residents, kv_tokens):
    """Change what GPU `g` has reserved, and the trees that `find` reads."""
    gpu = s.gpus[g]
    gpu["residents"] += residents
    gpu["kv_tokens"] += kv_tokens
    q = gpu["queue"]
    s.queues[q]["residents"] += residents
    leaf = g - s.queues[q]["first_gpu"]
    mintree.put(s.tree, s.levels[1 + q], leaf, float(gpu["residents"]))
    if s.setup[0]["kv_capacity_tokens"] > 0:
        full = gpu["residents"] >= s.setup[0]["max_batch"]
        free = 0 if full else s.setup[0]["kv_capacity_tokens"] - gpu["kv_tokens"]
        mintree.put(s.room_tree, s.levels[1 + q], leaf, -float(free))


@inlined
def find(s: State, q, r):
    """The GPU of queue `q` with the fewest residents that has room for request `r`; NONE if there is none."""
    levels = s.levels[1 + q]
    first = s.queues[q]["first_gpu"]
    limit = s.setup[0]["max_batch"]
    fewest = mintree.smallest(s.tree, levels)
    if fewest >= limit:
        return NONE
    g = first + mintree.where_smallest(s.tree, levels, fewest)
    capacity = s.setup[0]["kv_capacity_tokens"]
    if capacity == 0:
        return g
    need = s.live[r]["input_tokens"] + s.live[r]["output_tokens"]
    if s.gpus[g]["kv_tokens"] + need <= capacity:
        return g
    if -mintree.smallest(s.room_tree, levels) < need:
        return NONE
    g = NONE
    for i in range(first, s.queues[q]["end_gpu"]):
        fits = s.gpus[i]["residents"] < limit and s.gpus[i]["kv_tokens"] + need <= capacity
        if fits and (g == NONE or s.gpus[i]["residents"] < s.gpus[g]["residents"]):
            g = i
    return g


@inlined
def touch(s: State, g):
    """Note that GPU `g` is between iterations at this instant."""
    if not s.gpus[g]["touched"]:
        s.gpus[g]["touched"] = 1
        s.touched[s.clock[0]["touched"]] = g
        s.clock[0]["touched"] += 1


@inlined
def admit(s: State, g, r):
    """Make request `r` a resident of GPU `g`, whose reservation stands; it joins at the next start of an iteration."""
    gpu = s.gpus[g]
    live = s.live
    now_s = s.clock[0]["now_s"]
    if math.isnan(live[r]["admitted_s"]):
        live[r]["admitted_s"] = now_s
        if live[r]["held"] or live[r]["arrival_s"] < s.queues[gpu["queue"]]["reopened_s"]:
            live[r]["held"] = 1
            live[r]["released_s"] = now_s
    live[r]["gpu"] = g
    live[r]["joined"] = 0
    live[r]["next"] = NONE
    if gpu["joiner_head"] == NONE:
        gpu["joiner_head"] = r
    else:
        live[gpu["joiner_tail"]]["next"] = r
    gpu["joiner_tail"] = r
    if s.setup[0]["preempts"] and live[r]["tier"] != GOLD:
        _enlist(s, gpu["queue"], r)
    live[r]["prompt_counted"] = live[r]["prompt_left"]
    s.queues[gpu["queue"]]["prompt_tokens"] += live[r]["prompt_counted"]
    if gpu["running"]:
        cut(s, g)
    else:
        touch(s, g)


@inlined
def cut(s: State, g):
    """End the leap of GPU `g` with the iteration in progress."""
    gpu = s.gpus[g]
    if gpu["leap_iterations"] == 1:
        return
    growth_s = s.setup[0]["decode_s_per_context_token"] * gpu["decoding"]
    count = iterations_until(s.clock[0]["now_s"] - gpu["leap_start_s"], gpu["step_s"], growth_s)
    if count < gpu["leap_iterations"]:
        gpu["leap_iterations"] = count
        gpu["leap_end_s"] = gpu["leap_start_s"] + leap_s(gpu["step_s"], count, growth_s)
        mintree.put(s.tree, s.levels[0], g, gpu["leap_end_s"])


@inlined
def begin(s: State, g):
    """Start the next leap of GPU `g`, or let it idle."""
    gpu = s.gpus[g]
    gpu["touched"] = 0
    _join(s, g)
    if gpu["residents"] == 0:
        gpu["energy_per_member_j"] = 0.0
        gpu["carbon_per_member_g"] = 0.0
        gpu["context_tokens"] = 0
        gpu["leap_end_s"] = math.inf
        mintree.put(s.tree, s.levels[0], g, math.inf)
        return
    setup = s.setup[0]
    decoding = gpu["heap_len"]
    count = s.finish_at[g, 0] - gpu["iterations_done"] if decoding > 0 else 1
    chunk = 0
    if gpu["prompt_tokens"] > 0:
        first = s.live[gpu["prompt_head"]]["prompt_left"]
        if setup["chunk_tokens"] == 0:
            chunk = first
            count = 1
            decoding = 0
        else:
            chunk = max(setup["chunk_tokens"] - decoding, 1)
            if first > chunk:
                whole = (first - 1) // chunk
                count = whole if decoding == 0 else min(count, whole)
            else:
                chunk = min(chunk, gpu["prompt_tokens"])
                count = 1
    if gpu["claim_head"] != NONE:
        count = 1
    step_s = setup["decode_base_s"] + setup["decode_s_per_seq"] * decoding + setup["prefill_s_per_token"] * chunk
    growth_s = setup["decode_s_per_context_token"] * decoding
    if growth_s > 0.0:
        step_s += setup["decode_s_per_context_token"] * gpu["context_tokens"]
    gpu["members"] = gpu["residents"]
    gpu["decoding"] = decoding
    gpu["chunk"] = chunk
    gpu["step_s"] = step_s
    gpu["leap_start_s"] = s.clock[0]["now_s"]
    gpu["leap_iterations"] = count
    gpu["leap_end_s"] = gpu["leap_start_s"] + leap_s(step_s, count, growth_s)
    gpu["running"] = 1
    mintree.put(s.tree, s.levels[0], g, gpu["leap_end_s"])


@inlined
def end(s: State, g):
    """Close the leap of GPU `g`, which ends now: account for it, move tokens, let the finished go and claimants in."""
    gpu = s.gpus[g]
    charge(s, g)
    gpu["running"] = 0
    if gpu["decoding"] > 0:
        gpu["iterations_done"] += gpu["leap_iterations"]
        gpu["context_tokens"] += gpu["decoding"] * gpu["leap_iterations"]
        while gpu["heap_len"] > 0 and s.finish_at[g, 0] == gpu["iterations_done"]:
            r = s.finish_who[g, 0]
            _heap_remove(s, g, 0)
            gpu["context_tokens"] -= s.live[r]["input_tokens"] + s.live[r]["output_tokens"]
            _leave_finished(s, g, r)
    if gpu["chunk"] > 0:
        _process_prompts(s, g, gpu["chunk"] * gpu["leap_iterations"])
    if gpu["claim_head"] != NONE:
        _honour_claims(s, g)
    touch(s, g)
    if s.queues[gpu["queue"]]["waiting"] > 0:
        mark_dirty(s, gpu["queue"])


@inlined
def mark_dirty(s: State, q):
    """Have queue `q` dispatched at this instant."""
    if not s.queues[q]["dirty"]:
        s.queues[q]["dirty"] = 1
        s.dirty[s.clock[0]["dirty"]] = q
        s.clock[0]["dirty"] += 1


@inlined
def charge(s: State, g):
    """Account for the leap of GPU `g` up to now: energy, carbon and time, to the pool and per member."""
    gpu = s.gpus[g]
    elapsed_s = s.clock[0]["now_s"] - gpu["leap_start_s"]
    members = gpu["members"]
    energy_j = s.power_w[members] * elapsed_s
    intensity = intensity_integral(s, gpu["leap_start_s"], s.clock[0]["now_s"])
    carbon_g = s.power_w[members] * intensity / 3.6e6
    gpu["energy_per_member_j"] += energy_j / members
    gpu["carbon_per_member_g"] += carbon_g / members
    pool = s.pools[gpu["pool"]]
    pool["energy_j"] += energy_j
    pool["carbon_g"] += carbon_g
    pool["busy_s"] += elapsed_s
    pool["busy_intensity"] += intensity
    pool["member_s"] += elapsed_s * members


@inlined
def claim(s: State, q, r):
    """Let Gold request `r` take the place of the flexible resident of queue `q` that was admitted last. Is there one?"""
    live = s.live
    capacity = s.setup[0]["kv_capacity_tokens"]
    need = live[r]["input_tokens"] + live[r]["output_tokens"]
    victim = s.queues[q]["flexible_tail"]
    while victim != NONE:
        extra = max(0, need - live[victim]["input_tokens"] - live[victim]["output_tokens"])
        if capacity == 0 or s.gpus[live[victim]["gpu"]]["kv_tokens"] + extra <= capacity:
            break
        victim = live[victim]["flexible_prev"]
    if victim == NONE:
        return False
    g = live[victim]["gpu"]
    gpu = s.gpus[g]
    _delist(s, q, victim)
    live[victim]["giving_way"] = 1
    live[r]["child"] = victim
    live[r]["next"] = NONE
    if gpu["claim_head"] == NONE:
        gpu["claim_head"] = r
    else:
        live[gpu["claim_tail"]]["next"] = r
    gpu["claim_tail"] = r
    reserve(s, g, 0, extra)
    if gpu["running"]:
        cut(s, g)
    return True


@inlined
def _honour_claims(s: State, g):
    """At an iteration's end: victims that have not just finished return to the front of their queue, claimants come in."""
    gpu = s.gpus[g]
    live = s.live
    r = gpu["claim_head"]
    gpu["claim_head"] = NONE
    while r != NONE:
        after = live[r]["next"]
        victim = live[r]["child"]
        need = live[r]["input_tokens"] + live[r]["output_tokens"]
        freed = live[victim]["input_tokens"] + live[victim]["output_tokens"]
        if live[victim]["giving_way"]:
            _evict(s, g, victim)
        reserve(s, g, 1, need - max(0, need - freed))
        admit(s, g, r)
        r = after


@inlined
def _evict(s: State, g, r):
    """Request `r` leaves GPU `g` with its progress kept, for the front of its queue."""
    live = s.live
    gpu = s.gpus[g]
    q = gpu["queue"]
    live[r]["giving_way"] = 0
    if live[r]["joined"]:
        live[r]["energy_j"] += gpu["energy_per_member_j"] - live[r]["energy_base_j"]
        live[r]["carbon_g"] += gpu["carbon_per_member_g"] - live[r]["carbon_base_g"]
        if live[r]["prompt_left"] > 0:
            gpu["prompt_head"], gpu["prompt_tail"] = _unlink(live, gpu["prompt_head"], gpu["prompt_tail"], r)
            gpu["prompt_tokens"] -= live[r]["prompt_left"]
        else:
            at = 0
            while s.finish_who[g, at] != r:
                at += 1
            live[r]["decode_left"] = s.finish_at[g, at] - gpu["iterations_done"]
            _heap_remove(s, g, at)
            gpu["context_tokens"] -= live[r]["input_tokens"] + live[r]["output_tokens"] - live[r]["decode_left"]
    else:
        gpu["joiner_head"], gpu["joiner_tail"] = _unlink(live, gpu["joiner_head"], gpu["joiner_tail"], r)
    if live[r]["prompt_left"] > 0:
        s.queues[q]["prompt_tokens"] -= live[r]["prompt_counted"]
    reserve(s, g, -1, -(live[r]["input_tokens"] + live[r]["output_tokens"]))
    live[r]["joined"] = 0
    live[r]["key"] = -math.inf
    queue.push(s, q, r)
    s.clock[0]["preemptions"] += 1


@inlined
def _join(s: State, g):
    """Make the joiners of GPU `g` members: prompts queue for the chunk, resumed sequences decode on."""
    gpu = s.gpus[g]
    live = s.live
    r = gpu["joiner_head"]
    gpu["joiner_head"] = NONE
    while r != NONE:
        after = live[r]["next"]
        live[r]["joined"] = 1
        live[r]["energy_base_j"] = gpu["energy_per_member_j"]
        live[r]["carbon_base_g"] = gpu["carbon_per_member_g"]
        if live[r]["prompt_left"] > 0:
            live[r]["next"] = NONE
            if gpu["prompt_tokens"] == 0:
                gpu["prompt_head"] = r
            else:
                live[gpu["prompt_tail"]]["next"] = r
            gpu["prompt_tail"] = r
            gpu["prompt_tokens"] += live[r]["prompt_left"]
        else:
            gpu["context_tokens"] += live[r]["input_tokens"] + live[r]["output_tokens"] - live[r]["decode_left"]
            _heap_push(s, g, gpu["iterations_done"] + live[r]["decode_left"], r)
        r = after


@inlined
def _process_prompts(s: State, g, tokens):
    """Take `tokens` prompt tokens off the prompts of GPU `g` in order; those complete have their first token."""
    gpu = s.gpus[g]
    live = s.live
    gpu["prompt_tokens"] -= tokens
    while tokens > 0:
        r = gpu["prompt_head"]
        taken = min(tokens, live[r]["prompt_left"])
        tokens -= taken
        live[r]["prompt_left"] -= taken
        if live[r]["prompt_left"] > 0:
            return
        gpu["prompt_head"] = live[r]["next"]
        s.queues[gpu["queue"]]["prompt_tokens"] -= live[r]["prompt_counted"]
        live[r]["first_token_s"] = s.clock[0]["now_s"]
        if live[r]["output_tokens"] == 1:
            _leave_finished(s, g, r)
        else:
            gpu["context_tokens"] += live[r]["input_tokens"] + 1
            _heap_push(s, g, gpu["iterations_done"] + live[r]["output_tokens"] - 1, r)


@inlined
def _leave_finished(s: State, g, r):
    """Request `r` is done: it leaves GPU `g` and the books are closed on it."""
    gpu = s.gpus[g]
    live = s.live
    live[r]["energy_j"] += gpu["energy_per_member_j"] - live[r]["energy_base_j"]
    live[r]["carbon_g"] += gpu["carbon_per_member_g"] - live[r]["carbon_base_g"]
    if s.setup[0]["preempts"] and live[r]["tier"] != GOLD:
        if live[r]["giving_way"]:
            live[r]["giving_way"] = 0
        else:
            _delist(s, gpu["queue"], r)
    reserve(s, g, -1, -(live[r]["input_tokens"] + live[r]["output_tokens"]))
    ledger.finish(s, r)


@inlined
def _enlist(s: State, q, r):
    """Append `r` to the flexible residents of queue `q`, in order of admission."""
    tail = s.queues[q]["flexible_tail"]
    s.live[r]["flexible_prev"] = tail
    s.live[r]["flexible_next"] = NONE
    if tail != NONE:
        s.live[tail]["flexible_next"] = r
    s.queues[q]["flexible_tail"] = r


@inlined
def _delist(s: State, q, r):
    """Take `r` out of the flexible residents of queue `q`."""
    before = s.live[r]["flexible_prev"]
    after = s.live[r]["flexible_next"]
    if before != NONE:
        s.live[before]["flexible_next"] = after
    if after != NONE:
        s.live[after]["flexible_prev"] = before
    else:
        s.queues[q]["flexible_tail"] = before


@inlined
def _unlink(live, head, tail, r):
    """Head and tail of a linked list without `r`, which is in it."""
    after = live[r]["next"]
    if head == r:
        return after, (NONE if after == NONE else tail)
    at = head
    while live[at]["next"] != r:
        at = live[at]["next"]
    live[at]["next"] = after
    return head, (at if tail == r else tail)


@inlined
def _heap_push(s: State, g, finish_at, r):
    """Let `r` end at decode iteration `finish_at` of GPU `g`."""
    at = s.gpus[g]["heap_len"]
    s.gpus[g]["heap_len"] += 1
    _sift_up(s, g, at, finish_at, r)


@inlined
def _sift_up(s: State, g, at, finish_at, r):
    keys = s.finish_at[g]
    who = s.finish_who[g]
    while at > 0:
        up = (at - 1) // 2
        if keys[up] <= finish_at:
            break
        keys[at] = keys[up]
        who[at] = who[up]
        at = up
    keys[at] = finish_at
    who[at] = r


@inlined
def _heap_remove(s: State, g, at):
    """Take the entry at position `at` out of the heap of GPU `g`."""
    keys = s.finish_at[g]
    who = s.finish_who[g]
    size = s.gpus[g]["heap_len"] - 1
    s.gpus[g]["heap_len"] = size
    if at == size:
        return
    key = keys[size]
    r = who[size]
    while 2 * at + 1 < size:
        down = 2 * at + 1
        if down + 1 < size and keys[down + 1] < keys[down]:
            down += 1
        if key <= keys[down]:
            break
        keys[at] = keys[down]
        who[at] = who[down]
        at = down
    _sift_up(s, g, at, key, r)
