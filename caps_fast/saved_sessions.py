"""Checks of the sessions of a saved state (`saved_state`; docs/model.md, section 14)."""

from __future__ import annotations

import numpy as np

from caps_fast.arrays import N_TIERS, NONE, State
from caps_fast.records import Array
from caps_fast.soundness import expect, expect_equal
from caps_fast.traits import sessions
from caps_fast.workload.synthetic import TASKS

CHANGING = ("started", "used", "spare", "thinking", "full")


def expect_sessions(state: State, fresh: State, is_live: Array) -> None:
    """Raise Unsound if a session is in two places or in none, or its next turn is in the past."""
    crowd, rows = state.crowd[0], state.sessions
    if not sessions(state):
        expect_equal("crowd", state.crowd, fresh.crowd)
        expect_equal("sessions", len(rows), 0)
        return
    expect_equal("crowd", len(state.crowd), len(fresh.crowd))
    for name in fresh.crowd.dtype.names or ():
        if name not in CHANGING:
            expect_equal(f"crowd.{name}", state.crowd[name], fresh.crowd[name])
    used, spare, thinking = (int(crowd[name]) for name in ("used", "spare", "thinking"))
    for name, size in (("thinking", len(rows)), ("spare", len(rows)), ("session_of", len(is_live))):
        expect_equal(name, len(getattr(state, name)), size)
    expect(
        np.array([0 <= used <= len(rows), 0 <= spare <= used, 0 <= thinking <= used]),
        "crowd.used",
        np.array([used, spare, thinking]),
    )
    answering = state.session_of[is_live]
    places = np.concatenate(
        [state.thinking["session"][:thinking], state.spare[:spare], answering[answering != NONE]]
    ).astype(np.int64)
    expect_equal("sessions", np.sort(places), np.arange(used))
    found = rows[:used]
    most = {
        "tenant": 2**31 - 1,
        "kind": len(fresh.crowd) - 1,
        "origin": len(fresh.origins) - 1,
        "tier": N_TIERS - 1,
        "task": len(TASKS) - 1,
        "number": int(crowd["started"]) - 1,
    }
    most |= {"drawn": 2**59, "turn": 2**31 - 2, "context_tokens": 2**40}
    for name, last in most.items():
        expect((found[name] >= 0) & (found[name] <= last), f"sessions.{name}", found[name])
    due_s, at = state.thinking["due_s"][:thinking], np.arange(1, thinking)
    expect((due_s >= state.clock[0]["now_s"]) & (due_s < state.setup[0]["horizon_s"]), "sessions.due_s", due_s)
    expect(due_s[at] >= due_s[(at - 1) // 4], "thinking", due_s[at])
