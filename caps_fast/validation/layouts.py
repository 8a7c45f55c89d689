"""Request files of benchmarks: GuideLLM, AIPerf, vLLM's `bench serve --save-detailed`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from caps_fast.errors import InputError

COLUMNS = ("arrival_s", "input_tokens", "output_tokens", "ttft_s", "e2e_s")
KNOWN = "GuideLLM's report, vLLM's result saved with --save-detailed, or AIPerf's profile_export.jsonl"
SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

Row = tuple[Any, Any, Any, Any, Any] | None  # the values of COLUMNS; None = the request failed


def requests_of(path: str, documents: list[Any], benchmark: int | None) -> tuple[pl.DataFrame, int]:
    """The served requests of a benchmark's file, one row each (`row` from 1, and `COLUMNS`), and the number of others.

    Raises InputError if the layout is unknown, or a field is missing or not a number.
    """
    tables = _tables(path, documents)
    if not tables:
        raise InputError(f"{path}: no benchmarks: expected one or more")
    if benchmark is None and len(tables) > 1:
        raise InputError(
            f"{path}: {len(tables)} benchmarks: expected --benchmark with a number from 1 to {len(tables)}"
        )
    if benchmark is not None and not 1 <= benchmark <= len(tables):
        raise InputError(
            f"--benchmark {benchmark}: {path} has {len(tables)}; expected a number from 1 to {len(tables)}"
        )
    rows = [*tables[(benchmark or 1) - 1]]
    served = [(number, *row) for number, row in enumerate(rows, 1) if row is not None]
    for number, *values in served:
        for name, value in zip(COLUMNS, values, strict=True):
            _expect_number(path, number, name, value)
    schema = {"row": pl.Int64, **dict.fromkeys(COLUMNS, pl.Float64)}
    floats = [(number, *map(float, values)) for number, *values in served]
    return pl.DataFrame(floats, schema=schema, orient="row"), len(rows) - len(served)


def _expect_number(path: str, number: int, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{path}: request {number}: {name} {str(value)[:100]!r}: expected a number")


def _tables(path: str, documents: list[Any]) -> list[Iterable[Row]]:
    """The rows of every benchmark in a file."""
    first = documents[0] if documents and isinstance(documents[0], dict) else {}
    if {"metadata", "metrics"} <= first.keys():
        return [(_aiperf(path, number, record) for number, record in enumerate(documents, 1) if _is_profiled(record))]
    if len(documents) == 1 and isinstance(first.get("benchmarks"), list):
        return [_guidellm(path, one) for one in first["benchmarks"]]
    if {"input_lens", "output_lens", "ttfts"} <= first.keys():
        return [_vllm(path, one) for one in documents]
    if "experiments" in first:
        raise InputError(f"{path}: genai-perf's raw export has no token counts: expected AIPerf's profile_export.jsonl")
    if "ttfts" not in first and "mean_ttft_ms" in first:
        raise InputError(f"{path}: a summary without requests: expected a result that vLLM saved with --save-detailed")
    raise InputError(f"{path}: no layout of requests is known with {_keys(first)}: expected {KNOWN}")


def _keys(found: Mapping[str, Any]) -> str:
    return f"the keys {', '.join(map(str, found))[:200]}" if found else "no keys"


def _vllm(path: str, result: Any) -> Iterable[Row]:
    """Parallel lists, one entry per request; E2E is TTFT plus all gaps after it."""
    names = ("start_times", "input_lens", "output_lens", "ttfts", "itls")
    for name in names:
        if not isinstance(result, dict) or not isinstance(result.get(name), list):
            extra = ", which newer versions of vLLM write" if name == "start_times" else ""
            raise InputError(f"{path}: {name} is missing: expected a list with one entry per request{extra}")
    errors = result.get("errors") or [""] * len(result["ttfts"])
    if not isinstance(errors, list):
        raise InputError(f"{path}: errors {str(errors)[:100]!r}: expected a list with one entry per request")
    lengths = {name: len(result[name]) for name in names} | {"errors": len(errors)}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: lists of different lengths ({lengths}): expected one entry per request in each")
    for start_s, inputs, outputs, ttft_s, gaps_s, failed in zip(*(result[name] for name in names), errors, strict=True):
        if failed or not outputs:
            yield None
            continue
        try:
            yield start_s, inputs, outputs, ttft_s, ttft_s + sum(gaps_s)
        except TypeError:
            raise InputError(f"{path}: itls {str(gaps_s)[:100]!r}: expected a list of seconds") from None


def _guidellm(path: str, benchmark: Any) -> Iterable[Row]:
    """Requests by outcome; incomplete and failed ones are not served."""
    requests = benchmark.get("requests") if isinstance(benchmark, dict) else None
    if not isinstance(requests, dict) or not isinstance(requests.get("successful"), list):
        raise InputError(f"{path}: requests.successful is missing: expected GuideLLM's report with its requests")
    for number, request in enumerate(requests["successful"], 1):
        start_s = _first(
            request,
            "request_start_time",
            "start_time",
            "info.timings.request_start",
            "scheduler_info.request_timings.request_start",
        )
        latency_s, end_s = _first(request, "request_latency"), _first(request, "request_end_time", "end_time")
        if latency_s is None and None not in (start_s, end_s):
            for name, value in (("start_time", start_s), ("end_time", end_s)):
                _expect_number(path, number, name, value)
            latency_s = end_s - start_s
        ttft_ms = _first(request, "time_to_first_token_ms")
        row = (
            start_s,
            _first(request, "prompt_tokens", "input_metrics.total_tokens"),
            _first(request, "output_tokens", "output_metrics.total_tokens"),
        )
        if ttft_ms is None or latency_s is None or None in row:
            lacking = dict(zip(COLUMNS, (*row, ttft_ms, latency_s), strict=True))
            name = next(name for name, value in lacking.items() if value is None)
            raise InputError(
                f"{path}: request {number}: {name} is missing: expected a streamed text request of GuideLLM"
            )
        _expect_number(path, number, "time_to_first_token_ms", ttft_ms)
        yield *row, ttft_ms / 1e3, latency_s
    for outcome in ("incomplete", "errored"):
        others = requests.get(outcome) or []
        if not isinstance(others, list):
            raise InputError(f"{path}: requests.{outcome} {str(others)[:100]!r}: expected a list")
        yield from (None for _ in others)


def _aiperf(path: str, number: int, record: Any) -> Row:
    """A record's start in nanoseconds; its metrics state their unit."""
    metrics = record.get("metrics") or {}
    if not isinstance(metrics, dict):
        raise InputError(f"{path}: line {number}: metrics {str(metrics)[:100]!r}: expected an object")
    if record.get("error") or _first(record, "metadata.was_cancelled") or "time_to_first_token" not in metrics:
        return None
    start_ns = _first(record, "metadata.request_start_ns")
    values = [
        _aiperf_value(path, number, metrics, name) for name in ("input_sequence_length", "output_sequence_length")
    ]
    times = [_aiperf_value(path, number, metrics, name, "ms") for name in ("time_to_first_token", "request_latency")]
    if isinstance(start_ns, bool) or not isinstance(start_ns, int | float):
        raise InputError(
            f"{path}: line {number}: metadata.request_start_ns {str(start_ns)[:50]!r}: expected nanoseconds"
        )
    return start_ns / 1e9, *values, *times  # type: ignore[return-value]


def _aiperf_value(path: str, number: int, metrics: Mapping[str, Any], name: str, unit: str | None = None) -> float:
    found = metrics.get(name)
    value = found.get("value") if isinstance(found, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{path}: line {number}: metrics.{name} {str(found)[:100]!r}: expected a value")
    if unit is None:
        return float(value)
    told = found.get("unit", unit) if isinstance(found, dict) else unit
    if not isinstance(told, str) or told not in SECONDS:
        raise InputError(
            f"{path}: line {number}: metrics.{name}: unit {str(told)[:50]!r}: expected one of {', '.join(SECONDS)}"
        )
    return float(value) * SECONDS[told]


def _is_profiled(record: Any) -> bool:
    """Whether a record of AIPerf belongs to the measured phase; requests of the warm-up do not."""
    if not isinstance(record, dict):
        return False
    return _first(record, "metadata.benchmark_phase") in (None, "profiling")


def _first(found: Any, *paths: str) -> Any:
    """The first of these dotted fields that exists and is not null."""
    for path in paths:
        value = found
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None
