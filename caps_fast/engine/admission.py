"""Admission control: whether an arrival that has to wait is queued or rejected (docs/model.md, section 12)."""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import State
from caps_fast.outlook import first_token_s, queueing_s, step_s


@inlined
def rejects(s: State, q: int, r: int) -> bool:
    """Would request `r`, if queued in `q`, exceed a limit of its tier?"""
    queue = s.queues[q]
    request = s.live[r]
    limits = s.limits[request.tier]
    if queue.waiting >= limits.waiting or queue.waiting_prompt_tokens + request.input_tokens > limits.waiting_tokens:
        return True
    return limits.ttft_s < math.inf and predicted_ttft_s(s, q, request.input_tokens) > limits.ttft_s


@inlined
def predicted_ttft_s(s: State, q: int, input_tokens: int) -> float:
    """Expected time to the first token of a request that joins queue `q` now, with its gate open."""
    queue = s.queues[q]
    present = min(queue.residents + queue.waiting, queue.slots)
    prompt_tokens = queue.prompt_tokens + queue.waiting_prompt_tokens
    found: float = first_token_s(s, q, input_tokens, prompt_tokens, step_s(s, q, present), queueing_s(s, q))
    return found
