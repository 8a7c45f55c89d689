"""Single runs as one picture: the grid, power and queues over time, and latencies; by pool, or by policy if there are
several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from matplotlib.ticker import LogLocator, NullFormatter

from caps_fast.arrays import HISTOGRAMS
from caps_fast.books import bin_edges_s
from caps_fast.report.figures import latencies, timeline
from caps_fast.report.style import DASHES, POOL_COLOURS, TIER_COLOURS, colour_of, name_of, new_figure, percent, styled
from caps_fast.results import Result
from caps_fast.sections import TIERS
from caps_fast.text_table import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HOUR_S, DAY_S = 3600.0, 86400.0
LONG_DAYS = 2.0  # from here on the time axis counts days
SHOWN = 240  # points of a line over time
FEWEST = 1e-3  # share of requests at which latencies end
LATENCIES = (("ttft", "time to first token, from arrival"), ("e2e", "time to last token"))


@dataclass(frozen=True)
class _Line:
    """A line of the panels over time: its name and look, and the columns t_s, power_kw, waiting, residents."""

    label: str
    style: dict[str, Any]
    frame: pl.DataFrame


@dataclass(frozen=True)
class Plot:
    """Figures of one run; each is a Matplotlib figure, which a notebook shows and `savefig` writes."""

    result: Result

    def timeline(self) -> Figure:
        """Intensity, power, queues and residents by pool over time. Raises InputError if no series was recorded."""
        return timeline(self.result.series, _title([self.result]))

    def latency(self) -> Figure:
        """Shares of requests beyond each latency, by tier."""
        return latencies(self.result.histograms, _title([self.result]))

    def overview(self) -> Figure:
        """The picture of `caps-fast run --picture`. Raises InputError if no series was recorded."""
        return run_figure([self.result])


def run_figure(results: Sequence[Result]) -> Figure:
    """The figure of runs on the same requests, each with a series recorded; with one run it is by pool and tier,
    else by policy.
    """
    lines = _pools(results[0]) if len(results) == 1 else [_policy(result, results) for result in results]
    unit_s = DAY_S if results[0].scenario.days >= LONG_DAYS else HOUR_S
    with styled():
        figure = new_figure(11.0, 6.2)
        parts: Any = figure.subfigures(1, 2, width_ratios=(1.6, 1))
        left, right = parts
        over_time = left.subplots(4, 1, sharex=True, height_ratios=(0.8, 1, 1, 1))
        _intensity(over_time[0], results[0], unit_s)
        for axes, column, label in zip(
            over_time[1:], ("power_kw", "waiting", "residents"), ("power (kW)", "waiting", "in service"), strict=True
        ):
            for line in lines:
                axes.plot(line.frame["t_s"] / unit_s, line.frame[column], label=line.label, **line.style)
            axes.set(ylabel=label, ylim=(0, None))
        over_time[-1].set(xlabel="day" if unit_s == DAY_S else "hour")
        for axes, (kind, label) in zip(right.subplots(2, 1), LATENCIES, strict=True):
            _latency(axes, results, HISTOGRAMS.index(kind), label)
        handles, labels = over_time[1].get_legend_handles_labels()
        left.legend(handles, labels, loc="outside lower center", ncols=min(max(len(labels), 1), 5))
        figure.suptitle(_title(results), fontsize=10, x=0.01, ha="left")
    return figure


def _title(results: Sequence[Result]) -> str:
    config = results[0].scenario
    over = name_of(config.policy.name) if len(results) == 1 else f"{len(results)} policies on the same requests"
    return (
        f"{over}: preset {config.preset}, {counted(config.fleet.replicas, 'replica')}, {counted(config.days, 'day')}, "
        f"seed {config.seed}"
    )


def _pools(result: Result) -> list[_Line]:
    parts = result.series.partition_by("pool", maintain_order=True)
    return [
        _Line(
            f"{part['name'][0]} ({part['role'][0]})",
            {"color": POOL_COLOURS[index % len(POOL_COLOURS)], "linewidth": 1.2},
            _means(part),
        )
        for index, part in enumerate(parts)
    ]


def _policy(result: Result, results: Sequence[Result]) -> _Line:
    policy, names = result.scenario.policy.name, [one.scenario.policy.name for one in results]
    style: dict[str, Any] = {"color": colour_of(policy, names), "linewidth": 1.8 if policy == "caps" else 1.2}
    if policy in DASHES:
        style["dashes"] = DASHES[policy]
    summed = result.series.group_by("t_s", maintain_order=True).agg(pl.col("waiting", "residents", "power_w").sum())
    return _Line(name_of(policy), style, _means(summed.slice(1)))  # no power is known at the first sample


def _means(series: pl.DataFrame) -> pl.DataFrame:
    """Means over samples so that at most `SHOWN` points are left, since single samples are noise in a picture."""
    at_a_time = -(-series.height // SHOWN)
    together = series.with_row_index("bin").group_by(pl.col("bin") // at_a_time, maintain_order=True)
    return together.agg(
        pl.col("t_s", "waiting", "residents").mean(), power_kw=pl.col("power_w").drop_nans().mean() / 1000
    )


def _intensity(axes: Axes, result: Result, unit_s: float) -> None:
    """Carbon intensity of every region that has pools."""
    parts = result.series.partition_by("pool", maintain_order=True)
    regions = {pool.region: part for pool, part in zip(result.scenario.fleet.pools, parts, strict=True)}
    for number, (name, part) in enumerate(regions.items()):
        label = name if len(regions) > 1 else None
        axes.step(
            part["t_s"] / unit_s,
            part["gamma_g_per_kwh"],
            where="post",
            color="#767676",
            linewidth=1.2,
            label=label,
            alpha=1 / (1 + number),
        )
    if len(regions) > 1:
        axes.legend(loc="upper right")
    axes.set(ylabel="grid (g/kWh)", ylim=(0, None))


def _latency(axes: Axes, results: Sequence[Result], latency: int, title: str) -> None:
    """Share of finished requests beyond each latency: by tier of one run, or by policy over all tiers."""
    edges = bin_edges_s()[1:]
    curves: list[tuple[str, Any, dict[str, Any]]] = []
    if len(results) == 1:
        for at, tier in enumerate(TIERS):
            curves.append(
                (tier.capitalize(), results[0].outcome.histograms[at, latency], {"color": TIER_COLOURS[tier]})
            )
    else:
        for line, result in zip((_policy(one, results) for one in results), results, strict=True):
            curves.append((line.label, result.outcome.histograms[:, latency].sum(axis=0), line.style))
    for label, counts, style in curves:
        if counts.sum():
            beyond = 1 - np.cumsum(counts) / counts.sum()
            shown = (np.cumsum(counts) > 0) & (beyond > FEWEST / 3)
            axes.step(edges[shown], beyond[shown], where="post", label=label, **{"linewidth": 1.4, **style})
    axes.set(xscale="log", yscale="log", ylim=(FEWEST, 1.2), xlabel="seconds", ylabel="share beyond (%)", title=title)
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    percent("y", axes)
    if len(results) == 1:
        axes.legend()
