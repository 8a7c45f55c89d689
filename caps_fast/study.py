"""Studies from Python: a grid of runs as a frame, and policies compared on the same requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from caps_fast.errors import InputError
from caps_fast.scenario import Scenario
from caps_fast.sweep import Grid, Plan, Workers
from caps_fast.sweep import sweep as run_plan
from caps_fast.sweep.axes import axis
from caps_fast.sweep.compare import CONFIDENCE, METRICS
from caps_fast.sweep.compare import compare as differences
from caps_fast.sweep.file import seed_axis

logger = logging.getLogger(__name__)

MAIN = ("main",)  # the paper's five


def sweep(
    scenario: Scenario,
    over: Mapping[str, Any] | None = None,
    *,
    seeds: int | Sequence[int] = 5,
    out: str | Path | None = None,
    jobs: int = 0,
    by_pool: bool = False,
    **fields: Any,
) -> pl.DataFrame:
    """Run every combination of values, on every core; returns one row per run, in order.

    over     values by field, dotted or short: `{"rate": [4, 8], "policy": ["edf", "caps"], "monitor.gate_quantile":
             "0.3..0.7:0.1"}`
    fields   the same as keywords, with two underscores for a dot: `policy__beta=[0, 1]`
    seeds    their number, from 0; or which. They are common to all other axes: the same requests everywhere
    out      folder for the results: a later call runs what is missing; None = nothing is stored
    jobs     runs at a time; 0 = one per core
    by_pool  also the metrics of every pool, as columns `pool.NAME.METRIC`

    Columns are those of docs/schema.md. Raises InputError for unknown fields and bad values.

    >>> from caps_fast import preset, sweep
    >>> base = preset("paper").replace(days=0.01, predictor__source="declared")
    >>> runs = sweep(base, {"policy": "round-robin", "rate": [4, 8]}, seeds=2, jobs=1)
    >>> runs.group_by("rate_rps", maintain_order=True).len().rows()
    [(4.0, 2), (8.0, 2)]
    """
    given = dict(over or {}) | {name.replace("__", "."): value for name, value in fields.items()}
    axes = [axis(name, list(raw) if isinstance(raw, tuple | range) else raw, name) for name, raw in given.items()]
    axes.append(seed_axis(seeds if isinstance(seeds, int) else list(seeds), "seeds"))
    plan = Plan("python", {scenario.preset: scenario}, (Grid("", {}, tuple(axes)),), by_pool=by_pool)
    if out is not None:
        return _runs(plan, out, jobs)
    with TemporaryDirectory() as folder:
        return _runs(plan, folder, jobs)


def _runs(plan: Plan, out: str | Path, jobs: int) -> pl.DataFrame:
    swept = run_plan(plan, out, Workers(jobs))
    for failure in swept.failures:
        logger.warning("failed: %s: %s", failure.run, failure.error)
    return swept.runs


def compare(
    scenario: Scenario,
    policies: Sequence[str] = MAIN,
    *,
    seeds: int | Sequence[int] = 5,
    baseline: str | None = None,
    metrics: Sequence[str] = METRICS,
    confidence: float = CONFIDENCE,
    jobs: int = 0,
) -> pl.DataFrame:
    """Run policies on the same requests and compare them with a baseline, seed by seed.

    policies    names, `main`, `ablations`, `all`, or Python files
    seeds       their number, from 0; or which; at least two for intervals
    baseline    default: the first policy
    metrics     columns of docs/schema.md
    confidence  of the intervals, between 0 and 1
    jobs        runs at a time; 0 = one per core

    Returns one row per policy and metric: `policy`, `metric`, `pairs`, `baseline` and `mean` (means over seeds),
    `difference` with `low` and `high` of its interval (Student's t over the paired differences), `relative` difference.
    Raises InputError for unknown names.

    >>> from caps_fast import compare, preset
    >>> base = preset("paper").replace(days=0.01, predictor__source="declared")
    >>> found = compare(base, ["round-robin", "caps"], seeds=3, metrics=["bill_kg"], jobs=1)
    >>> found.select("policy", "metric", "pairs").rows()
    [('caps', 'bill_kg', 3)]
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence:g}: expected a number between 0 and 1")
    names = [policies] if isinstance(policies, str) else list(policies)
    if baseline is not None and baseline not in names:
        names = [baseline, *names]
    runs = sweep(scenario, {"policy": names}, seeds=seeds, jobs=jobs)
    first = baseline or str(runs["policy"][0])
    found = differences(runs, first, metrics, "policy", confidence)
    return found.select("policy", "metric", "pairs", "baseline", "mean", "difference", "low", "high", "relative")
