"""Pareto fronts: non-dominated settings and their hypervolumes, over means of seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
import polars as pl

from caps_fast.errors import InputError
from caps_fast.metrics import larger_is_better
from caps_fast.sweep.frames import expect_columns, expect_different, expect_metrics, means, metrics, settings


@dataclass(frozen=True)
class Front:
    """The non-dominated settings of one group of runs.

    group           the group's values of the grouping columns
    settings        one row per non-dominated setting, sorted by the first objective: its columns, `seeds`, the
                    objectives' means
    of              number of settings in the group
    hypervolume     area that the front dominates, up to the reference point, in the product of the objectives' units
    """

    group: dict[str, object]
    settings: pl.DataFrame
    of: int
    hypervolume: float


def pareto(
    runs: pl.DataFrame,
    objectives: Sequence[str],
    group: Sequence[str] | None = None,
    reference: Sequence[float] | None = None,
) -> list[Front]:
    """The front of every group: non-dominated settings, each objective in its better direction (caps_fast/metrics.py).

    group       columns; None = the rate, if it varies: different loads are not compared
    reference   the hypervolume's reference point; None = the worst mean of each objective, the same for all groups of
                equal rate

    Raises InputError for unknown columns, and for metrics without a better direction.
    """
    expect_metrics(runs, objectives)
    expect_different(objectives)
    directions = [larger_is_better(name, among=metrics(runs)) for name in objectives]
    keys = settings(runs)
    names = [name for name in ("rate_rps",) if name in keys] if group is None else list(group)
    expect_columns(runs, names)
    points = means(runs, list(dict.fromkeys([*names, *keys])), objectives).filter(
        pl.all_horizontal(pl.col(objectives).is_finite())
    )
    if points.is_empty():
        raise InputError(f"{', '.join(objectives)}: no setting has finite values; expected some")
    if reference is not None and len(reference) != len(objectives):
        raise InputError(f"reference {list(reference)}: expected {len(objectives)} numbers, one per objective")
    if reference is not None and not np.isfinite(reference).all():
        raise InputError(f"reference {list(reference)}: expected finite numbers")
    loads = [name for name in names if name == "rate_rps"]
    worst = [
        pl.col(name).min() if larger else pl.col(name).max()
        for name, larger in zip(objectives, directions, strict=True)
    ]
    points = points.with_columns(
        expression.over(loads).alias(f"worst {place}") if loads else expression.alias(f"worst {place}")
        for place, expression in enumerate(worst)
    )
    parts = points.partition_by(names, maintain_order=True, include_key=True) if names else [points]
    return [_front(part, names, objectives, reference) for part in parts]


def _front(
    points: pl.DataFrame, names: Sequence[str], objectives: Sequence[str], reference: Sequence[float] | None
) -> Front:
    worst = [f"worst {place}" for place in range(len(objectives))]
    kept = nondominated(points, objectives)
    corner = points.select(worst).row(0) if reference is None else reference
    volume = hypervolume(points, objectives, corner)
    return Front(points.select(names).row(0, named=True) if names else {}, kept.drop(worst), points.height, volume)


def nondominated(points: pl.DataFrame, objectives: Sequence[str]) -> pl.DataFrame:
    """The non-dominated points, with all equal ones, sorted by the first objective."""
    chosen = moocore.is_nondominated(
        points.select(objectives).to_numpy(), maximise=_directions(objectives), keep_weakly=True
    )
    return points.filter(pl.Series(chosen)).sort(objectives[0], maintain_order=True)


def hypervolume(points: pl.DataFrame, objectives: Sequence[str], reference: Sequence[float]) -> float:
    """The area that the points dominate up to the reference point; points beyond it do not count."""
    values = np.ascontiguousarray(points.select(objectives).to_numpy(), dtype=np.float64)
    return float(
        moocore.hypervolume(values, ref=np.asarray(reference, dtype=np.float64), maximise=_directions(objectives))
    )


def _directions(objectives: Sequence[str]) -> list[bool]:
    return [larger_is_better(name) for name in objectives]
