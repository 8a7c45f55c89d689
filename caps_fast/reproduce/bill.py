"""The comparison that a planner needs: attributed carbon and the bill, under other forecasts, and with only Bronze or
every tier deferred.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from caps_fast.policies import MAIN
from caps_fast.reproduce.evidence import Evidence, Floats
from caps_fast.reproduce.plan import ANYONE, FORECASTS, ONLY_BRONZE
from caps_fast.reproduce.statistics import estimate

KEPT = ("slo_attainment", "carbon_g_per_1k_tokens", "held_share", "held_not_bronze_share")


def headline(evidence: Evidence) -> pl.DataFrame:
    """One row per policy, forecast or rule of deferral, at 10 req/s: means over seeds, savings over Round
    Robin paired by seed, with intervals.

    `bill` counts every idle GPU up to the end of the arrivals, and busy ones whenever they are busy.
    """
    rows = [_row(evidence, policy, policy, "as the preset") for policy in MAIN]
    rows += [
        _row(evidence, "caps", f"caps, {forecast} forecast", "as the preset", **{"monitor.forecast": forecast})
        for forecast in FORECASTS
    ]
    rows.append(_row(evidence, "caps", "caps, only Bronze held", "only Bronze", roles=ONLY_BRONZE))
    rows.append(_row(evidence, "caps", "caps, any tier held", "anyone", roles=ANYONE))
    return pl.DataFrame([row for row in rows if row])


def bill_kg(evidence: Evidence, policy: str, **fields: Any) -> Floats:
    """Carbon by seed, idle replicas counted up to the end of the arrivals, kg."""
    runs = evidence.chosen(policy, **fields)
    return (runs["carbon_kg"] + runs["idle_carbon_kg"]).to_numpy()


def _row(evidence: Evidence, policy: str, name: str, held: str, **fields: Any) -> dict[str, Any]:
    runs = evidence.chosen(policy, **fields)
    if runs.is_empty():
        return {}
    base = evidence.of("round-robin", "carbon_g_per_1k_tokens")
    attributed = estimate(1 - evidence.of(policy, "carbon_g_per_1k_tokens", **fields) / base)
    whole = bill_kg(evidence, policy, **fields)
    billed = estimate(1 - whole / bill_kg(evidence, "round-robin"))
    means = {metric: float(np.mean(evidence.of(policy, metric, **fields))) for metric in KEPT}
    return {
        "preset": evidence.preset,
        "name": name,
        "policy": policy,
        "forecast": fields.get("monitor.forecast", evidence.base.fleet.only_region.monitor.forecast),
        "held": held,
        **means,
        "saving": attributed.mean,
        "saving_low": attributed.low,
        "saving_high": attributed.high,
        "bill_kg": float(whole.mean()),
        "bill_saving": billed.mean,
        "bill_saving_low": billed.low,
        "bill_saving_high": billed.high,
        "seeds": attributed.n,
    }
