"""Carbon-Aware: defers everything to low-carbon windows, blind to SLOs."""

from __future__ import annotations

from typing import Any, NamedTuple

from caps_fast.arrays import State
from caps_fast.policy import policy, rules


@policy(layout="central")
class CarbonAware(NamedTuple):
    """Starts work only while the intensity is at or below the monitor's threshold."""


@rules.route(CarbonAware)
def queue_of(policy: Any, t_s: float, r: int, s: State) -> int:
    return s.live[r]["seq"] % s.queues.shape[0]


@rules.gate(CarbonAware)
def in_low_carbon(policy: Any, t_s: float, q: int, s: State) -> bool:
    return s.clock[0]["gamma"] <= s.clock[0]["threshold"]
