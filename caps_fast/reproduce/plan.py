"""The experiments behind every comparison: one plan for the sweep, selected afterwards by the fields of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caps_fast import scenario
from caps_fast.errors import InputError
from caps_fast.policies import BUILT_IN, MAIN
from caps_fast.sweep import Grid, Plan
from caps_fast.sweep.axes import Axis

PRESETS = ("paper", "measured")
RATE_RPS = 10.0
RATES_RPS = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0)
SPLITS = ("6/10/8", "10/6/8")
FORECASTS = ("noisy", "yesterday", "persistence")
MOST_SEEDS = 10_000
ROLES = ("cluster.roles", "slo.gold.roles", "slo.silver.roles", "slo.bronze.roles")
"""The fields that decide which tiers may be held: the pools' roles, and the roles that each tier may enter."""
ONLY_BRONZE = ("LP/LP/BP", "LP", "LP", "BP")
"""Only Bronze may be deferred: the middle pool is never gated, and Gold and Silver never enter the batch pool."""
ANYONE = ("LP/CP/BP", "LP/CP/BP", "LP/CP/BP", "LP/CP/BP")


@dataclass(frozen=True)
class Size:
    """Extent of the simulation: days of the comparisons at 10 req/s, days of the curves over rates and splits, seeds
    from 0.
    """

    days: float = 7.0
    curve_days: float = 1.0
    seeds: int = 5

    def __post_init__(self) -> None:
        if self.days <= 0 or self.curve_days <= 0 or not 1 <= self.seeds <= MOST_SEEDS:
            raise InputError(
                f"days {self.days:g}, {self.curve_days:g} and {self.seeds} seeds: expected days above 0 and 1 to "
                f"{MOST_SEEDS:,} seeds"
            )
        if self.curve_days > self.days:
            raise InputError(
                f"curve days {self.curve_days:g}: expected no more than the {self.days:g} days of the comparisons"
            )


def plan(presets: Sequence[str], size: Size) -> Plan:
    """All runs: Figure 2 (rates), Table 1 and Figure 3b (headline), splits, forecasts, and rules of deferral."""
    seeds = Axis("seed", ("seed",), [(seed,) for seed in range(size.seeds)])
    whole = {"days": size.days, "workload.rate_rps": RATE_RPS}
    caps = whole | {"policy.name": "caps"}
    grids = (
        Grid(
            "rates",
            {"days": size.curve_days},
            (_over("preset", presets), _over("workload.rate_rps", RATES_RPS), seeds, _over("policy.name", MAIN)),
        ),
        Grid("headline", whole, (_over("preset", presets), seeds, _over("policy.name", tuple(BUILT_IN)))),
        Grid(
            "splits",
            {"days": size.curve_days, "workload.rate_rps": RATE_RPS},
            (_over("preset", presets), _over("cluster.split", SPLITS), seeds, _over("policy.name", MAIN)),
        ),
        Grid("forecasts", caps, (_over("preset", presets), seeds, _over("monitor.forecast", FORECASTS))),
        Grid("held", caps, (_over("preset", presets), seeds, Axis("held", ROLES, [ONLY_BRONZE, ANYONE]))),
    )
    return Plan("reproduce", {name: scenario.preset(name) for name in presets}, grids, "The paper and ours")


def detailed(preset: str, size: Size) -> list[list[scenario.Scenario]]:
    """Runs stored with cells, histograms and series, those with the same requests together: Round Robin and CAPS, on
    the first seed all five.
    """
    base = scenario.preset(preset).replace({"days": size.days, "workload.rate_rps": RATE_RPS})
    groups = []
    for seed in range(size.seeds):
        policies = MAIN if seed == 0 else ("round-robin", "caps")
        groups.append([base.replace({"seed": seed, "policy.name": policy}) for policy in policies])
    return groups


def _over(field: str, points: Sequence[object]) -> Axis:
    return Axis(field, (field,), [(point,) for point in points])
