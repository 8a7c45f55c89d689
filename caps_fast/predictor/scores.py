"""Quality of predictions: errors of lengths, coverage of intervals, ranking and calibration of risks, and baselines to
compare with.
"""

from __future__ import annotations

from bisect import insort
from typing import Any

import numpy as np

from caps_fast.records import Array

PAPER = {"mae_tokens": 38.6, "mape": 0.182, "auroc": 0.87}
RELIABILITY_BINS = 10


def length_errors(predicted: Array, actual: Array) -> dict[str, float]:
    """Mean absolute error in tokens and mean absolute percentage error (a share) of lengths, both float64 (n,)."""
    error = np.abs(predicted - actual)
    return {"mae_tokens": float(error.mean()), "mape": float((error / actual).mean())}


def coverage(low: Array, high: Array, actual: Array) -> float:
    """Share of actual values within [low, high]."""
    return float(((actual >= low) & (actual <= high)).mean())


def auroc(probability: Array, happened: Array) -> float:
    """Area under the ROC curve: the probability that a positive case (bool (n,)) got a higher score than a negative
    one; nan without both.
    """
    count = int(happened.sum())
    if count in (0, len(happened)):
        return float("nan")
    _, place, ties = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    return float((ranks[happened].sum() - count * (count + 1) / 2) / (count * (len(happened) - count)))


def reliability(probability: Array, happened: Array) -> list[dict[str, float]]:
    """The reliability curve: by tenths of probability the number of cases, their mean probability and the share of
    positives; no empty tenths.
    """
    tenth = np.minimum((probability * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    rows = []
    for index in range(RELIABILITY_BINS):
        here = tenth == index
        if here.any():
            rows.append(
                {
                    "cases": int(here.sum()),
                    "predicted": float(probability[here].mean()),
                    "happened": float(happened[here].mean()),
                }
            )
    return rows


def risk_scores(probability: Array, happened: Array) -> dict[str, Any]:
    """AUROC, Brier score, expected calibration error, reliability curve and share of misses."""
    curve = reliability(probability, happened)
    gap = sum(row["cases"] * abs(row["predicted"] - row["happened"]) for row in curve) / max(len(happened), 1)
    return {
        "auroc": auroc(probability, happened),
        "brier": float(((probability - happened) ** 2).mean()),
        "calibration_error": gap,
        "missed_share": float(happened.mean()),
        "requests": len(happened),
        "reliability": curve,
    }


def earlier_medians(tenants: Array, lengths: Array) -> Array:
    """The prediction of the simplest predictor for each request in turn, float64 (n,): the median of its tenant's
    earlier lengths, or of all.
    """
    everybody: list[float] = []
    by_tenant: dict[int, list[float]] = {}
    found = []
    for tenant, tokens in zip(tenants.tolist(), lengths.tolist(), strict=True):
        own = by_tenant.setdefault(tenant, [])
        known = own or everybody
        found.append((known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if known else 1.0)
        insort(own, tokens)
        insort(everybody, tokens)
    return np.array(found)
