"""From a scenario to the arrays of its sessions (docs/model.md, section 14)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caps_fast import records, scenario, sessions
from caps_fast.arrays import State
from caps_fast.crowd import Crowd, Session, Thinking
from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.workload.conversations import CELLS, sessions_of, tokens_of
from caps_fast.workload.streams import stream
from caps_fast.workload.synthetic import tenants


def session_rows(config: scenario.Scenario) -> dict[str, Any]:
    """Fields of `arrays.State` by name; users pause at t = 0.

    Raises InputError for a context that exceeds the memory of the replicas.
    """
    crowd = records.zeros(Crowd, 1)
    none = {name: np.zeros(0, kind) for name, kind in (("spare", np.uint32), ("session_of", np.int32))}
    if config.workload.sessions is None:
        who = {"tenant_share": np.zeros(0), "tenant_tier": np.zeros(0, np.int8), "tenant_task": np.zeros(0, np.int8)}
        return {
            "crowd": crowd,
            "sessions": records.zeros(Session, 0),
            "thinking": records.zeros(Thinking, 0),
            "tokens": np.zeros((2, 0)),
            **none,
            **who,
        }
    own, workload, row = sessions_of(config), config.workload, crowd[0]
    _expect_memory(config)
    row["seed"] = int(stream(config.seed, "sessions").integers(0, 2**63 - 1))
    row["goes_on"], row["turns"] = 1.0 - 1.0 / own.turns_mean, int(own.turns_mean) if own.turns_law == "fixed" else 0
    row["think_law"], row["think_s"] = sessions.LAWS.index(own.think_law), own.think_s
    row["think_log_sd"] = math.sqrt(math.log1p(own.think_cv**2))
    row["think_log_mean"] = math.log(max(own.think_s, 1e-9)) - 0.5 * row["think_log_sd"] ** 2
    row["pause_s"] = own.think_s if own.pause_s is None else own.pause_s
    row["explained"], row["rest"] = math.sqrt(workload.predictability), math.sqrt(1.0 - workload.predictability)
    row["most_context_tokens"], row["most_output_tokens"] = own.max_context_tokens, workload.max_output_tokens
    row["long_from_tokens"], row["agentic_from_tokens"] = workload.input_token_edges[1:3]
    row["closed"] = own.users is not None
    due_s = first_due_s(config, own.users or 0, float(row["pause_s"]))
    people, thinking, spare = (
        records.zeros(Session, len(due_s)),
        records.zeros(Thinking, len(due_s)),
        np.zeros(len(due_s), np.uint32),
    )
    people["number"] = np.arange(len(due_s))
    row["started"] = row["used"] = len(people)
    order = np.argsort(due_s, kind="stable")
    comes = order[due_s[order] < config.horizon_s]
    row["thinking"], row["spare"] = len(comes), len(people) - len(comes)
    thinking["session"][: len(comes)], thinking["due_s"][: len(comes)] = comes, due_s[comes]  # a sorted array is a heap
    spare[: len(people) - len(comes)] = order[len(comes) :]
    found = tenants(config)
    who = {"tenant_share": found.cumulative_share, "tenant_tier": found.tier, "tenant_task": found.task}
    tokens = tokens_of(workload, own)
    assert tokens.shape == (2, CELLS + 1)
    return {"crowd": crowd, "sessions": people, "tokens": tokens, **none, "thinking": thinking, "spare": spare, **who}


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


def first_due_s(config: scenario.Scenario, users: int, pause_s: float) -> Array:
    """Times at which users first arrive, each after its own pause, s: float64 (users,)."""
    return np.asarray(np.maximum(stream(config.seed, "sessions", 1).standard_exponential(users) * pause_s, 1e-3))


def _expect_memory(config: scenario.Scenario) -> None:
    """Raise InputError if the longest prompt with the longest answer does not fit the memory of a replica."""
    own, longest = sessions_of(config), config.workload.max_output_tokens
    kinds = zip(config.fleet.pools, config.fleet.kind_of, strict=True)
    limits = {pool.gpu: kind.kv_capacity_tokens for pool, kind in kinds if kind.kv_capacity_tokens}
    for name, capacity in limits.items():
        if own.max_context_tokens + longest > capacity:
            raise InputError(
                f"workload.sessions.max_context_tokens {own.max_context_tokens}: with answers of up to {longest} "
                "tokens (workload.max_output_tokens) "
                f"it does not fit {name}'s kv_capacity_tokens {capacity}; expected a context of at most "
                f"{max(capacity - longest, 0)}"
            )
