"""A sweep in a few lines: every setting at one rate, means over its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from caps_fast.sweep.frames import COUNT, means, settings

PAPER_RATE_RPS = 10.0
SHOWN = (
    *("slo_attainment", "slo_attainment_gold", "slo_attainment_silver", "slo_attainment_bronze", "carbon_g_per_1k_tokens"),
    *("total_carbon_g_per_1k_tokens", "carbon_g_per_1k_good_tokens", "ttft_after_release_p95_s", "deferral_mean_s"),
)
HEADINGS = {
    **{"slo_attainment": "SLO met", "slo_attainment_gold": "gold", "slo_attainment_silver": "silver", "slo_attainment_bronze": "bronze"},
    **{"carbon_g_per_1k_tokens": "g/1k tokens", "total_carbon_g_per_1k_tokens": "with idle", "carbon_g_per_1k_good_tokens": "g/1k good"},
    **{"ttft_after_release_p95_s": "released p95 s", "deferral_mean_s": "deferred s", "held_share": "held", "rate_rps": "req/s"},
}


def at_one_rate(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs at 10 req/s if there are any, else at the rate in the middle."""
    rates = runs["rate_rps"].drop_nulls().unique().sort()
    if rates.len() < 2:
        return runs
    return runs.filter(pl.col("rate_rps") == one_of_rates(rates))


def one_of_rates(rates: pl.Series) -> float | None:
    """The rate to compare at, of rates in order: 10 req/s if it is there, else the one in the middle."""
    rate: float | None = PAPER_RATE_RPS if PAPER_RATE_RPS in rates else rates[rates.len() // 2]
    return rate


def summary(runs: pl.DataFrame) -> pl.DataFrame:
    """Means over seeds of the main metrics, one row a setting, at one rate."""
    chosen = at_one_rate(runs)
    return means(chosen, settings(chosen), [name for name in SHOWN if name in runs.columns])


def text_table(frame: pl.DataFrame, rows: int = 40) -> str:
    """A frame as text: headings for people, shares in per cent, four digits."""
    cells = [[heading(name) for name in frame.columns]]
    cells += [[_shown(name, value) for name, value in zip(frame.columns, row, strict=True)] for row in frame.head(rows).iter_rows()]
    numeric = [dtype.is_numeric() for dtype in frame.dtypes]
    lines = _aligned(cells, numeric)
    if frame.height > rows:
        lines.append(f"... and {frame.height - rows:,} more")
    return "\n".join(lines)


def heading(name: str) -> str:
    """A column's name for people."""
    before, held_out, metric = name.rpartition("held-out ")
    return before + held_out + HEADINGS.get(metric, metric)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        if "slo_attainment" in name:
            return f"{value:.1%}"
        return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and name != COUNT else str(value)


def _aligned(cells: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    widths = [max(len(row[column]) for row in cells) for column in range(len(right))]
    return [
        "  ".join(cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]
