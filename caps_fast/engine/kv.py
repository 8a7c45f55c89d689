"""KV memory: reserved at admission, or allocated block by block as sequences grow (docs/model.md, section 2).

Where it grows, `kv_tokens` of a replica is what prompts, joiners and claims hold in the first iteration of its leap, or
in the next one, without what prompts add in it. Its decoding sequences hold their context in whole blocks; the growth
is computed from `phases`, which counts them by their context minus the replica's iteration counter, modulo a block. A
block is a power of two because the counter wraps around. All of this is computed only where memory may be short.
"""

from __future__ import annotations

from caps_fast._jit import inlined
from caps_fast.arrays import BUSY, State
from caps_fast.containers import decoders
from caps_fast.engine.speed import growth_s, kind_of, prompt_of
from caps_fast.physics import iterations_until
from caps_fast.traits import grows


@inlined
def grows_on(s: State, g: int) -> bool:
    """Does KV memory grow block by block on replica `g`?"""
    return grows(s) and kind_of(s, g).kv_block_tokens > 0


@inlined
def at_admission(s: State, g: int, r: int) -> int:
    """KV tokens that request `r` takes when replica `g` admits it: its maximum need, or its first chunk."""
    if grows_on(s, g):
        return _blocks(s, g, _first_chunk(s, g, s.live[r].prompt_left))
    return s.live[r].input_tokens + s.live[r].output_tokens


@inlined
def held(s: State, g: int, r: int) -> int:
    """The share of resident `r` in the `kv_tokens` of replica `g`, which is between iterations: none where memory grows
    and `r` decodes or has finished.
    """
    request = s.live[r]
    if not grows_on(s, g):
        return request.input_tokens + request.output_tokens
    if request.prompt_left == 0:
        return 0
    prompt = prompt_of(s, r)
    return _blocks(s, g, max(_first_chunk(s, g, prompt), prompt - request.prompt_left))


@inlined
def fits(s: State, g: int, r: int) -> bool:
    """Does replica `g` have the KV memory to admit request `r` now, and to hold its maximum need?"""
    capacity = kind_of(s, g).kv_capacity_tokens
    if capacity == 0:
        return True
    whole = s.live[r].input_tokens + s.live[r].output_tokens
    if whole > capacity:
        return False
    beside = capacity - at_admission(s, g, r)
    if not grows_on(s, g):
        return s.gpus[g].kv_tokens <= beside
    return at_most(s, g, s.gpus[g].leap_iterations) <= beside or held_now(s, g) <= beside


@inlined
def held_now(s: State, g: int) -> int:
    """KV tokens in use on replica `g`, in the iteration in progress or in the next one."""
    gpu = s.gpus[g]
    if not grows_on(s, g):
        return gpu.kv_tokens
    if gpu.state == BUSY:
        return held_at(s, g, _in_progress(s, g))
    return gpu.kv_tokens + _prompts_add(s, g, budget(s, g), 0) + _decoders_hold(s, g, 0)


@inlined
def at_most(s: State, g: int, iterations: int) -> int:
    """Upper bound, cheap to compute, of what replica `g` holds within a number of iterations; sufficient where memory
    is ample.
    """
    gpu = s.gpus[g]
    kind = kind_of(s, g)
    decoding = gpu.context_tokens + gpu.heap_len * iterations
    return gpu.kv_tokens + decoding + gpu.residents * kind.kv_block_tokens + kind.chunk_tokens * iterations


@inlined
def fits_on(s: State, g: int, iteration: int) -> bool:
    """Does memory suffice up to an iteration (from 0) of the leap of replica `g`?"""
    if not grows_on(s, g):
        return True
    capacity = kind_of(s, g).kv_capacity_tokens
    return at_most(s, g, iteration + 1) <= capacity or held_at(s, g, iteration) <= capacity


@inlined
def held_at(s: State, g: int, iteration: int) -> int:
    """KV tokens in use in an iteration (from 0) of the leap of replica `g`."""
    gpu = s.gpus[g]
    added = _prompts_add(s, g, gpu.chunk, iteration * gpu.chunk)
    return gpu.kv_tokens + added + _decoders_hold(s, g, iteration if gpu.decoding > 0 else 0)


@inlined
def held_in_progress(s: State, g: int, r: int) -> int:
    """KV tokens of resident `r` in the iteration in progress of replica `g`."""
    request = s.live[r]
    if not grows_on(s, g):
        return request.input_tokens + request.output_tokens
    gpu = s.gpus[g]
    iteration = _in_progress(s, g)
    if request.prompt_left == 0:
        left = decoders.left(s, g, decoders.position(s, g, r))
        decoded = iteration if gpu.decoding > 0 else 0
        return _blocks(s, g, request.input_tokens + request.output_tokens - left + decoded)
    taken = 0
    if request.joined and kind_of(s, g).chunk_tokens > 0:
        tokens = gpu.chunk * (iteration + 1)
        other = gpu.prompt_head
        while other != r:
            tokens = max(tokens - s.live[other].prompt_left, 0)
            other = s.live[other].next
        taken = min(tokens, request.prompt_left)
    return max(held(s, g, r), _blocks(s, g, prompt_of(s, r) - request.prompt_left + taken))


@inlined
def _decoders_hold(s: State, g: int, iterations: int) -> int:
    """KV tokens of the decoding sequences of replica `g`, a number of iterations after the first of its leap: their
    context in whole blocks.
    """
    gpu = s.gpus[g]
    block = kind_of(s, g).kv_block_tokens
    iteration = gpu.iterations_done + iterations
    tokens = gpu.context_tokens + gpu.heap_len * iterations
    for phase in range(block):
        tokens += s.phases[g, phase] * (-(phase + iteration) & (block - 1))
    return tokens


@inlined
def starts_decoding(s: State, g: int, context_tokens: int, sequences: int) -> None:
    """Count sequences that begin (1) or stop (-1) decoding on replica `g` with this context."""
    if grows_on(s, g):
        block = kind_of(s, g).kv_block_tokens
        s.phases[g, (context_tokens - s.gpus[g].iterations_done) & (block - 1)] += sequences


@inlined
def budget(s: State, g: int) -> int:
    """Prompt tokens that the next iteration of replica `g` may take; without chunks, prompts hold all that they need
    from admission on.
    """
    chunk_tokens = kind_of(s, g).chunk_tokens
    return max(chunk_tokens - s.gpus[g].heap_len, 1) if chunk_tokens > 0 else 0


@inlined
def _in_progress(s: State, g: int) -> int:
    """Number, from 0, of the iteration of the leap of replica `g` that is in progress."""
    gpu = s.gpus[g]
    if gpu.leap_iterations == 1:
        return 0
    return iterations_until(s.clock[0].now_s - gpu.since_s, gpu.step_s, growth_s(s, g)) - 1


@inlined
def _prompts_add(s: State, g: int, tokens: int, before: int) -> int:
    """Additional KV tokens that prompts of replica `g` hold after taking this many tokens, `before` of which the first
    had taken.
    """
    gpu = s.gpus[g]
    added = 0
    if gpu.prompt_tokens > 0 and kind_of(s, g).chunk_tokens > 0:
        r = gpu.prompt_head
        tokens = min(tokens, gpu.prompt_tokens - before)
        while tokens > 0:
            left = s.live[r].prompt_left - before
            taken = min(tokens, left)
            now = prompt_of(s, r) - left + taken
            added += max(_blocks(s, g, now) - held(s, g, r), 0)
            tokens -= taken
            before = 0
            r = s.live[r].next
    return added


@inlined
def _first_chunk(s: State, g: int, prompt_tokens: int) -> int:
    chunk_tokens = kind_of(s, g).chunk_tokens
    return min(prompt_tokens, chunk_tokens) if chunk_tokens > 0 else prompt_tokens


@inlined
def _blocks(s: State, g: int, tokens: int) -> int:
    """Tokens rounded up to whole blocks."""
    block = kind_of(s, g).kv_block_tokens
    return (tokens + block - 1) & -block
