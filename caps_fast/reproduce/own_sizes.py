"""Every policy at its own best size: the fleet of least carbon that meets what the paper's fleet does."""

from __future__ import annotations

import math

import polars as pl

from caps_fast import scenario
from caps_fast.policies import MAIN
from caps_fast.reproduce.plan import RATE_RPS, Size
from caps_fast.sizing import size as best_sizes
from caps_fast.sweep import Workers

COLUMNS = ("policy", "replicas", "split", "slo_attainment", "bill_kg", "bill_kg_low", "bill_kg_high")
COMPARED = ("round-robin", "caps")
PER_MILLE = 1000


def own_sizes(preset: str, size: Size, runs: pl.DataFrame, workers: Workers) -> pl.DataFrame:
    """One row per policy: `preset`, `target` (a share of all requests), the fleet found, its attainment and bill, and
    `bill_saving` over Round Robin's fleet with its interval (`_low`, `_high`), paired by seed.

    The target is what both Round Robin and CAPS meet on the paper's fleet, in whole tenths of a percent. A policy that
    meets it on no fleet has nulls. At one size for all, a policy that needs fewer replicas saves nothing by it; at its
    own it does.
    """
    here = runs.filter(
        pl.col("preset") == preset,
        pl.col("policy").is_in(COMPARED),
        pl.col("rate_rps") == RATE_RPS,
        pl.col("days") == size.curve_days,
    )
    base = scenario.preset(preset).replace({"days": size.curve_days, "workload.rate_rps": RATE_RPS})
    met = here.filter(pl.col("split") == base.fleet.split).group_by("policy").agg(pl.col("slo_attainment").mean())
    target = math.floor(float(met["slo_attainment"].min()) * PER_MILLE) / PER_MILLE  # type: ignore[arg-type]
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
