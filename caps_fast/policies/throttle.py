"""Throttle: the lowest clock at which a pool is expected to keep its SLOs, and the highest while requests wait for
a place.

After throttLL'eM (Kakolyris, Masouros, Vavaroutsos, Xydis, Soudris, HPCA 2025, arXiv 2408.05235): the time of an
iteration at a clock follows from the batch and its KV memory, the number of iterations that a request still needs from
its predicted length, and the lowest clock is chosen at which every present request keeps its limits. Differences here:
the time of an iteration is the kind's own, linear in members and context, where they learn it; a request that is late
at the highest clock too is ignored; and since clocks are set every `policy.scale_every_s` and not at each arrival, a
request of mean lengths of every tier that the pool has served is assumed to arrive.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import BUSY, FAILED, N_TIERS, NONE, State
from caps_fast.containers import decoders
from caps_fast.physics import iterations_until
from caps_fast.policies.load import waiting_for
from caps_fast.policy import policy, rules


@policy(layout="queueing", within={"slo_share": (0.0, math.inf)}, memory=[("tiers", "i8")], rows="pool")
class Throttle(NamedTuple):
    """Share of every limit that the expected time may fill."""

    slo_share: float = 0.9


class Work(NamedTuple):
    """Remaining work of a replica for a request up to its limits."""

    members: float  # of its iterations
    context_tokens: float  # of these
    prompt_tokens: float  # prompt tokens processed in the same iterations
    first: float  # iterations until its first token; 0 if it has that
    last: float  # and until its last


class Limits(NamedTuple):
    """Seconds from now until the limits of a request; inf without a limit."""

    first_s: float  # its first token, from arrival
    released_s: float  # and from release
    last_s: float  # its last token
    paced_s: float  # the same, for its time per token so far
    step_s: float  # an iteration


@rules.clock(Throttle)
def lowest_in_time(policy: Any, t_s: float, p: int, s: State) -> float:
    pool = s.strength[p]
    row = s.changes[pool.kind].first_clock
    if waiting_for(p, s) > 0.0:
        row = s.changes[pool.kind].end_clock - 1
    for g in range(pool.first_gpu, pool.end_gpu):
        gpu = s.gpus[g]
        done = _iterations_done(s, g, t_s)
        context_tokens = float(gpu.context_tokens + gpu.heap_len * done)
        for at in range(gpu.heap_len):
            r = decoders.who(s, g, at)
            produced = s.live[r].output_tokens - decoders.left(s, g, at) + done
            row = _row_for(policy, t_s, r, produced, context_tokens, g, row, s)
        r = gpu.prompt_head if gpu.prompt_tokens > 0 else gpu.joiner_head
        while r != NONE:
            row = _row_for(policy, t_s, r, s.live[r].output_tokens - s.live[r].decode_left, context_tokens, g, row, s)
            last_prompt = s.live[r].joined and s.live[r].next == NONE
            r = gpu.joiner_head if last_prompt else s.live[r].next
        if not s.standing[g].draining and gpu.state != FAILED:
            for tier in range(N_TIERS):
                if s.memory[p].tiers >> tier & 1:
                    row = _row_for_another(policy, tier, context_tokens, g, row, s)
    return s.changes[row].clock


@inlined
def _iterations_done(s: State, g: int, t_s: float) -> int:
    """Decode iterations of the leap of replica `g` that have ended."""
    gpu = s.gpus[g]
    if gpu.state != BUSY or gpu.decoding == 0 or gpu.leap_iterations == 1:
        return 0
    kind = s.kinds[gpu.kind]
    mixed_s = kind.mixed_s_per_context_token if gpu.chunk > 0 else 0.0
    growth_s = (
        kind.decode_s_per_context_token + mixed_s
    ) * gpu.decoding + kind.prefill_s_per_token_pair * gpu.chunk * gpu.chunk
    return iterations_until(t_s - gpu.since_s, gpu.step_s, growth_s) - 1


@inlined
def _row_for(policy: Any, t_s: float, r: int, produced: int, context_tokens: float, g: int, row: int, s: State) -> int:
    """The lowest clock from `row` on at which resident `r` of replica `g`, of which tokens are produced, is in time."""
    request = s.live[r]
    s.memory[s.gpus[g].pool].tiers |= 1 << request.tier
    left = max(request.predicted_tokens - produced, 1.0)
    prompt_tokens = float(s.gpus[g].prompt_counted)
    rounds = _rounds(prompt_tokens, g, s) if request.prompt_left > 0 else 1.0
    begun = not math.isnan(request.first_token_s)
    work = Work(
        float(s.gpus[g].residents), context_tokens, prompt_tokens, 0.0 if begun else rounds, rounds + left - 1.0
    )
    tier = s.tiers[request.tier]
    share = policy.slo_share
    limits = Limits(
        request.arrival_s + share * tier.ttft_s - t_s,
        request.released_s + share * tier.ttft_after_release_s - t_s,
        request.arrival_s + share * tier.e2e_s - t_s,
        request.first_token_s + share * tier.tpot_s * max(produced + left - 1.0, 1.0) - t_s if begun else math.inf,
        math.inf if begun else share * tier.tpot_s,
    )
    return _lowest(s, row, work, limits)


@inlined
def _row_for_another(policy: Any, tier: int, context_tokens: float, g: int, row: int, s: State) -> int:
    """The lowest clock from `row` on at which another request of a tier, of mean lengths, would be in time on
    replica `g`.
    """
    setup = s.setup[0]
    tier_row = s.tiers[tier]
    prompt_tokens = s.gpus[g].prompt_counted + setup.mean_input_tokens
    first = _rounds(prompt_tokens, g, s) + 0.5
    members = min(s.gpus[g].residents + 1.0, s.kinds[row].max_batch)
    work = Work(members, context_tokens, prompt_tokens, first, first + max(setup.mean_output_tokens - 1.0, 0.0))
    share = policy.slo_share
    limits = Limits(
        share * tier_row.ttft_s,
        share * tier_row.ttft_after_release_s,
        share * tier_row.e2e_s,
        math.inf,
        share * tier_row.tpot_s,
    )
    return _lowest(s, row, work, limits)


@inlined
def _rounds(prompt_tokens: float, g: int, s: State) -> float:
    """Iterations in which this many prompt tokens are processed."""
    chunk_tokens = s.kinds[s.gpus[g].kind].chunk_tokens
    return max(1.0, prompt_tokens / chunk_tokens) if chunk_tokens > 0 else 1.0


@inlined
def _lowest(s: State, row: int, work: Work, limits: Limits) -> int:
    """The lowest clock from `row` on that breaks no limit which the highest clock keeps."""
    highest = s.changes[row].end_clock - 1
    first_s, last_s, step_s = _expected_s(s, highest, work)
    by_first_s = min(
        limits.first_s if first_s <= limits.first_s else math.inf,
        limits.released_s if first_s <= limits.released_s else math.inf,
    )
    by_last_s = min(
        limits.last_s if last_s <= limits.last_s else math.inf, limits.paced_s if last_s <= limits.paced_s else math.inf
    )
    by_step_s = limits.step_s if step_s <= limits.step_s else math.inf
    while row < highest:
        first_s, last_s, step_s = _expected_s(s, row, work)
        if first_s <= by_first_s and last_s <= by_last_s and step_s <= by_step_s:
            break
        row += 1
    return row


@inlined
def _expected_s(s: State, row: int, work: Work) -> tuple[float, float, float]:
    """Seconds to the first token (0 if it has come), to the last one, and of an iteration, at a clock."""
    kind = s.kinds[row]
    step_s = (
        kind.decode_base_s
        + kind.decode_s_per_seq * work.members
        + kind.decode_s_per_context_token * work.context_tokens
    )
    prompts_s = kind.prefill_s_per_token * work.prompt_tokens
    return (prompts_s + work.first * step_s) if work.first > 0.0 else -math.inf, prompts_s + work.last * step_s, step_s
