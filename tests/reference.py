"""The reference engine with all that a case needs: its parts are classes, each with what one section adds."""

from __future__ import annotations

from typing import Any

import naive
import naive_failures
import naive_regions
import naive_scalers
import naive_sessions
import naive_states
import naive_world
import waiting
from caps_fast.failures import fail
from caps_fast.places import places_of
from caps_fast.records import Array
from caps_fast.scenario import Scenario
from failing import lives
from scaler_cases import SCALERS


def reference(
    config: Scenario,
    setup: naive_world.Setup,
    requests: list[naive_world.Request],
    policy: naive.Policy,
    origins: list[naive_world.Origin],
    rows: Array,
) -> naive.Engine:
    """A reference engine, ready to play a scenario: its requests, and sessions that begin with some of the `rows`."""
    chosen = config.policy
    scaler = (
        SCALERS[chosen.scaling](**chosen.options)
        if chosen.scaling != "none"
        else policy
        if hasattr(policy, "scale")
        else naive_scalers.Whole()
    )
    parts: list[type[naive.Engine]] = []
    first: tuple[Any, ...] = (setup, requests, policy)
    more: tuple[Any, ...] = ()
    if config.workload.has_sessions:
        parts.append(naive_sessions.SessionEngine)
        first = (setup, *waiting.sessions_of_case(config, requests, rows, origins), policy)
    if places_of(config):
        parts.append(naive_regions.RegionsEngine)
    if fail(config):
        parts.append(naive_failures.FailingEngine)
        more = (scaler, lives(config))
    elif chosen.scaling != "none" or hasattr(policy, "scale"):
        parts.append(naive_states.ScalingEngine)
        more = (scaler,)
    engine: naive.Engine = type("Reference", tuple(parts or [naive.Engine]), {})(*first, *more)
    return engine
