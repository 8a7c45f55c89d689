"""Checks of the lines of waiting requests in a saved state (`saved_state`; docs/model.md, section 13)."""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast.arrays import BUSY, NONE, State
from caps_fast.records import Array
from caps_fast.soundness import expect, expect_equal
from caps_fast.traits import fair


def lines_of(state: State) -> tuple[str, Any, int]:
    """The array that waiting requests are linked from: its name, its rows, and the number of rows per queue."""
    return ("lines", state.lines, int(state.fairness[0]["owners"])) if fair(state) else ("queues", state.queues, 1)


def expect_lines(state: State, live: Array) -> None:
    """Raise Unsound for inconsistent counters, owners in line or counted iterations, before links are followed."""
    if not fair(state):
        return
    owners, lines, turns = int(state.fairness[0]["owners"]), state.lines, state.turns
    if state.fairness[0]["by_tenant"]:
        expect(live["tenant"] < owners, "live.tenant", live["tenant"])
    expect(np.isfinite(lines["counter"]) & (lines["counter"] >= 0), "lines.counter", lines["counter"])
    expect((turns["last_left"] >= NONE) & (turns["last_left"] < owners), "turns.last_left", turns["last_left"])
    waits = lines["waiting"].reshape(-1, owners) > 0
    expect_equal("turns.owners", turns["owners"], waits.sum(axis=1))
    for q, (count, of_queue) in enumerate(zip(turns["owners"].tolist(), waits, strict=True)):
        here = state.in_line[q * owners : q * owners + count]
        expect_equal("in_line", np.sort(here), np.flatnonzero(of_queue))
        expect_equal("lines.place", lines["place"][q * owners + here.astype(np.int64)], np.arange(count))
    busy = (state.gpus["state"] == BUSY) & (state.gpus["decoding"] > 0)
    most = np.where(busy, state.gpus["leap_iterations"], 0)
    expect((state.charged >= 0) & (state.charged <= most), "charged", state.charged)


def expect_owners(state: State, waiting: Array, line: Array) -> None:
    """Raise Unsound if a waiting request is in another owner's line, or if a line's count is wrong."""
    if not fair(state):
        return
    owner = state.live["tenant" if state.fairness[0]["by_tenant"] else "tier"][waiting]
    expect_equal("lines", line % int(state.fairness[0]["owners"]), owner)
    expect_equal("lines.waiting", state.lines["waiting"], np.bincount(line, minlength=len(state.lines)))
