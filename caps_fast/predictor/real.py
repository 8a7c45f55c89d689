"""Learning from a request trace: who asked what, in which conversation, and what was answered.

A conversation stands in for the tenant where the file names none, for the earlier answers of a conversation say much about its next one. The
task comes from the system prompt, or, in ShareGPT, from the conversation's first message. What a file does not say stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from caps_fast import arrays, scenario
from caps_fast.arrays import Array
from caps_fast.traces import TraceFile, read_requests, sharegpt
from caps_fast.workload.streams import stream
from caps_fast.workload.synthetic import MAX_TURNS, TASKS
from caps_fast.workload.tasks import LOOK_AT, tasks_of_prompts


def requests_of(config: scenario.Scenario) -> tuple[Array, bool]:
    """The requests (REQUEST) of the scenario's trace in order, without estimates of their lengths, and whether the file has times.

    A tenant's tier is the file's or drawn by the tiers' shares; without times, gaps are drawn with mean 1 s. Raises InputError for a bad trace.
    """
    chosen = config.workload
    trace = read_requests(chosen.trace or "", chosen.trace_format, chosen.trace_columns or None, chosen.trace_time_unit)
    frame = trace.frame
    requests = np.zeros(len(frame), arrays.REQUEST)
    gaps_s = stream(config.seed, "arrivals").standard_exponential(len(frame))
    requests["arrival_s"] = frame["arrival_s"].to_numpy() if trace.timed else np.cumsum(gaps_s)
    requests["input_tokens"] = frame["input_tokens"].to_numpy()
    requests["output_tokens"] = frame["output_tokens"].to_numpy()
    who = next((name for name in ("tenant", "session") if name in frame.columns), None)
    if who:
        requests["tenant"] = frame[who].rank("dense").to_numpy() - 1
    requests["turns"] = _turns(frame)
    requests["task"] = tasks_of_prompts(texts) if (texts := _texts(trace)) else TASKS.index("unknown")
    if "tier" in frame.columns:
        requests["tier"] = [scenario.TIERS.index(tier) for tier in frame["tier"]]
    else:
        shares = [tier.share for tier in config.slo.all]
        requests["tier"] = stream(config.seed, "tenant_traits").choice(3, int(requests["tenant"].max()) + 1, p=shares)[requests["tenant"]]
        if who is None:
            requests["tier"] = stream(config.seed, "tenants").choice(3, len(frame), p=shares)
    requests["category"] = np.searchsorted(np.array(chosen.input_token_edges[1:3]), requests["input_tokens"], side="right")
    return requests, trace.timed


def _turns(frame: pl.DataFrame) -> Array:
    if "turns" in frame.columns:
        return frame["turns"].to_numpy()
    if "session" in frame.columns:
        return frame.select(turns=pl.int_range(1, pl.len() + 1).over("session").clip(1, MAX_TURNS))["turns"].to_numpy()
    return np.ones(len(frame), np.int16)


def _texts(trace: TraceFile) -> list[str]:
    """A text for every request that tells its task; empty where the file has none."""
    if "system_prompt" in trace.frame.columns:
        return trace.frame["system_prompt"].to_list()
    if trace.format != "sharegpt":
        return []
    first = dict(_openings(trace.path))
    return [first.get(session, "") for session in trace.frame["session"]]


def _openings(path: str) -> Iterator[tuple[str, str]]:
    """Identifier and beginning of the first human message of every ShareGPT conversation."""
    for number, item in enumerate(sharegpt._items(path, path, []), start=1):
        asked = next((message["value"] for message in item["conversations"] if message["from"] in ("human", "user")), "")
        yield str(item.get("id", number)), asked[:LOOK_AT]
