"""Admission for the reference engine (docs/model.md, section 12): who waits, and who is rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naive_state import Job, Queue
from naive_world import Limits

if TYPE_CHECKING:
    from naive import Engine


def rejects(engine: Engine, queue: Queue, job: Job, limits: Limits, planned: bool) -> bool:
    """Has an arrival to wait, and would that be beyond a limit?"""
    able = [gpu for gpu in queue.gpus if queue.open_in[id(gpu.region)] and engine.may_serve(gpu.region, job)]
    if not planned and queue.open and not queue.waiting and any(gpu.has_room(job) for gpu in able):
        return False
    tokens = queue.prompt_waiting + job.request.input_tokens
    return (
        len(queue.waiting) + 1 > limits.waiting
        or tokens > limits.waiting_tokens
        or predicted_ttft_s(engine, queue, job) > limits.ttft_s
    )


def predicted_ttft_s(engine: Engine, queue: Queue, job: Job) -> float:
    """From release to the first token, by the closed forms of section 7 with an open gate."""
    hw, gpus, setup = queue.gpus[0].hardware, len(queue.counted), engine.setup
    present = queue.residents + len(queue.waiting)
    service = (
        hw.prefill_s_per_token * setup.mean_input
        + (hw.decode_base_s + hw.decode_s_per_seq * hw.max_batch) * setup.mean_output
    )
    queueing = 0.0 if present < queue.slots else (len(queue.waiting) + 1) * service / queue.slots
    step = hw.decode_base_s + hw.decode_s_per_seq * min(1 + min(present, queue.slots) / gpus, hw.max_batch)
    ahead = job.request.input_tokens + (queue.prompt_admitted + queue.prompt_waiting) / gpus
    rounds = max(1.0, ahead / hw.chunk_tokens) if hw.chunk_tokens else 1.0
    return queueing + (rounds + 0.5) * step + hw.prefill_s_per_token * ahead
