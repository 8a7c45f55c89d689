"""The other figures: policies in the SLO-carbon plane, savings by cell, sources of savings, a timeline, latencies."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from caps_fast.report.style import (
    FAINT,
    HOLLOW,
    INK,
    MARKERS,
    POOL_COLOURS,
    TIER_COLOURS,
    colour_of,
    name_of,
    new_figure,
    percent,
    span_of,
    styled,
)

LEVELS, CATEGORIES, TIERS = ("low", "mid", "high"), ("short", "long", "agentic"), ("gold", "silver", "bronze")


def plane(runs: pl.DataFrame, title: str = "") -> Figure:
    """SLO attainment against attributed carbon, one point per policy (mean over seeds, bars from the least to the
    greatest): Figure 3b of the paper.
    """
    policies = runs["policy"].unique(maintain_order=True).to_list()
    with styled():
        figure = new_figure(6.4, 4.4)
        axes = figure.subplots()
        points = []
        for policy in policies:
            own = runs.filter(pl.col("policy") == policy)
            x, y = own["carbon_g_per_1k_tokens"].to_numpy(), own["slo_attainment"].to_numpy()
            spread: dict[str, Any] = {"xerr": _spread(x), "yerr": _spread(y), "elinewidth": 1.0}
            style: dict[str, Any] = {
                "color": colour_of(policy, policies),
                "marker": MARKERS.get(policy, "o"),
                "markeredgecolor": "white",
            }
            style["markersize"] = 13 if policy == "caps" else 8
            if policy in HOLLOW:
                style |= {"markersize": 12, "markerfacecolor": "none", "markeredgecolor": style["color"]}
            points.append(
                axes.errorbar(x.mean(), y.mean(), **spread, **style, linestyle="none", label=name_of(policy)).lines[0]
            )
        axes.set(xlabel="attributed carbon (g per 1K tokens)", ylabel="SLO attainment (%)")
        axes.margins(0.12)
        axes.text(0.01, 0.99, "\N{NORTH WEST ARROW} better", transform=axes.transAxes, color=FAINT, va="top")
        percent("y", axes)
        figure.legend(points, list(map(name_of, policies)), loc="outside right center")
        figure.suptitle(title.replace("$", r"\$"), fontsize=9, x=0.01, ha="left")
    return figure


def cells(savings: pl.DataFrame, title: str = "") -> Figure:
    """Saving over Round Robin by carbon level at arrival, category and tier: Figure 3a of the paper.

    Frame: level, category, tier, saving.
    """
    with styled():
        figure = new_figure(9.0, 3.2)
        bound = float(np.abs(savings["saving"].to_numpy()).max())
        for axes, level in zip(figure.subplots(1, 3, sharey=True), LEVELS, strict=True):
            grid = np.full((3, 3), np.nan)
            for row in savings.filter(pl.col("level") == level).iter_rows(named=True):
                grid[TIERS.index(row["tier"]), CATEGORIES.index(row["category"])] = row["saving"]
            image = axes.imshow(grid, cmap="PuOr", vmin=-bound, vmax=bound, aspect="auto")
            for (tier, category), value in np.ndenumerate(grid):
                axes.text(
                    category,
                    tier,
                    f"{100 * value:.1f}",
                    ha="center",
                    va="center",
                    color="white" if abs(value) > 0.62 * bound else INK,
                )
            axes.set_xticks(range(3), CATEGORIES)
            axes.set_yticks(range(3), [tier.capitalize() for tier in TIERS])
            axes.set_title(f"{level} carbon at arrival")
            axes.grid(visible=False)
            axes.tick_params(length=0)
        figure.colorbar(image, ax=figure.axes, label="saving (%)", format=lambda value, _: f"{100 * value:g}", pad=0.01)
        figure.suptitle(title.replace("$", r"\$"), fontsize=10, x=0.01, ha="left")
    return figure


def sources(decomposition: pl.DataFrame, title: str = "") -> Figure:
    """Sources of savings over Round Robin, and the bounds. Frame: policy, part, saving, low, high."""
    labels, rows = [], []
    for row in decomposition.iter_rows(named=True):
        labels.append(
            f"bound: {row['part']}" if row["policy"] == "bound" else f"{name_of(row['policy'])}: {row['part']}"
        )
        rows.append(row)
    with styled():
        figure = new_figure(7.6, 0.32 * len(rows) + 1.0)
        axes = figure.subplots()
        for at, row in enumerate(rows):
            colour = FAINT if row["policy"] == "bound" else colour_of(row["policy"], [row["policy"]])
            axes.barh(
                at,
                row["saving"],
                color=colour,
                alpha=1.0 if row["part"] in {"total"} or row["policy"] == "bound" else 0.55,
                height=0.7,
            )
            if np.isfinite(row["low"]):
                axes.plot([row["low"], row["high"]], [at, at], color=INK, linewidth=1.2)
            end = max(row["saving"], row["high"] if np.isfinite(row["high"]) else row["saving"], 0.0)
            axes.text(end + 0.01, at, f"{100 * row['saving']:.1f}", va="center", color=INK)
        axes.set_yticks(range(len(rows)), labels)
        axes.invert_yaxis()
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="saving over Round Robin in attributed carbon per token (%)", title=title.replace("$", r"\$"))
        axes.margins(x=0.1)
        percent("x", axes)
    return figure


def timeline(series: pl.DataFrame, title: str = "") -> Figure:
    """A run's carbon intensity, power, queues and residents by pool over time.

    Frame: t_s, gamma_g_per_kwh, pool, role, power_w, residents, waiting, open.
    """
    unit_s, unit = span_of(series["t_s"].max() or 0.0)  # type: ignore[arg-type]
    series = series.with_columns(at=pl.col("t_s") / unit_s)
    with styled():
        figure = new_figure(10.2, 6.4)
        carbon, power, queue, residents = figure.subplots(4, 1, sharex=True, height_ratios=(1, 1.2, 1.2, 1.2))
        first = series.filter(pl.col("pool") == series["pool"].min())
        carbon.fill_between(first["at"], first["gamma_g_per_kwh"], step="post", color="#cccccc", linewidth=0)
        carbon.set(ylabel="intensity\n(g/kWh)", ylim=(0, None))
        for index, (_, pool) in enumerate(series.group_by("pool", maintain_order=True)):
            style: dict[str, Any] = {
                "color": POOL_COLOURS[index % len(POOL_COLOURS)],
                "linewidth": 1.2,
                "label": f"pool {index + 1}, {pool['role'][0]}",
            }
            power.step(pool["at"], pool["power_w"] / 1000, where="pre", **style)  # means of the time before
            queue.plot(pool["at"], pool["waiting"], **style)
            residents.plot(pool["at"], pool["residents"], **style)
            if not pool["open"].all():
                height = (index * 0.055, index * 0.055 + 0.045)
                _closed(queue, pool, height, style["color"])
        power.set(ylabel="power, idle\nincluded (kW)", ylim=(0, None))
        queue.set(ylabel="waiting\n(bars: gate closed)", ylim=(0, None))
        residents.set(ylabel="in service", xlabel=unit, ylim=(0, None))
        handles, labels = power.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=max(len(labels), 1))
        figure.suptitle(title.replace("$", r"\$"), fontsize=10, x=0.01, ha="left")
    return figure


def latencies(histograms: pl.DataFrame, title: str = "") -> Figure:
    """Latency, complementary CDF by tier. Frame: latency, tier, from_s, to_s, requests."""
    kinds = (
        ("ttft", "to the first token, from arrival"),
        ("ttft_after_release", "... from release"),
        ("tpot", "between tokens"),
        ("e2e", "to the last token"),
    )
    with styled():
        figure = new_figure(10.2, 3.2)
        for axes, (kind, label) in zip(figure.subplots(1, 4, sharey=True), kinds, strict=True):
            for tier in TIERS:
                own = histograms.filter(pl.col("latency") == kind, pl.col("tier") == tier).sort("to_s")
                if own.is_empty():
                    continue
                longer = 1 - own["requests"].cum_sum() / own["requests"].sum()
                axes.step(
                    own["to_s"],
                    longer.clip(1e-5),
                    where="post",
                    color=TIER_COLOURS[tier],
                    label=tier.capitalize(),
                    linewidth=1.5,
                )
            axes.set(yscale="log", ylim=(1e-3, 1.1), xlabel="seconds", title=label)
            if kind != "tpot":
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(numticks=6))
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
        figure.axes[0].set_ylabel("share with a longer latency (%)")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        figure.suptitle(title.replace("$", r"\$"), fontsize=10, x=0.01, ha="left")
    return figure


def _closed(axes: Axes, pool: pl.DataFrame, height: tuple[float, float], colour: str) -> None:
    """Bars along the lower axis from each sample with a closed gate to the next with an open one."""
    low, high = height
    turns = np.flatnonzero(np.diff(~pool["open"].to_numpy(), prepend=False, append=False))
    at = np.append(pool["at"], pool["at"][-1])[turns].reshape(-1, 2)
    bars = [(start, end - start) for start, end in at.tolist()]
    axes.broken_barh(
        bars, (low, high - low), transform=axes.get_xaxis_transform(), color=colour, alpha=0.6, linewidth=0
    )


def _spread(values: Any) -> Any:
    return np.array([[values.mean() - values.min()], [values.max() - values.mean()]])
