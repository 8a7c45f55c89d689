"""The value of forecasts as a picture: saving against the error of the forecast, a panel for each grid or region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caps_fast.foresight import Value
from caps_fast.report.style import FAINT, INK, MARKERS, colour_of, name_of, new_figure, save, styled

COLUMNS = 3  # panels per row


def value_picture(found: Value, path: str | Path) -> None:
    """Draw the outcome of `forecast-value` to a .png, .svg or .pdf. Raises InputError if it cannot be written."""
    save(value_figure(found), path)


def value_figure(found: Value) -> Figure:
    """Oracles with noise as a line, real forecasters as marks with their names; bars are intervals over seeds."""
    panels = found.rows.select("grid", "region").unique(maintain_order=True).rows()
    policies = found.rows["policy"].unique(maintain_order=True).to_list()
    across = min(len(panels), COLUMNS)
    down = -(-len(panels) // across)
    with styled():
        figure = new_figure(1.2 + (5.0 if across == 1 else 4.0) * across, 0.9 + 3.1 * down)
        grid = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for axes, (label, region) in zip(grid, panels, strict=False):
            own = found.rows.filter(pl.col("grid") == label, pl.col("region") == region)
            for policy in policies:
                _policy(axes, own.filter(pl.col("policy") == policy), policy, colour_of(policy, policies))
            axes.axhline(0.0, color=FAINT, linewidth=0.8)
            title = " ".join(filter(None, (label, region if len(panels) > 1 or not label else "")))
            axes.set(xlabel="forecast error, first day (%)", title=title)
            axes.margins(0.12, 0.2)
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes in grid[::across]:
            axes.set_ylabel(f"{found.of} carbon saved\nagainst {name_of(found.baseline)} (%)")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
        figure.suptitle("Line: the truth, and with noise; hollow: real forecasters", fontsize=9.5, x=0.01, ha="left")
    return figure


def _policy(axes: Axes, rows: pl.DataFrame, policy: str, colour: str) -> None:
    """A policy's savings: a line through oracles, marks with names for the others."""
    half = (100.0 * (pl.col("high") - pl.col("saving"))).fill_null(0.0)
    rows = rows.with_columns(x=100.0 * pl.col("error_day_1"), y=100.0 * pl.col("saving"), half=half).sort("x")
    oracles, others = rows.filter("oracle"), rows.filter(~pl.col("oracle"))
    style: dict[str, Any] = {"color": colour, "elinewidth": 1.0, "capsize": 2.0, "marker": MARKERS.get(policy, "o")}
    axes.errorbar(
        oracles["x"], oracles["y"], oracles["half"], linewidth=1.2, markersize=5, label=name_of(policy), **style
    )
    axes.errorbar(
        others["x"], others["y"], others["half"], linestyle="none", markersize=7, markerfacecolor="white", **style
    )
    farthest: Any = rows["x"].max()
    for place, row in enumerate(rows.to_dicts()):
        offset = (4, -13) if row["oracle"] else (5, 6 + 9 * (place % 2))
        name = row["forecast"].rpartition("/")[2].replace("$", r"\$")
        axes.annotate(
            name,
            (row["x"], row["y"]),
            offset,
            textcoords="offset points",
            fontsize=7.5,
            color=FAINT if row["oracle"] else INK,
            ha="right" if row["x"] > 0.8 * farthest else "left",
            arrowprops=None if row["oracle"] else {"arrowstyle": "-", "color": FAINT, "linewidth": 0.6},
        )
