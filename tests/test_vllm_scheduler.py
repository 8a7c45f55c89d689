"""Growing KV memory beside vLLM V1's own scheduler, which admits nobody once a step's token budget is used up."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest

import engine_logs
from caps_fast.validation import Replay, RequestLog
from caps_fast.validation.replay import engine_scenario

SPEED = engine_logs.SPEED | {"lag_iterations": 0}
BLOCK = 16


def step_s(decoding: int, context: int, prompts: list[tuple[int, int]]) -> float:
    """Length of a step, with (tokens taken, tokens done before) of every prompt in it (docs/model.md, section 2)."""
    tokens = sum(taken for taken, _ in prompts)
    weights_s = SPEED["decode_base_s"] - SPEED["overhead_s"]
    compute_s = SPEED["decode_s_per_seq"] * decoding + SPEED["prefill_s_per_token"] * tokens
    exponent = SPEED["overlap_exponent"]
    per_context_s = SPEED["decode_s_per_context_token"] + SPEED["mixed_s_per_context_token"] * (tokens > 0)
    pairs = sum(taken * (done + taken / 2) for taken, done in prompts)
    overlapped_s = (weights_s**exponent + compute_s**exponent) ** (1 / exponent)
    return SPEED["overhead_s"] + overlapped_s + per_context_s * context + SPEED["prefill_s_per_token_pair"] * pairs


def vllm(log: RequestLog, max_batch: int, budget_tokens: int, capacity_tokens: int) -> dict[str, Any]:
    """Steps of vLLM V1: running requests first, then waiting ones; the last running gives way; no admission then."""
    total, produced, done, blocks = log.input_tokens.copy(), *np.zeros((3, len(log)), dtype=int)
    first_s, finished_s = np.full((2, len(log)), np.nan)
    waiting, running, coming = deque[int](), list[int](), deque(range(len(log)))
    free, now_s, preemptions, recomputed = capacity_tokens // BLOCK, 0.0, 0, 0
    while coming or waiting or running:
        if not (waiting or running):
            now_s = max(now_s, log.arrival_s[coming[0]])
        while coming and log.arrival_s[coming[0]] <= now_s:
            waiting.append(coming.popleft())
        budget, taken, short = budget_tokens, dict[int, int](), False
        for r in list(running):
            k = min(total[r] - done[r], budget)
            need = -(-(done[r] + k) // BLOCK) - blocks[r]
            while r in running and need > free:
                last, short = running.pop(), True
                waiting.appendleft(last)
                free, preemptions, recomputed = free + blocks[last], preemptions + 1, recomputed + done[last]
                blocks[last] = done[last] = 0
            if r not in running or budget == 0:
                break
            taken[r], budget, free, blocks[r] = k, budget - k, free - need, blocks[r] + need
        while waiting and not short and budget and len(running) < max_batch:
            r = waiting[0]
            k = min(total[r], budget)
            need = -(-k // BLOCK)
            if need > free:
                break
            running.append(waiting.popleft())
            taken[r], budget, free, blocks[r] = k, budget - k, free - need, need
        decoding = [r for r in taken if produced[r] and done[r] == total[r] - 1]
        now_s += step_s(
            len(decoding), int(total[decoding].sum()), [(k, done[r]) for r, k in taken.items() if r not in decoding]
        )
        for r, k in taken.items():
            done[r] += k
            if done[r] == total[r]:
                produced[r], total[r] = produced[r] + 1, total[r] + 1
                first_s[r] = now_s if produced[r] == 1 else first_s[r]
                if produced[r] == log.output_tokens[r]:
                    finished_s[r], free, blocks[r] = now_s, free + blocks[r], 0
                    running.remove(r)
    outside_s = SPEED["first_token_overhead_s"]
    latencies = {"ttft_s": first_s - log.arrival_s + outside_s, "e2e_s": finished_s - log.arrival_s + outside_s}
    return latencies | {"preemptions": preemptions, "recomputed_tokens": recomputed}


@pytest.mark.parametrize(
    ("rate_rps", "capacity_tokens", "spread"), [(3, 400_000, 1e-3), (3, 60_000, 0.02), (5, 60_000, 0.02)]
)
def test_mixed_prompts_in_short_memory(rate_rps: float, capacity_tokens: int, spread: float) -> None:
    rng = np.random.default_rng(1)
    arrival_s, long = np.cumsum(rng.exponential(1 / rate_rps, 400)), rng.random(400) < 0.2
    inputs = np.where(long, rng.integers(4000, 12000, 400), rng.integers(50, 800, 400))
    outputs = np.where(long, rng.integers(20, 200, 400), rng.integers(100, 700, 400))
    log = RequestLog("mixed", arrival_s - arrival_s[0], inputs, outputs, np.zeros(400), np.zeros(400))
    wanted = vllm(log, 128, 2048, capacity_tokens)
    limits = engine_logs.LIMITS | {"cluster.kv_capacity_tokens": capacity_tokens}
    played = Replay(log, engine_scenario(None, 1, limits)).play(SPEED)
    assert played.ttft_s.mean() == pytest.approx(wanted["ttft_s"].mean(), rel=spread)
    assert played.e2e_s.mean() == pytest.approx(wanted["e2e_s"].mean(), rel=spread)
    assert played.result.metrics["preemptions"] == pytest.approx(wanted["preemptions"], rel=0.1)
    assert played.result.metrics["recomputed_tokens"] == pytest.approx(wanted["recomputed_tokens"], rel=0.02)
    assert (capacity_tokens < 100_000) == (wanted["preemptions"] > 100)
