"""From a scenario to the arrays of its sessions (docs/model.md, section 14)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caps_fast import records, scenario
from caps_fast.arrays import State
from caps_fast.crowd import Crowd, Session, Thinking
from caps_fast.errors import InputError
from caps_fast.habits import LAWS, Habits

LEAST_PAUSE_S = 0.1  # mean pause of users who can be rejected


def session_rows(config: scenario.Scenario) -> dict[str, Any]:
    """Fields of `arrays.State` by name; users pause at t = 0.

    Raises InputError for a context that exceeds the memory of the replicas, and for rejected users who return at once.
    """
    if not config.workload.has_sessions:
        nobody = {"sessions": records.zeros(Session, 0), "thinking": records.zeros(Thinking, 0)}
        none = {name: np.zeros(0, kind) for name, kind in (("spare", np.uint32), ("session_of", np.int32))}
        return {"crowd": records.zeros(Crowd, 1), "tokens": np.zeros((2, 0)), **nobody, **none}
    from caps_fast.workload.session_kinds import (  # noqa: PLC0415 - brings SciPy
        CELLS,
        kinds_of,
        session_seed,
        streams_of,
        users_of,
    )

    kinds = kinds_of(config)
    crowd = records.zeros(Crowd, len(kinds))
    for row, kind in zip(crowd, kinds, strict=True):
        where = f"{config.workload.file}: clients.{kind.group.name}" if kind.group else "workload"
        _expect_memory(config, kind.habits, where)
        _expect_pause(config, kind.habits, where)
        _set_habits(row, kind.habits, kind.predictability, config)
    users = users_of(config, kinds)
    people, thinking = records.zeros(Session, len(users)), records.zeros(Thinking, len(users))
    spare = np.zeros(len(users), np.uint32)
    people["number"], people["kind"] = np.arange(len(users)), -1 - users["turns"]
    for name in ("tenant", "tier", "task", "origin"):
        people[name] = users[name]
    first, due_s = crowd[0], users["arrival_s"]
    first["seed"] = session_seed(config)
    people["stream"] = streams_of(session_seed(config), people["number"])
    first["started"] = first["used"] = len(people)
    order = np.argsort(due_s, kind="stable")
    comes = order[due_s[order] < config.horizon_s]
    first["thinking"], first["spare"] = len(comes), len(people) - len(comes)
    thinking["session"][: len(comes)], thinking["due_s"][: len(comes)] = comes, due_s[comes]  # sorted: a heap
    spare[: len(people) - len(comes)] = order[len(comes) :]
    tokens = np.concatenate([kind.tokens for kind in kinds])
    assert tokens.shape == (2 * len(kinds), CELLS + 1)
    found = {"crowd": crowd, "sessions": people, "thinking": thinking, "spare": spare, "tokens": tokens}
    return {**found, "session_of": np.zeros(0, np.int32)}


def _set_habits(row: Any, own: Habits, predictability: float, config: scenario.Scenario) -> None:
    workload = config.workload
    row["goes_on"], row["turns"] = 1.0 - 1.0 / own.turns_mean, int(own.turns_mean) if own.turns_law == "fixed" else 0
    row["think_law"], row["think_s"] = LAWS.index(own.think_law), own.think_s
    row["think_log_sd"] = math.sqrt(math.log1p(own.think_cv**2))
    row["think_log_mean"] = math.log(max(own.think_s, 1e-9)) - 0.5 * row["think_log_sd"] ** 2
    row["pause_s"] = own.mean_pause_s
    row["explained"], row["rest"] = math.sqrt(predictability), math.sqrt(1.0 - predictability)
    row["most_context_tokens"], row["most_output_tokens"] = own.max_context_tokens, workload.max_output_tokens
    row["long_from_tokens"], row["agentic_from_tokens"] = workload.input_token_edges[1:3]
    row["closed"] = own.users is not None


def with_seats(state: State, incoming: int) -> State:
    """The same simulation with room for at least `incoming` more sessions."""
    used, spare, room = int(state.crowd[0]["used"]), int(state.crowd[0]["spare"]), len(state.sessions)
    missing = incoming - (spare + room - used)
    if missing <= 0:
        return state
    size = room + max(missing, room, 1024)
    own: dict[str, Any] = {}
    for name in ("sessions", "thinking", "spare"):
        old = getattr(state, name)
        own[name] = np.zeros(size, old.dtype)
        own[name][:room] = old
    return state._replace(**own)


def _expect_pause(config: scenario.Scenario, own: Habits, where: str) -> None:
    """Raise InputError where rejected users come back at once, up to a thousand times a second while the queue is
    full.
    """
    limited = config.admission is not None and config.admission.limits
    if limited and own.users is not None and own.mean_pause_s < LEAST_PAUSE_S:
        name = "think_s" if own.pause_s is None else "pause_s"
        raise InputError(
            f"{where}.sessions.{name} {own.mean_pause_s:g}: with limits of admission, a rejected user comes back after "
            f"a pause; expected at least {LEAST_PAUSE_S:g} s"
        )


def _expect_memory(config: scenario.Scenario, own: Habits, where: str) -> None:
    """Raise InputError where the longest prompt with the longest answer does not fit the memory of a replica."""
    longest = config.workload.max_output_tokens
    kinds = zip(config.fleet.pools, config.fleet.kind_of, strict=True)
    limits = {pool.gpu: kind.kv_capacity_tokens for pool, kind in kinds if kind.kv_capacity_tokens}
    for name, capacity in limits.items():
        if own.max_context_tokens + longest > capacity:
            raise InputError(
                f"{where}.sessions.max_context_tokens {own.max_context_tokens}: with answers of up to {longest} "
                "tokens (workload.max_output_tokens) "
                f"it does not fit {name}'s kv_capacity_tokens {capacity}; expected a context of at most "
                f"{max(capacity - longest, 0)}"
            )
