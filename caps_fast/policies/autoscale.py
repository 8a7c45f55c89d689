"""Autoscale: as many replicas as the load needs at a target utilization, as Kubernetes' Horizontal Pod Autoscaler
does it.

The desired number is the load over the target load of a replica, rounded up. It applies if the load differs from the
target by more than the tolerance, and it is raised to the highest one of the last `window_s`, so that a pool grows at
once and shrinks late; the first one is the current number. Source: Kubernetes documentation, "Horizontal Pod
Autoscaling" (algorithm details; tolerance 0.1 and downscale stabilization of 300 s are its defaults) and
pkg/controller/podautoscaler/horizontal.go. Load here is residents and waiting requests, as with a target of the kind
AverageValue; there is no limit to how fast a pool grows.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast.arrays import State
from caps_fast.policies.load import RECENT, load_of_pool, most_of_window
from caps_fast.policy import policy, rules


@policy(layout="queueing", within={"utilization": (0.0, math.inf)}, memory=RECENT, rows="pool")
class Autoscale(NamedTuple):
    """Target share of the slots in use, share of the replicas within which nothing changes, stabilization window,
    fewest replicas.
    """

    utilization: float = 0.7
    tolerance: float = 0.1
    window_s: float = 300.0
    min_replicas: int = 1


@rules.scale(Autoscale)
def for_the_load(policy: Any, t_s: float, p: int, s: State) -> int:
    serving = s.strength[p].serving
    load = load_of_pool(p, s, policy.utilization)
    stays = s.memory[p].asked == 0 or abs(load - serving) <= policy.tolerance * serving
    desired = max(serving if stays else math.ceil(load), policy.min_replicas)
    return most_of_window(s.memory[p], t_s, desired, policy.window_s)
