"""Duration and power of a replica's iterations (docs/model.md, sections 2 and 3)."""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined
from caps_fast.arrays import State
from caps_fast.reach import round_trip_s
from caps_fast.traits import has_clocks, has_origins, has_terms, of_many


@inlined
def kind_of(s: State, g: int) -> Any:
    """The row of the kind of replica `g`."""
    return s.kinds[s.gpus[g].kind if of_many(s) else 0]


@inlined
def prompt_of(s: State, r: int) -> int:
    """Prompt tokens of admitted request `r`: its input, and its output from before its KV was lost."""
    return s.live[r].input_tokens + s.live[r].output_tokens - s.live[r].decode_left


@inlined
def first_step_s(s: State, g: int) -> float:
    """Length of the first iteration of the leap of replica `g`, whose `decoding` and `chunk` are set."""
    kind = kind_of(s, g)
    gpu = s.gpus[g]
    if has_terms(s) and kind.overlap_exponent != 1.0:
        step_s = _overlapped_s(s, g)
    else:
        step_s = kind.decode_base_s + kind.decode_s_per_seq * gpu.decoding + kind.prefill_s_per_token * gpu.chunk
    per_context_token_s = _per_context_token_s(s, g)
    if per_context_token_s * gpu.decoding > 0.0:
        step_s += per_context_token_s * gpu.context_tokens
    if has_terms(s) and kind.prefill_s_per_token_pair > 0.0 and gpu.chunk > 0:
        step_s += kind.prefill_s_per_token_pair * _token_pairs(s, g)
    if has_clocks(s):
        step_s += stands_still_s(s, g)
    return step_s


@inlined
def stands_still_s(s: State, g: int) -> float:
    """Remaining stall of replica `g`, which is between iterations, for a change of its clock, s."""
    return max(s.standing[g].ready_s - s.clock[0].now_s, 0.0) if has_clocks(s) else 0.0


@inlined
def growth_s(s: State, g: int) -> float:
    """Increase in duration from one iteration of the leap of replica `g` to the next."""
    gpu = s.gpus[g]
    growth: float = _per_context_token_s(s, g) * gpu.decoding
    if has_terms(s):
        growth += kind_of(s, g).prefill_s_per_token_pair * gpu.chunk * gpu.chunk
    return growth


@inlined
def delay_s(s: State, g: int, r: int) -> float:
    """Delay from the production of a token on replica `g` to its receipt by the client of request `r`."""
    delay: float = kind_of(s, g).first_token_overhead_s if has_terms(s) else 0.0
    if has_origins(s):
        delay += round_trip_s(s, s.pools[s.gpus[g].pool].region, r)
    return delay


@inlined
def power_w(s: State, g: int) -> float:
    """Power of replica `g` in its leap."""
    gpu = s.gpus[g]
    kind = kind_of(s, g)
    by_members: float = s.power_w[kind.power_at + gpu.members]
    if has_clocks(s):
        if gpu.chunk > 0:
            prompts_s = kind.prefill_s_per_token * gpu.chunk
            by_members += (
                (s.prompt_w[kind.power_at + gpu.members] - by_members) * prompts_s / (kind.decode_base_s + prompts_s)
            )
    elif has_terms(s) and gpu.chunk > 0 and kind.prefill_w > by_members:
        prompts_s = kind.prefill_s_per_token * gpu.chunk
        by_members += (kind.prefill_w - by_members) * prompts_s / (kind.decode_base_s + prompts_s)
    return by_members


@inlined
def _overlapped_s(s: State, g: int) -> float:
    """Overhead plus the power mean of memory and compute time."""
    gpu = s.gpus[g]
    kind = kind_of(s, g)
    if gpu.chunk == 0:
        decoding_s: float = s.decode_s[kind.power_at + gpu.decoding]
        return decoding_s
    memory_s = kind.decode_base_s - kind.overhead_s
    compute_s = kind.decode_s_per_seq * gpu.decoding + kind.prefill_s_per_token * gpu.chunk
    longer = max(memory_s, compute_s)
    ratio = min(memory_s, compute_s) / longer
    return kind.overhead_s + longer * math.pow(
        1.0 + math.pow(ratio, kind.overlap_exponent), 1.0 / kind.overlap_exponent
    )


@inlined
def _per_context_token_s(s: State, g: int) -> float:
    per_token_s: float = kind_of(s, g).decode_s_per_context_token
    if has_terms(s) and s.gpus[g].chunk > 0:
        per_token_s += kind_of(s, g).mixed_s_per_context_token
    return per_token_s


@inlined
def _token_pairs(s: State, g: int) -> float:
    """Pairs of a prompt token that the first iteration takes and a token before it."""
    gpu = s.gpus[g]
    r = gpu.prompt_head
    tokens = gpu.chunk
    pairs = 0.0
    while tokens > 0:
        left = s.live[r].prompt_left
        taken = min(tokens, left)
        pairs += taken * (prompt_of(s, r) - left + 0.5 * taken)
        tokens -= taken
        r = s.live[r].next
    return pairs
