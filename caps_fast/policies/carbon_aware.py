"""Carbon-Aware: defers everything to low-carbon windows, blind to SLOs."""

from __future__ import annotations

from typing import Any, NamedTuple

from caps_fast.arrays import State
from caps_fast.policy import policy, rules


@policy(layout="queueing")
class CarbonAware(NamedTuple):
    """Starts work in a region only while its intensity is at or below its monitor's threshold."""


@rules.gate(CarbonAware)
def in_low_carbon(policy: Any, t_s: float, q: int, s: State) -> bool:
    region = s.regions[s.queues[q].region]
    return region.gamma <= region.threshold
