"""Paired differences on common random numbers: every run against the baseline's run on the same requests."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.stats import t as student

from caps_fast.errors import InputError
from caps_fast.metrics import BILL
from caps_fast.sweep.axes import field_of, shapes_workload
from caps_fast.sweep.frames import expect_columns, expect_metrics, one_of, settings, there

CONFIDENCE = 0.95
METRICS = (
    "slo_attainment",
    "carbon_g_per_1k_tokens",
    "total_carbon_g_per_1k_tokens",
    "carbon_g_per_1k_good_tokens",
    "ttft_after_release_p95_s",
)
WHOLE_BILL = "bill"  # stands for all metrics of the bill
SERVING = re.compile(
    r"policy|split|alpha|beta|lambda|group|(policy|monitor|predictor|cluster)\..*"
)  # fields that a policy may choose


def compare(
    runs: pl.DataFrame,
    baseline: str,
    metrics: Sequence[str] = METRICS,
    factor: str = "policy",
    confidence: float = CONFIDENCE,
) -> pl.DataFrame:
    """One row per setting and metric: `baseline` and `mean` values, `difference` (setting - baseline) with `low` and
    `high` of its confidence interval (Student's t over the seeds' differences), `relative` difference, number of
    `pairs`. The metric `bill` stands for all parts of the bill.

    A run is paired with the run of `factor` = `baseline` that has the same seed and the same other parameters, except
    those that change with the factor (see `followers`) and parameters of the policy of which the baseline has only one
    value (for example no beta). Raises InputError for unknown names and if there is no pair.
    """
    metrics = [
        part
        for name in metrics
        for part in ([part for part in BILL if part in runs.columns] if name == WHOLE_BILL else [name])
    ]
    expect_metrics(runs, metrics)
    expect_columns(runs, [factor])
    chosen = one_of(runs, factor, [baseline], f"baseline {baseline!r}")
    base, others = runs.filter(chosen), runs.filter(~chosen)
    if base.is_empty() or others.is_empty():
        raise InputError(
            f"baseline {baseline!r}: expected one of at least two values of {factor}; there are {there(runs, factor)}"
        )
    keys = list(dict.fromkeys([*settings(runs), factor]))
    free = {factor, *followers(runs, factor)}
    shared = [
        "seed",
        *(name for name in keys if name not in free and (not SERVING.fullmatch(name) or base[name].n_unique() > 1)),
    ]
    if base.select(shared).is_duplicated().any():
        raise InputError(f"baseline {baseline!r}: several runs with the same {', '.join(shared)}; expected one each")
    pairs = others.join(
        base.select(*shared, *(pl.col(name).alias(f"baseline {name}") for name in metrics)),
        on=shared,
        nulls_equal=True,
        how="inner",
    )
    if pairs.is_empty():
        raise InputError(
            f"baseline {baseline!r}: no run has the same {', '.join(shared)} as another; expected common seeds and "
            "settings"
        )
    found = [_differences(pairs, keys, name, confidence) for name in metrics]
    return pl.concat(found).sort("place", maintain_order=True).drop("place")


def followers(runs: pl.DataFrame, factor: str) -> list[str]:
    """Settings that change with a factor, such as the fields of a preset, of a named setting or of a zipped axis: one
    value for each value of the factor.

    Fields that shape the requests do not follow a policy's choice, because the requests would then differ.
    """
    valued = runs.filter(pl.col(factor).is_not_null())
    names = [name for name in settings(valued) if name != factor and valued[name].n_unique() > 1]
    if SERVING.fullmatch(factor):
        names = [name for name in names if not shapes_workload(field_of(name))]
    counts = valued.group_by(factor).agg(pl.col(name).n_unique() for name in names)
    return [name for name in names if counts[name].max() == 1]


def _differences(pairs: pl.DataFrame, keys: Sequence[str], metric: str, confidence: float) -> pl.DataFrame:
    """The comparison of one metric; `place` numbers the settings in the order of the runs."""
    value, before = pl.col(metric), pl.col(f"baseline {metric}")
    found = pairs.group_by(keys, maintain_order=True).agg(
        pl.len().alias("pairs"),
        before.mean().alias("baseline"),
        value.mean().alias("mean"),
        (value - before).std().alias("sd"),
    )
    difference, pairs_n = pl.col("mean") - pl.col("baseline"), found["pairs"].to_numpy()
    half = pl.Series(student.ppf((1 + confidence) / 2, pairs_n - 1) / np.sqrt(pairs_n)) * found["sd"]
    return found.select(
        pl.int_range(pl.len()).alias("place"),
        pl.col(keys),
        pl.lit(metric).alias("metric"),
        pl.col("pairs", "baseline", "mean"),
        difference.alias("difference"),
        (difference - half).alias("low"),
        (difference + half).alias("high"),
        (difference / pl.col("baseline")).alias("relative"),
    )
