"""One sentence on what to see in each figure of a sweep or of `reproduce`, from the data."""

from __future__ import annotations

import numpy as np
import polars as pl

from caps_fast.metrics import METRICS
from caps_fast.report.phrases import amount, listed, share
from caps_fast.report.style import policy_name

SLO, CARBON = "slo_attainment", "carbon_g_per_1k_tokens"
LATE = 0.05  # share of requests for the sentence on latencies


def of_rates(runs: pl.DataFrame) -> str:
    """Runs of several rates: the policy with the least carbon at most of them, and attainment at both ends."""
    means = runs.group_by("rate_rps", "policy", maintain_order=True).agg(pl.col(SLO, CARBON).mean())
    least = means.sort(CARBON).group_by("rate_rps", maintain_order=True).agg(pl.col("policy").first())["policy"]
    rates = means["rate_rps"].n_unique()
    wins = least.value_counts(sort=True, name="rates")
    first, often = str(wins["policy"][0]), int(wins["rates"][0])
    at = "every rate" if often == rates else f"{often} of {rates} rates"
    said = f"{policy_name(first)} has the lowest attributed carbon per token at {at}"
    ordered = means["rate_rps"].unique().sort().to_list()
    for name, rate in (("lowest", ordered[0]), ("highest", ordered[-1])):
        said += (
            f"; at the {name}, {rate:g} requests per second, {_range(means.filter(pl.col('rate_rps') == rate), SLO)}"
        )
    return f"{said}."


def of_plane(runs: pl.DataFrame) -> str:
    """Runs at one rate: the ends of both axes, and the Pareto-optimal policies."""
    means = runs.group_by("policy", maintain_order=True).agg(pl.col(SLO, CARBON).mean())
    front = [
        policy_name(row["policy"])
        for row in means.iter_rows(named=True)
        if means.filter(
            (pl.col(SLO) >= row[SLO])
            & (pl.col(CARBON) <= row[CARBON])
            & ((pl.col(SLO) > row[SLO]) | (pl.col(CARBON) < row[CARBON]))
        ).is_empty()
    ]
    text = f"{_range(means, SLO)}, {_range(means, CARBON)}"
    if means.height > 1:
        text += f"; no other policy beats {listed(front)} in both"
    return text[0].upper() + text[1:] + "."


def of_timeline(series: pl.DataFrame) -> str:
    """One run over time: power in its dirtiest and cleanest third, the longest queue, closed gates."""
    whole = series.group_by("t_s", maintain_order=True).agg(
        pl.col("power_w", "waiting").sum(), pl.col("gamma_g_per_kwh").mean()
    )
    whole = whole.with_columns(pl.col("power_w").fill_nan(None))
    low, high = whole["gamma_g_per_kwh"].quantile(1 / 3), whole["gamma_g_per_kwh"].quantile(2 / 3)
    dirty, clean = (
        whole.filter(part)["power_w"].mean()
        for part in (pl.col("gamma_g_per_kwh") > high, pl.col("gamma_g_per_kwh") < low)
    )
    said = f"Mean power is {amount(float(whole['power_w'].mean() or 0.0) / 1000)} kW"  # type: ignore[arg-type]
    if dirty is not None and clean is not None:
        most, least = amount(float(dirty) / 1000), amount(float(clean) / 1000)  # type: ignore[arg-type]
        said += f": {most} in the third of the time with most carbon, {least} in that with least"
    closed = series.group_by("pool", maintain_order=True).agg(
        (~pl.col("open")).mean().alias("closed"), pl.col("role").first()
    )
    gated = [f"{row['role']} {share(row['closed'])}" for row in closed.iter_rows(named=True) if row["closed"]]
    said += f". At most {amount(float(whole['waiting'].max() or 0.0))} requests wait"  # type: ignore[arg-type]
    return f"{said}; gates are closed for {listed(gated)} of the time." if gated else f"{said}; no gate is ever closed."


def of_latencies(histograms: pl.DataFrame) -> str:
    """The latency that one request in twenty exceeds, by tier."""
    own = histograms.filter(pl.col("latency") == "ttft")
    parts = []
    for (tier,), rows in own.group_by("tier", maintain_order=True):
        ordered = rows.sort("to_s")
        over = 1 - ordered["requests"].cum_sum() / ordered["requests"].sum()
        at = int(np.argmax(over.to_numpy() <= LATE))
        parts.append(f"{str(tier).capitalize()} {amount(float(ordered['to_s'][at]))} s")
    return (
        f"One request in twenty waits longer for its first token than: {listed(parts)}."
        if parts
        else "No request finished."
    )


def of_cells(savings: pl.DataFrame) -> str:
    """The largest and the least saving."""
    ordered = savings.sort("saving")
    least, most = ordered.row(0, named=True), ordered.row(-1, named=True)
    named = [
        f"{share(row['saving'])} ({row['tier'].capitalize()}, {row['category']}, {row['level']} carbon)"
        for row in (most, least)
    ]
    return f"The saving is largest with {named[0]} and least with {named[1]}."


def of_sources(parts: pl.DataFrame) -> str:
    """The total saving of the policy that saves most, and its largest part."""
    totals = parts.filter(pl.col("part") == "total", pl.col("policy") != "bound").sort("saving", descending=True)
    if totals.is_empty():
        return "No total is known."
    best = totals.row(0, named=True)
    own = parts.filter(pl.col("policy") == best["policy"], pl.col("part") != "total").sort("saving", descending=True)
    said = f"{policy_name(best['policy'])} saves most, {share(best['saving'])}"
    return said + (f"; the largest part is {own['part'][0]} with {share(own['saving'][0])}." if own.height else ".")


def _range(means: pl.DataFrame, metric: str) -> str:
    """The lowest and the highest mean, and their policies."""
    ordered = means.sort(metric)
    (low, least), (high, most) = (
        (row[metric], policy_name(row["policy"])) for row in (ordered.row(0, named=True), ordered.row(-1, named=True))
    )
    what = "SLO attainment" if metric == SLO else "carbon"
    shown = [METRICS[metric].shown(value) + ("" if metric == SLO else " g") for value in (low, high)]
    if ordered.height == 1:
        return f"{what} is {shown[0]}"
    return f"{what} goes from {shown[0]} ({least}) to {shown[1]} ({most})"
