"""The settings of a sweep in the plane of two metrics, with the front that no other setting beats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caps_fast.metrics import METRICS, SHARE, heading, metric_of
from caps_fast.report.style import COLOURS, FAINT, INK, LONGEST, MARKERS, SPARE_COLOURS, name_of, new_figure, percent, save, styled
from caps_fast.sweep.frames import means, settings
from caps_fast.sweep.pareto import Front

MOST_NAMES = 24  # settings in a panel that are named one by one
MOST_COLOURS = 10
COLUMNS = 3  # panels beside each other


def front_picture(runs: pl.DataFrame, fronts: Sequence[Front], objectives: Sequence[str], path: str | Path) -> None:
    """Draw the outcome of `pareto` to a .png, .svg or .pdf. Raises InputError where it cannot be written."""
    save(front_figure(runs, fronts, objectives), path)


def front_figure(runs: pl.DataFrame, fronts: Sequence[Front], objectives: Sequence[str]) -> Figure:
    """A panel per front: means over seeds, coloured by the first setting that varies, named by the others."""
    groups = list(fronts[0].group)
    varied = [name for name in settings(runs) if name not in groups and runs[name].n_unique() > 1]
    points = means(runs, list(dict.fromkeys([*groups, *varied])), list(objectives))
    across = min(len(fronts), COLUMNS)
    down = -(-len(fronts) // across)
    with styled():
        figure = new_figure(1.0 + (5.6 if across == 1 else 4.2) * across, 0.8 + 3.4 * down)
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, front in zip(panels, fronts, strict=False):
            own = (
                points.filter(pl.all_horizontal(pl.col(name).eq_missing(pl.lit(value)) for name, value in front.group.items())) if groups else points
            )
            _panel(axes, own, front, objectives, varied)
            axes.set_title(", ".join(f"{name} {value}" for name, value in front.group.items()))
        for axes in panels[len(fronts) :]:
            axes.remove()
        handles, labels = panels[0].get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    return figure


def _panel(axes: Axes, points: pl.DataFrame, front: Front, objectives: Sequence[str], varied: Sequence[str]) -> None:
    x, y = objectives
    line = front.settings.sort(x)
    axes.plot(line[x], line[y], color=FAINT, linewidth=1.0, linestyle="--", zorder=1)
    first = varied[0] if varied else None
    kinds: list[Any] = points[first].unique(maintain_order=True).to_list() if first else [None]
    for place, kind in enumerate(kinds):
        own = points.filter(pl.col(first).eq_missing(pl.lit(kind))) if first else points
        name = str(kind)
        colour = COLOURS.get(name) or (SPARE_COLOURS[place % len(SPARE_COLOURS)] if len(kinds) <= MOST_COLOURS else INK)
        label = name_of(name) if first and len(kinds) <= MOST_COLOURS else None
        axes.plot(own[x], own[y], linestyle="none", marker=MARKERS.get(name, "os^DvPX"[place % 7]), color=colour, markersize=6, label=label)
    if points.height <= MOST_NAMES:
        for place, row in enumerate(points.sort(x).to_dicts()):
            said = ", ".join(str(row[name]) for name in varied[1:])[:LONGEST].replace("$", r"\$")
            axes.annotate(said, (row[x], row[y]), (5, 5 if place % 2 else -11), textcoords="offset points", fontsize=7.5, color=INK)
    axes.set(xlabel=_label(x), ylabel=_label(y))
    axes.margins(0.14)
    for axis, name in (("x", x), ("y", y)):
        metric = metric_of(name)
        if metric is not None and metric.unit == SHARE:
            percent(axis, axes)


def _label(name: str) -> str:
    share = name in METRICS and METRICS[name].unit == SHARE
    return f"{heading(name)} (%)" if share else heading(name)
