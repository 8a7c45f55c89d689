"""A sweep in a few lines: every setting at one rate, means over its seeds."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from caps_fast import metrics
from caps_fast.metrics import TABLE
from caps_fast.sweep.frames import COUNT, means, settings
from caps_fast.text_table import text_lines

PAPER_RATE_RPS = 10.0
HELD_OUT = "held-out "  # prefix of the metrics of `tune` on held-out seeds
HEADINGS = {"rate_rps": "req/s"}


def at_one_rate(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs at 10 req/s if there are any, else at the rate in the middle."""
    rates = runs["rate_rps"].drop_nulls().unique().sort()
    if rates.len() < 2:
        return runs
    return runs.filter(pl.col("rate_rps") == one_of_rates(rates))


def one_of_rates(rates: pl.Series) -> float | None:
    """The rate for comparisons, of sorted rates: 10 req/s if present, else the one in the middle."""
    rate: float | None = PAPER_RATE_RPS if PAPER_RATE_RPS in rates else rates[rates.len() // 2]
    return rate


def summary(runs: pl.DataFrame) -> pl.DataFrame:
    """Means over seeds of the main metrics, one row per setting, at one rate."""
    chosen = at_one_rate(runs)
    return means(chosen, settings(chosen), [name for name in TABLE if name in runs.columns])


def text_table(frame: pl.DataFrame, rows: int = 40) -> str:
    """A frame as text: readable headings, metrics with their digits, all other numbers with four."""
    cells = [
        [_shown(name, value) for name, value in zip(frame.columns, row, strict=True)]
        for row in frame.head(rows).iter_rows()
    ]
    lines = text_lines([heading(name) for name in frame.columns], cells, [dtype.is_numeric() for dtype in frame.dtypes])
    if frame.height > rows:
        lines.append(f"... and {frame.height - rows:,} more")
    return "\n".join(lines)


def heading(name: str) -> str:
    """A column's heading."""
    held_out = HELD_OUT if name.startswith(HELD_OUT) else ""
    name = name.removeprefix(HELD_OUT)
    return held_out + HEADINGS.get(name, metrics.heading(name))


def _shown(name: str, value: Any) -> str:
    if metric := metrics.metric_of(name.removeprefix(HELD_OUT)):
        return metric.shown(value)
    if value is None:
        return "-"
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and name != COUNT else str(value)
