"""What the reference engine needs of a scenario's admission, fairness and sessions."""

from __future__ import annotations

import math
from typing import Any

import naive_sessions
import naive_world
from caps_fast import pack_sessions
from caps_fast.policy_choice import PolicyChoice
from caps_fast.records import Array
from caps_fast.scenario import Scenario
from caps_fast.workload import session_kinds
from caps_fast.workload.synthetic import tenants


def limits_of(config: Scenario) -> list[naive_world.Limits] | None:
    chosen = config.admission
    if chosen is None or not chosen.limits:
        return None
    rows = [chosen.by_tier.get(tier, chosen) for tier in ("gold", "silver", "bronze")]
    names = ("max_waiting", "max_waiting_tokens", "max_ttft_s")
    given = [
        [getattr(row, name) if getattr(row, name) is not None else getattr(chosen, name) for name in names]
        for row in rows
    ]
    return [naive_world.Limits(*(math.inf if limit is None else limit for limit in limits)) for limits in given]


def fairness_of(chosen: PolicyChoice) -> naive_world.Fairness | None:
    return (
        None
        if chosen.fairness == "none"
        else naive_world.Fairness(chosen.fairness, chosen.fair_input_weight, chosen.fair_output_weight)
    )


def sessions_of_case(
    config: Scenario, requests: list[naive_world.Request], rows: Array, origins: list[naive_world.Origin]
) -> tuple[list[naive_sessions.Session], list[naive_sessions.Session | naive_world.Request]]:
    """Users and what starts later, of a case with these `rows`, which `requests` are of."""
    crowd = pack_sessions.session_rows(config)
    kinds = [_habits(config, crowd, at, kind) for at, kind in enumerate(session_kinds.kinds_of(config))]
    users = [
        naive_sessions.Session(float(due_s), kinds[-1 - turns], tenant, tier, origins[origin])
        for due_s, turns, tenant, tier, origin in _columns(
            session_kinds.users_of(config, session_kinds.kinds_of(config)),
            ("arrival_s", "turns", "tenant", "tier", "origin"),
        )
    ]
    starts = [
        request
        if turns >= 0
        else naive_sessions.Session(request.arrival_s, kinds[-1 - turns], request.tenant, request.tier, request.origin)
        for request, (turns,) in zip(requests, _columns(rows, ("turns",)), strict=True)
    ]
    return users, starts


def _habits(config: Scenario, crowd: Any, at: int, kind: session_kinds.SessionKind) -> naive_sessions.Habits:
    row, own, who = crowd["crowd"][at], kind.habits, tenants(config)
    return naive_sessions.Habits(
        crowd["crowd"][0]["seed"].item(),
        *(row[name].item() for name in ("closed", "goes_on", "turns")),
        *(own.think_law, own.think_s, own.think_cv, row["pause_s"].item()),
        *(own.max_context_tokens, config.workload.max_output_tokens, kind.predictability),
        kind.tokens,
        *(config.workload.input_token_edges[1:3],),
        *(() if kind.group else (who.cumulative_share.tolist(), who.tier.tolist())),
    )


def _columns(rows: Array, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return list(zip(*(rows[name].tolist() for name in names), strict=True))


def starts_of(config: Scenario, arrivals_s: Array) -> Array:
    """The rows with which the sessions of a whole workload begin at these times."""
    return session_kinds.Starts(config, session_kinds.kinds_of(config)[0]).fill(arrivals_s)
