"""What the length model knows of a request: input tokens, turns, task, and what the tenant's earlier answers were like.

A tenant's history is kept by task, in logarithms of output tokens, and forgets slowly: it averages over the last `WINDOW` answers or so. An
answer enters it `lag_s` after its request arrived, when it may be taken as finished; nothing later is ever read. Young histories lean on the
tenant's mean over all tasks, and that on everybody's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caps_fast._jit import compiled, inlined
from caps_fast.arrays import Array
from caps_fast.workload.synthetic import TASKS

LENGTH_FEATURES = ("input_tokens", "turns", "task", "history_mean", "history_sd", "history_count")
WINDOW = 1000.0  # answers
LEAN = 5.0  # a young mean leans on the wider one as if that were so many answers

HISTORY = np.dtype([("mean", "f8"), ("square", "f8"), ("count", "f8")], align=True)
ANSWER = np.dtype([("arrival_s", "f8"), ("log_tokens", "f8"), ("tenant", "i4"), ("task", "i4")], align=True)


class Histories:
    """Running histories of tenants, carried from block to block: results do not depend on where blocks end.

    `by_task` HISTORY (tenants, tasks), `by_tenant` HISTORY (tenants,), `overall` HISTORY (1,); `pending` ANSWER: answers not yet known, a ring.
    """

    def __init__(self, lag_s: float) -> None:
        self.lag_s = lag_s
        self.by_task = np.zeros((0, len(TASKS)), HISTORY)
        self.by_tenant = np.zeros(0, HISTORY)
        self.overall = np.zeros(1, HISTORY)
        self.pending = np.zeros(1024, ANSWER)
        self.ring = np.zeros(2, np.int64)  # first, count

    def rows(self, block: Array) -> Array:
        """Features of every request of the block in turn, float64 (n, len(LENGTH_FEATURES)), taking its answers in."""
        rows = np.empty((len(block), len(LENGTH_FEATURES)))
        self.make_room(block)
        for column, name in enumerate(LENGTH_FEATURES[:3]):
            rows[:, column] = block[name]
        _fill(block, self.lag_s, (self.by_task, self.by_tenant, self.overall), self.pending, self.ring, rows[:, 3:])
        return rows

    def make_room(self, block: Array) -> None:
        """Room for the block's tenants and answers."""
        tenants = int(block["tenant"].max(initial=-1)) + 1
        if tenants > len(self.by_tenant):
            more = max(tenants, 2 * len(self.by_tenant)) - len(self.by_tenant)
            self.by_task = np.concatenate([self.by_task, np.zeros((more, len(TASKS)), HISTORY)])
            self.by_tenant = np.concatenate([self.by_tenant, np.zeros(more, HISTORY)])
        first, count = self.ring.tolist()
        if count + len(block) > len(self.pending):
            ring = np.zeros(2 * (count + len(block)), ANSWER)
            ring[:count] = self.pending[(first + np.arange(count)) % len(self.pending)]
            self.pending = ring
            self.ring[0] = 0


@inlined
def add(history: Any, log_tokens: float) -> None:
    """Take one answer in."""
    history["count"] = min(history["count"] + 1.0, WINDOW)
    share = 1.0 / history["count"]
    history["mean"] += share * (log_tokens - history["mean"])
    history["square"] += share * (log_tokens * log_tokens - history["square"])


@inlined
def learn(arrival_s: float, lag_s: float, histories: tuple[Array, Array, Array], pending: Array, ring: Array) -> None:
    """Take in the answers to requests that arrived by `arrival_s - lag_s`."""
    by_task, by_tenant, overall = histories
    size = pending.shape[0]
    while ring[1] > 0 and pending[ring[0]]["arrival_s"] <= arrival_s - lag_s:
        answer = pending[ring[0]]
        add(by_task[answer["tenant"], answer["task"]], answer["log_tokens"])
        add(by_tenant[answer["tenant"]], answer["log_tokens"])
        add(overall[0], answer["log_tokens"])
        ring[0] = ring[0] + 1 if ring[0] + 1 < size else 0
        ring[1] -= 1


@inlined
def await_answer(request: Any, pending: Array, ring: Array) -> None:
    """Note the answer to a request that arrives now, to be learnt later."""
    at = ring[0] + ring[1]
    answer = pending[at if at < pending.shape[0] else at - pending.shape[0]]
    answer["arrival_s"] = request["arrival_s"]
    answer["log_tokens"] = math.log(request["output_tokens"])
    answer["tenant"] = request["tenant"]
    answer["task"] = request["task"]
    ring[1] += 1


@inlined
def history_of(request: Any, histories: tuple[Array, Array, Array]) -> tuple[float, float, float]:
    """Mean, standard deviation and number of what the tenant's answers to this task have been, in log tokens."""
    by_task, by_tenant, overall = histories
    wide = by_tenant[request["tenant"]]
    narrow = by_task[request["tenant"], request["task"]]
    mean = (wide["count"] * wide["mean"] + LEAN * overall[0]["mean"]) / (wide["count"] + LEAN)
    mean = (narrow["count"] * narrow["mean"] + LEAN * mean) / (narrow["count"] + LEAN)
    variance = narrow["square"] - narrow["mean"] * narrow["mean"]
    return mean, math.sqrt(max(variance, 0.0)), narrow["count"]


@inlined
def histories_of(block: Array, first: int, known: Array, lag_s: float, histories: tuple[Array, Array, Array], pending: Array, ring: Array) -> None:
    """Fill `known` (n, 3) with the histories of the requests from `first` on, in order of arrival, and take their answers in."""
    for i in range(known.shape[0]):
        request = block[first + i]
        learn(request["arrival_s"], lag_s, histories, pending, ring)
        mean, sd, count = history_of(request, histories)
        known[i, 0] = mean
        known[i, 1] = sd
        known[i, 2] = count
        await_answer(request, pending, ring)


@compiled
def _fill(block: Array, lag_s: float, histories: tuple[Array, Array, Array], pending: Array, ring: Array, known: Array) -> None:
    """`histories_of` all requests of a block."""
    histories_of(block, 0, known, lag_s, histories, pending, ring)
