"""Carbon-Aware: defers everything to low-carbon windows, blind to SLOs."""

from __future__ import annotations

from typing import NamedTuple

from caps_fast.policy import rules


class CarbonAware(NamedTuple):
    """Starts work only while the intensity is at or below the monitor's threshold."""

    stride: int = 1

    layout = "central"
    gated = True
    preempts = False


@rules.route(CarbonAware)
def queue_of(policy, t_s, r, s):
    return s.live[r]["seq"] * policy.stride % s.queues.shape[0]


@rules.gate(CarbonAware)
def in_low_carbon(policy, t_s, q, s):
    return s.clock[0]["gamma"] <= s.clock[0]["threshold"]
