"""A site's supply as a picture: flows and the battery's level over time, or the design space and its front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from caps_fast.records import Array
from caps_fast.report.style import FAINT, INK, new_figure, save, styled
from caps_fast.supply import Supplied

SUN, WIND, BATTERY, GRID = "#E69F00", "#56B4E9", "#009E73", "#767676"
STRATEGIES = {
    (False, False): ("solar and wind only", "#767676", "o"),
    (True, False): ("with a battery", "#009E73", "s"),
    (False, True): ("with movable work", "#0072B2", "^"),
    (True, True): ("with both", "#D55E00", "D"),
}
MOST_BARS = 240  # of a picture over time; longer ones show means


def supply_picture(found: Supplied, path: str | Path) -> None:
    """Draw the outcome of `supply` to a .png, .svg or .pdf. Raises InputError if it cannot be written."""
    save(supply_figure(found), path)


def supply_figure(found: Supplied) -> Figure:
    """The design space, if any, else the flows of the first rule and the battery's level under all rules."""
    with styled():
        return _flows_figure(found) if found.designs is None else _designs_figure(found, found.designs)


def _flows_figure(found: Supplied) -> Figure:
    site, first = found.site, found.dispatches[0]
    figure = new_figure(8.6, 5.4)
    upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=(2.2, 1, 1))
    bins = _bins(site.edges_s)
    hours = np.add.reduceat(site.hours, bins)
    days = np.append(site.edges_s[bins], site.edges_s[-1]) / 86400.0

    def kw(kwh: Array) -> Array:
        return np.asarray(np.add.reduceat(kwh, bins) / hours)

    solar_kwh, wind_kwh = first.design.solar_kw * found.weather.solar_kwh, first.design.wind_kw * found.weather.wind_kwh
    made_kwh = solar_kwh + wind_kwh
    served = made_kwh - first.flows[:, 0] - first.flows[:, 4]
    share = np.divide(solar_kwh, made_kwh, out=np.zeros_like(made_kwh), where=made_kwh > 0.0)
    grid_kwh = first.flows[:, 3] - first.flows[:, 1]
    parts = [served * share, served * (1 - share), first.flows[:, 2], grid_kwh]
    below = np.zeros(len(bins))
    for part, name, colour in zip(parts, ("sun", "wind", "battery", "grid"), (SUN, WIND, BATTERY, GRID), strict=True):
        above = below + kw(part)
        upper.fill_between(days, _held(below), _held(above), step="post", color=colour, linewidth=0, label=name)
        below = above
    upper.step(days, _held(kw(made_kwh)), where="post", color=INK, linewidth=0.8, label="solar and wind, total")
    upper.set(ylabel="load (kW)", ylim=(0, None))
    upper.legend(ncols=5, loc="lower left", bbox_to_anchor=(0, 1.0))
    for place, one in enumerate(found.dispatches):
        level = np.append(0.0, one.flows[:, 5])[np.append(bins, len(site.hours))]
        colour, dashes = (
            ("#000000", "#0072B2", "#009E73", "#D55E00", "#CC79A7")[place % 5],
            ("-", "--", ":", "-.", (0, (1, 2)))[place % 5],
        )
        middle.plot(days, level, color=colour, linestyle=dashes, linewidth=1.1, label=one.rule)
    middle.set(ylabel="stored (kWh)", ylim=(0, None))
    middle.legend(ncols=5, loc="lower left", bbox_to_anchor=(0, 0.97))
    lower.step(days, _held(kw(site.g_per_kwh * site.hours)), where="post", color=FAINT, linewidth=1.0)
    lower.set(ylabel="grid (g/kWh)", xlabel="day", ylim=(0, None), xlim=(days[0], days[-1]))
    return figure


def _designs_figure(found: Supplied, designs: pl.DataFrame) -> Figure:
    """Operational against embodied carbon with the front, and hourly matching over the size of solar and wind."""
    figure = new_figure(8.8, 3.9)
    left, right = figure.subplots(1, 2)
    for row, (name, colour, marker) in STRATEGIES.items():
        own = designs.filter((pl.col("battery_kwh") > 0) == row[0], (pl.col("wait_share") > 0) == row[1])
        if own.height:
            style: dict[str, Any] = {
                "color": colour,
                "marker": marker,
                "linestyle": "none",
                "markersize": 3.5,
                "alpha": 0.7,
            }
            left.plot(own["operational_kg"], own["embodied_kg"], label=name, **style)
            made = (own["solar_kwh"] + own["wind_kwh"]) / own["load_kwh"]
            right.plot(made, 100.0 * own["matched_by_sample"], **style)
    front = designs.filter("front").sort("operational_kg")
    left.plot(front["operational_kg"], front["embodied_kg"], color=INK, linewidth=1.0, label="front")
    least = designs.sort("total_kg").row(0, named=True)
    left.plot(
        least["operational_kg"],
        least["embodied_kg"],
        marker="*",
        markersize=13,
        color="#F0E442",
        markeredgecolor=INK,
        linestyle="none",
    )
    left.annotate(
        _told(least),
        (least["operational_kg"], least["embodied_kg"]),
        (0.98, 0.72),
        textcoords="axes fraction",
        ha="right",
        va="top",
        fontsize=8,
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": FAINT, "linewidth": 0.6},
        arrowprops={"arrowstyle": "-", "color": FAINT},
    )
    left.set(xlabel="operational carbon (kg)", ylabel="embodied carbon (kg)", xlim=(0, None), ylim=(0, None))
    right.axline((0, 0), slope=100, color=FAINT, linewidth=0.8, linestyle="--")
    right.set(
        xlabel="solar and wind generated / load", ylabel="load matched by sample (%)", ylim=(0, 102), xlim=(0, None)
    )
    right.text(0.98, 0.04, "dashed: matched in total", transform=right.transAxes, ha="right", color=FAINT, fontsize=8)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _told(row: dict[str, Any]) -> str:
    battery = f"{row['battery_kwh']:,.4g} kWh"
    return (
        f"least total, {row['total_kg']:,.4g} kg:\nsun {row['solar_kw']:,.4g} kW, wind {row['wind_kw']:,.4g} kW,\n"
        f"battery {battery}, {100 * row['wait_share']:g} % may move"
    )


def _bins(edges_s: Array) -> Array:
    """First samples of the bars."""
    n = len(edges_s) - 1
    return np.arange(n) if n <= MOST_BARS else np.unique(np.linspace(0, n, MOST_BARS, endpoint=False).astype(int))


def _held(values: Array) -> Array:
    return np.append(values, values[-1])
