"""Logs of requests in the layouts of several benchmarks, made from the same five requests, and logs that the
simulator writes itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from caps_fast.validation import Replay, RequestLog
from caps_fast.validation.replay import engine_scenario

EPOCH_S = 1.7e9
ROWS = [  # arrival_s, input_tokens, output_tokens, ttft_s, e2e_s
    (0.0, 100, 11, 0.05, 0.25),
    (0.5, 200, 1, 0.0625, 0.0625),
    (0.75, 50, 21, 0.0475, 0.4475),
    (1.25, 1000, 5, 0.125, 0.25),
    (3.0, 17, 2, 0.04, 0.055),
]


def csv_text(rows: list[tuple[Any, ...]] = ROWS) -> str:
    """Our own columns."""
    return (
        "\n".join(["arrival_s,input_tokens,output_tokens,ttft_s,e2e_s", *(",".join(map(str, row)) for row in rows)])
        + "\n"
    )


def vllm() -> dict[str, Any]:
    """What `vllm bench serve --save-result --save-detailed` writes, with one failed request."""
    itls = [[(e2e - ttft) / (out - 1)] * (out - 1) if out > 1 else [] for _, _, out, ttft, e2e in ROWS]
    return {
        "date": "20261129-100000",
        "backend": "vllm",
        "request_rate": 2.0,
        "completed": 5,
        "input_lens": [row[1] for row in ROWS] + [9],
        "output_lens": [row[2] for row in ROWS] + [0],
        "ttfts": [row[3] for row in ROWS] + [0.0],
        "itls": [*itls, []],
        "start_times": [40.0 + row[0] for row in ROWS] + [47.0],
        "generated_texts": [""] * 6,
        "errors": [""] * 5 + ["connection reset"],
    }


def guidellm(benchmarks: int = 1, flat: bool = False) -> dict[str, Any]:
    """GuideLLM's report: its requests with timings nested (versions from 0.4) or flat (before)."""
    requests = []
    for arrival_s, inputs, outputs, ttft_s, e2e_s in ROWS:
        start_s = EPOCH_S + arrival_s
        request = {
            "request_id": "a",
            "prompt_tokens": inputs,
            "output_tokens": outputs,
            "time_to_first_token_ms": 1e3 * ttft_s,
        }
        if flat:
            requests.append({**request, "start_time": start_s, "end_time": start_s + e2e_s})
        else:
            timings = {"request_start": start_s, "request_end": start_s + e2e_s}
            requests.append({**request, "request_latency": e2e_s, "info": {"timings": timings}})
    one = {"requests": {"successful": requests, "incomplete": [{"request_id": "b"}], "errored": []}}
    return {"metadata": {"version": 1}, "benchmarks": [one] * benchmarks}


def aiperf() -> str:
    """AIPerf's profile_export.jsonl: one warm-up request and one that was cancelled among the rest."""
    lines = []
    for arrival_s, inputs, outputs, ttft_s, e2e_s in ROWS:
        start_ns = int((EPOCH_S + arrival_s) * 1e9)
        metrics = {
            "time_to_first_token": {"value": 1e3 * ttft_s, "unit": "ms"},
            "request_latency": {"value": 1e3 * e2e_s, "unit": "ms"},
            "input_sequence_length": {"value": inputs, "unit": "tokens"},
            "output_sequence_length": {"value": outputs, "unit": "tokens"},
        }
        lines.append(
            {
                "metadata": {"request_start_ns": start_ns, "benchmark_phase": "profiling"},
                "metrics": metrics,
                "error": None,
            }
        )
    warm = json.loads(json.dumps(lines[0]))
    warm["metadata"]["benchmark_phase"] = "warmup"
    failed = {
        "metadata": {"request_start_ns": int(EPOCH_S * 1e9), "was_cancelled": True},
        "metrics": {"error_isl": {"value": 5, "unit": "tokens"}},
        "error": {"code": 499},
    }
    return "\n".join(json.dumps(line) for line in [warm, *lines, failed]) + "\n"


SPEED = {
    "prefill_s_per_token": 6e-5,
    "decode_base_s": 0.0125,
    "decode_s_per_seq": 6e-5,
    "decode_s_per_context_token": 9e-8,
    "overhead_s": 0.0025,
    "overlap_exponent": 3.0,
    "mixed_s_per_context_token": 8e-8,
    "prefill_s_per_token_pair": 3e-9,
    "first_token_overhead_s": 0.004,
    "lag_iterations": 1,
}
LIMITS = {
    "cluster.max_batch": 128,
    "cluster.chunk_tokens": 2048,
    "cluster.kv_capacity_tokens": 400_000,
    "cluster.kv": "grow",
}


def load(requests: int = 1000, rate_rps: float = 5.0, seed: int = 1) -> RequestLog:
    """Requests of many lengths that came at random, without times of an engine (all 0)."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1 / rate_rps, requests))
    inputs = np.clip(rng.lognormal(6, 1, requests), 8, 6000).astype(np.int64)
    outputs = np.clip(rng.lognormal(4.4, 0.8, requests), 1, 800).astype(np.int64)
    none = np.zeros(requests)
    return RequestLog("made", arrival_s - arrival_s[0], inputs, outputs, none, none)


def served(
    log: RequestLog, speed: Mapping[str, Any] = SPEED, limits: Mapping[str, Any] = LIMITS, replicas: int = 1
) -> RequestLog:
    """The log with the times of the simulator's own play."""
    played = Replay(log, engine_scenario(None, replicas, limits)).play(speed)
    return RequestLog(log.path, log.arrival_s, log.input_tokens, log.output_tokens, played.ttft_s, played.e2e_s)


def write_log(path: Path, log: RequestLog) -> Path:
    """A log as a file of our columns."""
    columns = (log.arrival_s, log.input_tokens, log.output_tokens, log.ttft_s, log.e2e_s)
    path.write_text(csv_text([tuple(row) for row in zip(*(column.tolist() for column in columns), strict=True)]))
    return path


def settings(limits: Mapping[str, Any] = LIMITS) -> list[str]:
    """Limits as options of a command."""
    return [word for name, value in limits.items() for word in ("--set", f"{name}={value}")]
