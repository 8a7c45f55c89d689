"""What the reference engine needs of a scenario's admission, fairness and sessions."""

from __future__ import annotations

import math

import naive_sessions
import naive_world
from caps_fast import pack_sessions
from caps_fast.policy_choice import PolicyChoice
from caps_fast.records import Array
from caps_fast.scenario import Scenario
from caps_fast.workload import conversations


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


def sessions_of_case(config: Scenario, arrivals_s: Array) -> tuple[list[float], naive_sessions.Habits]:
    """When the reference engine's sessions begin, those that begin then or those of the scenario's users, and what
    they do.
    """
    state = pack_sessions.session_rows(config)
    row, own = state["crowd"][0], conversations.sessions_of(config)
    habits = naive_sessions.Habits(
        *(row[name].item() for name in ("seed", "closed", "goes_on", "turns")),
        *(own.think_law, own.think_s, own.think_cv, row["pause_s"].item()),
        *(own.max_context_tokens, config.workload.max_output_tokens, config.workload.predictability),
        state["tokens"],
        *(config.workload.input_token_edges[1:3], state["tenant_share"], state["tenant_tier"]),
    )
    starts_s = arrivals_s if own.users is None else pack_sessions.first_due_s(config, own.users, habits.pause_s)
    return starts_s.tolist(), habits
