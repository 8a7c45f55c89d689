"""Features of the length model: input tokens, turns, task, and the tenant's earlier answers.

A tenant's history is kept by task, in logarithms of output tokens, and forgets slowly: it averages over about the last
`WINDOW` answers. An answer may enter it `lag_s` after its request arrived, when it may be assumed finished, together
with all others of a twentieth of the lag; nothing later is read. Young histories are shrunk to the tenant's mean over
all tasks, and that to the mean of all tenants.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from caps_fast._jit import compiled, inlined
from caps_fast.memory import aligned, on_own_lines
from caps_fast.records import Array
from caps_fast.workload.synthetic import TASKS

LENGTH_FEATURES = ("input_tokens", "turns", "task", "history_mean", "history_sd", "history_count")
WINDOW = 1000.0  # answers
REFRESHES = (
    20  # per lag: answers enter together this often, since single updates come at times that branch prediction misses
)
LEAN = 5.0  # answers that the wider mean counts as when a young mean is shrunk to it

HISTORY = np.dtype([("mean", "f8"), ("square", "f8"), ("count", "f8")], align=True)
ANSWER = np.dtype([("arrival_s", "f8"), ("log_tokens", "f8"), ("tenant", "i4"), ("task", "i4")], align=True)


class Known(NamedTuple):
    """Histories of tenants, and the answers that have not entered them yet."""

    lag_s: float
    by_task: Array  # HISTORY (tenants, tasks)
    by_tenant: Array  # HISTORY (tenants,)
    overall: Array  # HISTORY (1,)
    pending: Array  # ANSWER, a ring
    ring: Array  # int64: first, count


class Histories:
    """Running histories of tenants, carried from block to block: results do not depend on where blocks end."""

    def __init__(self, lag_s: float) -> None:
        by_task = np.zeros((0, len(TASKS)), HISTORY)
        self.known = Known(
            lag_s, by_task, np.zeros(0, HISTORY), aligned(1, HISTORY), aligned(1024, ANSWER), aligned(2, np.int64)
        )

    def rows(self, block: Array) -> Array:
        """Features of every request of the block in turn, float64 (n, len(LENGTH_FEATURES)); its answers enter the
        histories.
        """
        rows = np.empty((len(block), len(LENGTH_FEATURES)))
        for column, name in enumerate(LENGTH_FEATURES[:3]):
            rows[:, column] = block[name]
        self.make_room(block)
        _fill(block, np.log(block["output_tokens"]), self.known, rows[:, 3:])
        return rows

    def make_room(self, block: Array) -> None:
        """Room for the block's tenants and answers."""
        known = self.known
        tenants = int(block["tenant"].max(initial=-1)) + 1
        if tenants > len(known.by_tenant):
            more = max(tenants, 2 * len(known.by_tenant)) - len(known.by_tenant)
            by_task = np.concatenate([known.by_task, np.zeros((more, len(TASKS)), HISTORY)])
            by_tenant = np.concatenate([known.by_tenant, np.zeros(more, HISTORY)])
            known = known._replace(by_task=on_own_lines(by_task), by_tenant=on_own_lines(by_tenant))
        first, count = known.ring.tolist()
        if count + len(block) > len(known.pending):
            pending = np.zeros(2 * (count + len(block)), ANSWER)
            pending[:count] = known.pending[(first + np.arange(count)) % len(known.pending)]
            known = known._replace(pending=pending, ring=on_own_lines(np.array([0, count])))
        self.known = known


@inlined
def add(history: Any, log_tokens: float) -> float:
    """Add one answer: moves the mean and returns the share of the way."""
    history["count"] = min(history["count"] + 1.0, WINDOW)
    share: float = 1.0 / history["count"]
    history["mean"] += share * (log_tokens - history["mean"])
    return share


@inlined
def learn(answer: Any, known: Known) -> None:
    """Add the answer to a request."""
    narrow = known.by_task[answer["tenant"], answer["task"]]
    share = add(narrow, answer["log_tokens"])
    narrow["square"] += share * (answer["log_tokens"] * answer["log_tokens"] - narrow["square"])
    add(known.by_tenant[answer["tenant"]], answer["log_tokens"])
    add(known.overall[0], answer["log_tokens"])


@inlined
def history_of(request: Any, known: Known) -> tuple[float, float, float]:
    """Mean, standard deviation and number of the tenant's answers to this task, in log tokens."""
    wide = known.by_tenant[request["tenant"]]
    narrow = known.by_task[request["tenant"], request["task"]]
    mean = (wide["count"] * wide["mean"] + LEAN * known.overall[0]["mean"]) / (wide["count"] + LEAN)
    mean = (narrow["count"] * narrow["mean"] + LEAN * mean) / (narrow["count"] + LEAN)
    variance = narrow["square"] - narrow["mean"] * narrow["mean"]
    return mean, math.sqrt(max(variance, 0.0)), narrow["count"]


@inlined
def histories_of(block: Array, answers: Array, known: Known, first: int, rows: Array) -> None:
    """Fill `rows` (n, 3) with the histories of the requests from `first` on, in order of arrival.

    Their `answers`, the logarithms of the block's output tokens, are stored, to enter the histories `lag_s` after the
    arrival, at the next refresh.
    """
    pending = known.pending
    refresh_s = known.lag_s / REFRESHES
    size = np.uint32(pending.shape[0])
    oldest = np.uint32(known.ring[0])
    waiting = known.ring[1]
    for i in range(rows.shape[0]):
        request = block[first + i]
        until_s = request["arrival_s"] - known.lag_s
        if refresh_s > 0.0:
            until_s = min(until_s, math.floor(until_s / refresh_s) * refresh_s)
        while waiting > 0 and pending[oldest]["arrival_s"] <= until_s:
            learn(pending[oldest], known)
            oldest = np.uint32(oldest + 1 if oldest + 1 < size else 0)
            waiting -= 1
        mean, sd, count = history_of(request, known)
        rows[i, 0] = mean
        rows[i, 1] = sd
        rows[i, 2] = count
        at = oldest + waiting
        answer = pending[at if at < size else at - size]
        answer["arrival_s"] = request["arrival_s"]
        answer["log_tokens"] = answers[first + i]
        answer["tenant"] = request["tenant"]
        answer["task"] = request["task"]
        waiting += 1
    known.ring[0] = oldest
    known.ring[1] = waiting


@compiled
def _fill(block: Array, answers: Array, known: Known, rows: Array) -> None:
    """`histories_of` all requests of a block."""
    histories_of(block, answers, known, 0, rows)
