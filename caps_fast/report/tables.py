"""The page's tables, as text in cells."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import polars as pl

from caps_fast.metrics import METRICS, metric_of
from caps_fast.report.style import policy_name
from caps_fast.sweep.summary import heading
from caps_fast.text_table import counted

METRIC_HEADS = {
    "slo_attainment": "SLO att. %",
    "carbon_g_per_1k_tokens": "carbon / RR",
    "ttft_after_release_p95_s": "P95 ms",
    "carbon_g_per_1k_good_tokens": "good / RR",
}
SUMMARY = (
    "slo_attainment",
    "carbon_g_per_1k_tokens",
    "total_carbon_g_per_1k_tokens",
    "ttft_after_release_p95_s",
    "held_share",
)
BILL = ("bill_kg", "replica_hours", "embodied_kg", "cost", "water_l")  # where a scenario counts them
NO_NUMBER = "-"
MANY = 12
MOST_ROWS = 60


def claims_table(claims: pl.DataFrame) -> dict[str, Any]:
    """Claims in order, one cell per preset: ours, interval, verdict, reason."""
    presets = claims["preset"].unique(maintain_order=True).to_list()
    rows = []
    for _, block in claims.group_by("claim", maintain_order=True):
        first = block.row(0, named=True)
        cells = [_claim_cell(row) for row in block.iter_rows(named=True)]
        fails = any(cell["verdict"] != "holds" for cell in cells)
        rows.append(
            {
                "text": first["text"],
                "paper": quantity(first["paper"], first["unit"]),
                "test": first["test"],
                "cells": cells,
                "fails": fails,
            }
        )
    holding = [
        (preset, claims.filter(pl.col("preset") == preset, pl.col("verdict") == "holds").height) for preset in presets
    ]
    return {"presets": presets, "rows": rows, "holding": holding, "total": len(rows)}


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit; shares and points times 100."""
    if value is None or math.isnan(value):
        return NO_NUMBER
    if unit == "%":
        return f"{100 * value:.1f} %"
    if unit == "points":
        return f"{100 * value:+.1f} points"
    return f"{value:,.3g} {unit}".rstrip() if abs(value) < 1000 else f"{value:,.0f} {unit}".rstrip()


def comparison_table(table1: pl.DataFrame) -> dict[str, Any]:
    """Table 1: ours, then the paper's, metric by metric."""
    rows = []
    for row in table1.iter_rows(named=True):
        cells = [row["preset"], policy_name(row["policy"])]
        for metric in METRIC_HEADS:
            cells += [_metric(metric, row[metric]), _metric(metric, row[f"paper_{metric}"])]
        rows.append(cells)
    heads = ["preset", "policy", *(part for head in METRIC_HEADS.values() for part in (head, "paper's"))]
    text = (
        f"{counted(table1['seeds'][0], 'seed')}, {counted(table1['days'][0], 'day')} at 10 requests per second. "
        "Carbon is a ratio to Round Robin's; P95 is of the time to the first token after release. The paper's figures "
        "are to the right of ours."
    )
    return {
        "name": "table1",
        "heading": "Table 1, ours and the paper's",
        "text": text,
        "heads": heads,
        "words": 2,
        "rows": rows,
    }


def headline_table(headline: pl.DataFrame) -> dict[str, Any]:
    """Attributed and billed savings, under other forecasts and rules of deferral."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "preset": lambda row: row["preset"],
        "run": lambda row: _named(row["name"]),
        "SLO att. %": lambda row: f"{100 * row['slo_attainment']:.1f}",
        "attributed g/1K": lambda row: f"{row['carbon_g_per_1k_tokens']:.3f}",
        "saving %": lambda row: _interval(row, "saving"),
        "bill kg": lambda row: f"{row['bill_kg']:,.1f}",
        "saving on the bill %": lambda row: _interval(row, "bill_saving"),
        "held %": lambda row: f"{100 * row['held_share']:.0f}",
        "of it not Bronze %": lambda row: f"{100 * row['held_not_bronze_share']:.0f}",
    }
    rows = [[make(row) for make in columns.values()] for row in headline.iter_rows(named=True)]
    text = (
        "Attributed carbon is what the paper counts: the power of busy replicas, shared by the requests on them. The "
        "bill counts every replica, including idle ones, up to the end of the arrivals; it is what a planner pays. "
        "Savings are over Round Robin, with 95 % intervals over seeds, paired."
    )
    return {
        "name": "bill",
        "heading": "With idle power, forecast error, and only Bronze deferred",
        "text": text,
        "heads": list(columns),
        "words": 2,
        "rows": rows,
    }


def own_sizes_table(own_sizes: pl.DataFrame) -> dict[str, Any]:
    """Every policy at its own best size."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "preset": lambda row: row["preset"],
        "policy": lambda row: policy_name(row["policy"]),
        "replicas": lambda row: f"{row['replicas']} in {row['split']}",
        "SLO att. %": lambda row: f"{100 * row['slo_attainment']:.1f}",
        "bill kg": lambda row: f"{row['bill_kg']:,.1f}",
        "saving on the bill %": lambda row: NO_NUMBER if row["bill_saving"] is None else _interval(row, "bill_saving"),
    }
    rows = [
        [make(row) for make in columns.values()]
        if row["replicas"] is not None
        else [row["preset"], policy_name(row["policy"]), "no fleet", *(NO_NUMBER for _ in range(3))]
        for row in own_sizes.iter_rows(named=True)
    ]
    targets = own_sizes.unique("preset", maintain_order=True)
    asked = ", ".join(f"{row['target']:.1%} under {row['preset']}" for row in targets.iter_rows(named=True))
    text = (
        "For each policy the fleet of least carbon that meets as many SLOs as both Round Robin and CAPS on the paper's "
        f"fleet ({asked}), with the same requests. Savings are over Round Robin's own fleet, with 95 % intervals over "
        "seeds, paired."
    )
    return {
        "name": "own-sizes",
        "heading": "Every policy at its own size",
        "text": text,
        "heads": list(columns),
        "words": 2,
        "rows": rows,
    }


def predictor_table(predictor: pl.DataFrame) -> dict[str, Any]:
    """The predictor's figures and the paper's."""
    rows = [
        [row["preset"], row["figure"], quantity(row["paper"], row["unit"]), quantity(row["ours"], row["unit"])]
        for row in predictor.iter_rows(named=True)
    ]
    text = (
        "On held-out requests. The synthetic workload is as predictable as the paper's error implies; see "
        "docs/predictor.md for real ones."
    )
    return {
        "name": "predictor",
        "heading": "The predictor",
        "text": text,
        "heads": ["preset", "figure", "paper", "ours"],
        "words": 2,
        "rows": rows,
    }


def summary_table(runs: pl.DataFrame, chosen: str = "") -> dict[str, Any]:
    """Means over seeds of the main metrics, by preset, policy and rate; `chosen` names the settings of the runs."""
    metrics = [name for name in SUMMARY if name in runs.columns] + [
        name for name in BILL if name in runs.columns and (runs[name].fill_nan(0) != 0).any()
    ]
    keys = ["preset", "policy", "rate_rps"]
    means = runs.group_by(keys, maintain_order=True).agg(
        pl.len().alias("seeds"), *(pl.col(name).mean() for name in metrics)
    )
    rows = [
        [
            str(row["preset"]),
            policy_name(row["policy"]),
            NO_NUMBER if row["rate_rps"] is None else f"{row['rate_rps']:g}",
            str(row["seeds"]),
            *(METRICS[name].shown(row[name]) for name in metrics),
        ]
        for row in means.iter_rows(named=True)
    ]
    text = "Means over seeds, of the runs that the curves show." + (f" {shown(chosen)}" if chosen else "")
    text += f" The first {MOST_ROWS} of {len(rows):,} rows." if len(rows) > MOST_ROWS else ""
    heads = [heading(name) for name in (*keys, "seeds", *metrics)]
    return {"name": "runs", "heading": "Runs", "text": text, "heads": heads, "words": 2, "rows": rows[:MOST_ROWS]}


def shown(chosen: str) -> str:
    """A sentence on which of several settings are shown."""
    return f"Of settings that vary, one value is shown: {chosen}."


def parameter_table(runs: pl.DataFrame) -> dict[str, Any]:
    """Every parameter column by preset: its value, or all its values."""
    presets = runs["preset"].unique(maintain_order=True).to_list()
    own = {"policy", "rate_rps", "seed", "split", "alpha", "beta", "lambda", "days", "version"}
    names = [name for name in runs.columns if name in own or ("." in name and not metric_of(name))]
    rows = []
    for name in sorted(names, key=lambda name: ("." in name, name)):
        rows.append([name, *(_values(runs.filter(pl.col("preset") == preset)[name]) for preset in presets)])
    text = "Every field of the runs' scenarios, as resolved. If a field takes several values, all are listed."
    return {
        "caption": text,
        "label": "All parameters",
        "heads": ["field", *map(str, presets)],
        "words": 1 + len(presets),
        "rows": rows,
    }


def _claim_cell(row: dict[str, Any]) -> dict[str, str]:
    low, high = row["low"], row["high"]
    interval = (
        ""
        if low is None or math.isnan(low)
        else f"{quantity(low, row['unit']).removesuffix(row['unit']).strip()} to {quantity(high, row['unit'])}"
    )
    style = row["verdict"] if row["verdict"] in {"holds", "fails", "undecided"} else "unmeasured"
    return {
        "preset": row["preset"],
        "ours": quantity(row["ours"], row["unit"]),
        "interval": interval,
        "verdict": row["verdict"],
        "style": style,
        "why": row["why"],
    }


def _metric(metric: str, value: float) -> str:
    if metric == "slo_attainment":
        return f"{100 * value:.1f}"
    return f"{1000 * value:,.0f}" if metric.endswith("_s") else f"{value:.3f}"


def _interval(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if low is None or math.isnan(low) or low == high:
        return f"{100 * row[name]:.1f}"
    return f"{100 * row[name]:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _named(name: str) -> str:
    policy, comma, rest = name.partition(",")
    return f"{policy_name(policy)}{comma}{rest}"


def _values(column: pl.Series) -> str:
    found = column.unique(maintain_order=True).to_list()
    texts = [
        NO_NUMBER if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in found
    ]
    return ", ".join(texts[:MANY]) + (f", ... {len(texts)} values" if len(texts) > MANY else "")
