"""The rate that was asked for and the one that was played."""

from __future__ import annotations

import math

from caps_fast.scenario import Scenario

TOLERANCE = 0.05
SIGMAS = 4.0  # of a Poisson process, where arrivals are drawn


def rate_notes(config: Scenario, requests: int, drawn: bool) -> tuple[str, ...]:
    """A line where the requests of a run are not as many as its rate asks for."""
    asked = config.workload.rate_rps
    if asked is None:
        return ()
    wanted = asked * config.horizon_s
    slack = max(TOLERANCE * wanted, SIGMAS * math.sqrt(wanted) if drawn else 0.0)
    if abs(requests - wanted) <= slack:
        return ()
    return (f"{asked:g} requests per second were asked for, {requests / config.horizon_s:.4g} were played over {config.days:g} days",)
