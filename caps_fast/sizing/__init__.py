"""Fleet sizing: the cheapest fleet that meets its targets, for each policy, on the same requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from caps_fast.errors import InputError, did_you_mean
from caps_fast.inputs import expect_inputs
from caps_fast.metrics import METRICS
from caps_fast.scenario import Scenario
from caps_fast.sizing.fleets import REPLICAS, axes, fleets, largest
from caps_fast.sizing.measure import in_step
from caps_fast.sizing.outcome import Sized, outcome
from caps_fast.sizing.search import MONEY, Problem, Tried
from caps_fast.sizing.targets import targets
from caps_fast.sweep.axes import policies as spelled_out
from caps_fast.sweep.fanout import Workers

__all__ = ["OBJECTIVES", "Sized", "size"]

METRIC_OF = {"carbon": "bill_kg", "money": MONEY, "replicas": REPLICAS}
OBJECTIVES = tuple(name for name, metric in METRIC_OF.items() if metric == REPLICAS or metric in METRICS)


def size(  # noqa: PLR0913 - all but two by name
    scenario: Scenario,
    policies: Sequence[str] = (),
    *,
    slo: float | None = 0.95,
    tiers: Mapping[str, float] | None = None,
    over: Mapping[str, Any] | None = None,
    objective: str = "carbon",
    rates: Sequence[float] = (),
    seeds: Sequence[int] = range(5),
    confidence: float = 0.95,
    baseline: str | None = None,
    workers: Workers | None = None,
    on_verdict: Callable[[Tried, int], None] | None = None,
) -> Sized:
    """Find the cheapest fleet that meets the targets, for each policy (and rate), see docs/sizing.md.

    policies    names, or your own files; default: the scenario's policy
    slo         target share of all requests that meet their SLO; None = no such target
    tiers       the same by tier, as `{"gold": 0.9}`
    over        values by field: `replicas` in total, `split` (the proportion of the pools), `pools.NAME.replicas`, and
                any other field, as `{"pools.batch.replicas": range(41), "policy.placement": ["residents", "prompts"]}`
    objective   carbon (`bill_kg`), money (`cost`) or replicas
    rates       mean arrivals per second; default: the scenario's rate
    seeds       of all runs; as many of them are used as the intervals need
    confidence  of the intervals, between 0 and 1
    baseline    policy that savings are relative to; default: the first that has an answer
    on_verdict  called with every fleet that was tried over the full horizon

    Raises InputError for bad input, and if no fleet meets the targets under any policy.

    >>> from caps_fast import preset, size
    >>> base = preset("paper").replace(days=0.01, policy__name="round-robin")
    >>> size(base, slo=0.5, over={"replicas": [12, 18]}, seeds=[0, 1]).answers.select("policy", "replicas").rows()
    [('round-robin', 18)]
    """
    if objective not in OBJECTIVES:
        raise InputError(
            f"objective {objective!r}{did_you_mean(objective, OBJECTIVES)}: expected one of {', '.join(OBJECTIVES)}"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence:g}: expected a number between 0 and 1")
    if not seeds:
        raise InputError("seeds: none; expected at least one")
    names = spelled_out(policies) or [scenario.policy.name]
    if baseline is not None and baseline not in names:
        raise InputError(
            f"baseline {baseline!r}{did_you_mean(baseline, map(str, names))}: expected one of "
            f"{', '.join(map(str, names))}"
        )
    if rates and scenario.workload.users:
        raise InputError(
            f"--rates with workload.sessions.users {scenario.workload.users}: users have no rate; expected one without "
            "the other"
        )
    loads = [{"workload.rate_rps": rate} for rate in rates] or [{}]
    bases = [scenario.replace({"policy.name": name} | load) for load in loads for name in names]
    expect_inputs(bases)
    wanted, values = targets(scenario, slo, tiers or {}), axes(over or {})
    problems = [
        Problem(
            fleets(base, values, largest(base, scenario.workload.rate_rps)),
            wanted,
            METRIC_OF[objective],
            tuple(seeds),
            confidence,
            on_verdict or (lambda tried, fleet: None),
        )
        for base in bases
    ]
    return outcome(in_step([problem.search() for problem in problems], workers or Workers()), baseline)
