"""Results as settings and metrics: columns that vary, means over seeds, the metrics' better direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from caps_fast.errors import InputError, did_you_mean
from caps_fast.sweep.rows import ECHO, PARAMETERS, type_of
from caps_fast.sweep.values import scalar

BOOKKEEPING = ("scenario_hash", "version", *ECHO)
COUNT = "seeds"


def metrics(runs: pl.DataFrame) -> list[str]:
    """Names of the metric columns."""
    known = {*PARAMETERS, *BOOKKEEPING}
    return [
        name for name, dtype in runs.schema.items() if name not in known and not type_of(name) and dtype.is_numeric()
    ]


def settings(runs: pl.DataFrame) -> list[str]:
    """Parameter columns that differ between runs, other than the seed: they distinguish settings.

    `policy` is always one.
    """
    passed_over = {*metrics(runs), *BOOKKEEPING, "seed", "policy"}
    names = [name for name in runs.columns if name not in passed_over]
    counts = runs.select(pl.col(names).n_unique()).row(0) if names else ()
    return ["policy", *(name for name, count in zip(names, counts, strict=True) if count > 1)]


def means(runs: pl.DataFrame, keys: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
    """Means of metrics over the seeds of each setting, and the number of seeds; in the order of the runs."""
    return runs.group_by(keys, maintain_order=True).agg(pl.len().alias(COUNT), *(pl.col(name).mean() for name in names))


def expect_metrics(runs: pl.DataFrame, names: Sequence[str]) -> None:
    """Raises InputError for a name that is not a metric column."""
    known = metrics(runs)
    for name in names:
        if name not in known:
            raise InputError(f"metric {name!r}{did_you_mean(name, known)}: expected one of {', '.join(known)}")


def expect_different(objectives: Sequence[str], least: int = 1) -> None:
    """Raises InputError for a repeated objective, or for fewer than `least`."""
    if len(set(objectives)) < max(len(objectives), least):
        raise InputError(f"objectives {', '.join(objectives)}: expected at least two different metrics")


def expect_columns(runs: pl.DataFrame, names: Sequence[str]) -> None:
    """Raises InputError for a name that is not a column."""
    for name in names:
        if name not in runs.columns:
            expected = f"{', '.join(['seed', *settings(runs)])}, or another column of the results"
            raise InputError(f"column {name!r}{did_you_mean(name, runs.columns)}: expected one of {expected}")


def where(runs: pl.DataFrame, conditions: Sequence[str]) -> pl.DataFrame:
    """The runs that match conditions such as `rate_rps=10` or `policy=caps,edf`. Raises InputError if none does."""
    for condition in conditions:
        name, equals, text = condition.partition("=")
        if not equals:
            raise InputError(f"condition {condition!r}: expected column=value or column=value,value")
        expect_columns(runs, [name])
        left = runs.filter(one_of(runs, name, text.split(","), f"condition {condition!r}"))
        if left.is_empty():
            raise InputError(f"condition {condition!r}: no run matches; there are {there(runs, name)}")
        runs = left
    return runs


def one_of(runs: pl.DataFrame, name: str, texts: Sequence[str], origin: str) -> pl.Expr:
    """Whether a column has one of these values: numbers as numbers (0 is 0.0), `none` where there is no value, all
    else as text.

    Raises InputError naming `origin`.
    """
    if "none" in texts and runs[name].null_count():
        others = [text for text in texts if text != "none"]
        return pl.col(name).is_null() | one_of(runs, name, others, origin).fill_null(value=False)
    if not runs.schema[name].is_numeric():
        return pl.col(name).cast(pl.String).is_in(list(texts))
    wanted = [scalar(text) for text in texts]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in wanted):
        raise InputError(f"{origin}: expected numbers; there are {there(runs, name)}")
    return pl.col(name).cast(pl.Float64).is_in([float(value) for value in wanted])


def there(runs: pl.DataFrame, name: str) -> str:
    """A column's first values as text."""
    return ", ".join(map(shown, runs[name].unique(maintain_order=True).to_list()[:20]))


def shown(value: Any) -> str:
    """A value as text."""
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
