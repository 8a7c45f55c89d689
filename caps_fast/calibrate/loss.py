"""How far a scenario is from its targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from caps_fast.calibrate.targets import Target, Task
from caps_fast.scenario import Scenario
from caps_fast.simulation import simulate_group, workload_key

Metrics = Mapping[str, float | int]
Simulate = Callable[[Sequence[Scenario]], Sequence[Any]]
WORST = 1e3
"""Cost of a figure that is not a number, in tolerances: nothing finished."""


def measure(
    task: Task, base: Scenario, seeds: Sequence[int], run: Simulate = simulate_group
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Our figure for every target and seed, float64 (n_targets, n_seeds). `base` has the parameters in question."""
    needed: dict[str, Scenario] = {}
    for seed in seeds:
        for target in task.targets:
            for policy in target.policies:
                config = _config(base, target, policy, seed)
                needed[config.hash] = config
    groups: dict[str, list[Scenario]] = {}
    for config in needed.values():
        groups.setdefault(workload_key(config), []).append(config)
    found: dict[str, Metrics] = {}
    for group in groups.values():
        found |= {config.hash: result.metrics for config, result in zip(group, run(group), strict=True)}
    return np.array([[_figure(base, target, seed, found) for seed in seeds] for target in task.targets])


def misses(task: Task, figures: Sequence[float]) -> list[float]:
    """Signed misses in tolerances."""
    return [
        (ours - target.value) / target.tolerance if math.isfinite(ours) else WORST
        for target, ours in zip(task.targets, figures, strict=True)
    ]


def loss(task: Task, figures: Sequence[float]) -> float:
    """Weighted mean of log(1 + miss^2): quadratic within a tolerance, slow beyond, so that an unreachable target does
    not dominate.
    """
    weights = [target.weight for target in task.targets]
    costs = [math.log1p(miss**2) for miss in misses(task, figures)]
    return float(np.average(costs, weights=weights))


def _config(base: Scenario, target: Target, policy: str, seed: int) -> Scenario:
    return base.replace({**target.where, "policy.name": policy, "seed": seed})


def _figure(base: Scenario, target: Target, seed: int, found: Mapping[str, Metrics]) -> float:
    ours, *others = (
        float(found[_config(base, target, policy, seed).hash][target.metric]) for policy in target.policies
    )
    if target.relative_to:
        return ours / others[0] if others[0] else math.nan
    return ours - others[0] if target.minus else ours
