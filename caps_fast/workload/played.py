"""The rate of the scenario and the simulated one."""

from __future__ import annotations

import math

from caps_fast.scenario import Scenario
from caps_fast.text_table import counted
from caps_fast.workload import Workload

TOLERANCE = 0.05
SIGMAS = 4.0  # of a Poisson process, where arrivals are drawn


def rate_notes(config: Scenario, requests: int, source: Workload) -> tuple[str, ...]:
    """A note if the number of requests of a run does not match its rate."""
    asked = config.workload.rate_rps
    wanted = source.expected_requests or (asked or 0.0) * config.horizon_s
    spread = source.spread if source.drawn else 0.0
    if asked is None or spread is None:
        return ()
    slack = max(TOLERANCE * wanted, SIGMAS * math.sqrt(spread * wanted))
    if abs(requests - wanted) <= slack:
        return ()
    of_rate = wanted / config.horizon_s
    return (
        f"the rate is {of_rate:g} requests per second, but {requests / config.horizon_s:.4g} arrived over "
        f"{counted(config.days, 'day')}",
    )
