"""Every policy at its own best size: the fleet of least carbon that meets what the paper's fleet does."""

from __future__ import annotations

import math

import polars as pl

from caps_fast import scenario
from caps_fast.policies import MAIN
from caps_fast.reproduce.evidence import Evidence
from caps_fast.reproduce.plan import RATE_RPS, Size
from caps_fast.sizing import size as best_sizes
from caps_fast.sweep import Workers

COLUMNS = ("policy", "replicas", "split", "slo_attainment", "bill_kg", "bill_kg_low", "bill_kg_high")
COMPARED = ("round-robin", "caps")
PER_MILLE = 1000


def own_sizes(evidence: Evidence, size: Size, workers: Workers) -> pl.DataFrame:
    """One row per policy: `preset`, `target` (a share of all requests), the fleet found, its attainment and bill, and
    `bill_saving` over Round Robin's fleet with its interval (`_low`, `_high`), paired by seed.

    A policy that meets the target on no fleet has nulls. At one size for all, a policy that needs fewer replicas saves
    nothing by it; at its own it does.
    """
    preset, target = evidence.preset, target_of(evidence, size.curve_days)
    base = scenario.preset(preset).replace({"days": size.curve_days, "workload.rate_rps": RATE_RPS})
    found = best_sizes(base, MAIN, slo=target, seeds=range(size.seeds), baseline="round-robin", workers=workers)
    paired = found.savings.filter(pl.col("metric") == "bill_kg")
    own_kg = pl.col("baseline")
    saving = paired.select(
        "policy",
        (-pl.col("difference") / own_kg).alias("bill_saving"),
        (-pl.col("high") / own_kg).alias("bill_saving_low"),
        (-pl.col("low") / own_kg).alias("bill_saving_high"),
    )
    answers = found.answers.select(COLUMNS).join(saving, on="policy", how="left", maintain_order="left")
    return answers.select(pl.lit(preset).alias("preset"), pl.lit(target).alias("target"), pl.all())


def target_of(evidence: Evidence, days: float) -> float:
    """The share of requests whose SLO both Round Robin and CAPS meet on the paper's fleet, in tenths of a percent."""
    met = min(float(evidence.of(policy, "slo_attainment", days=days).mean()) for policy in COMPARED)
    return math.floor(met * PER_MILLE) / PER_MILLE
