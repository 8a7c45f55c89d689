"""The settings of a sweep in the plane of two metrics, with their Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from caps_fast.metrics import METRICS, SHARE, heading, metric_of
from caps_fast.report.style import COLOURS, FAINT, INK, LONGEST, name_of, new_figure, percent, save, styled
from caps_fast.sweep.frames import means, settings
from caps_fast.sweep.pareto import Front

MOST_NAMES = 24  # most settings in a panel that are named singly
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#882255", "#000000", "#999933", "#332288")
SHAPES = "os^DvPX*<>"
COLUMNS = 3  # panels per row


def front_picture(runs: pl.DataFrame, fronts: Sequence[Front], objectives: Sequence[str], path: str | Path) -> None:
    """Draw the outcome of `pareto` to a .png, .svg or .pdf. Raises InputError if it cannot be written."""
    save(front_figure(runs, fronts, objectives), path)


def front_figure(runs: pl.DataFrame, fronts: Sequence[Front], objectives: Sequence[str]) -> Figure:
    """A panel per front: means over seeds, coloured by the first setting that varies, shaped by the second."""
    groups = list(fronts[0].group)
    varied = _telling(runs, groups)
    points = means(runs, list(dict.fromkeys([*groups, *varied])), list(objectives))
    marks = Marks(points, varied)
    across = min(len(fronts), COLUMNS)
    down = -(-len(fronts) // across)
    with styled():
        figure = new_figure(1.0 + (5.6 if across == 1 else 4.2) * across, 0.8 + 3.4 * down)
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, front in zip(panels, fronts, strict=False):
            own = (
                points.filter(
                    pl.all_horizontal(pl.col(name).eq_missing(pl.lit(value)) for name, value in front.group.items())
                )
                if groups
                else points
            )
            _panel(axes, own, front, objectives, marks)
            axes.set_title(", ".join(f"{name} {value}" for name, value in front.group.items()))
        for axes in panels[len(fronts) :]:
            axes.remove()
        handles = marks.legend()
        if any(front.settings.height > 1 for front in fronts):
            handles.append(Line2D([], [], color=FAINT, linewidth=1.0, linestyle="--", label="Pareto front"))
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))
    return figure


def _telling(runs: pl.DataFrame, groups: Sequence[str]) -> list[str]:
    """Settings that distinguish the points, without those that follow from the ones before."""
    found: list[str] = []
    for name in settings(runs):
        if name not in groups and runs.select(*groups, *found, name).n_unique() > (
            runs.select(*groups, *found).n_unique() if groups or found else 1
        ):
            found.append(name)
    return found


def _panel(axes: Axes, points: pl.DataFrame, front: Front, objectives: Sequence[str], marks: Marks) -> None:
    x, y = objectives
    line = front.settings.sort(x)
    axes.plot(line[x], line[y], color=FAINT, linewidth=1.0, linestyle="--", zorder=1)
    for place, row in enumerate(points.sort(x).to_dicts()):
        axes.plot(row[x], row[y], linestyle="none", markersize=6, **marks.of(row))
        if points.height <= MOST_NAMES and (rest := marks.rest(row)):
            axes.annotate(
                rest,
                (row[x], row[y]),
                (5, 5 if place % 2 else -11),
                textcoords="offset points",
                fontsize=7.5,
                color=INK,
            )
    axes.set(xlabel=_label(x), ylabel=_label(y))
    axes.margins(0.14)
    for axis, name in (("x", x), ("y", y)):
        metric = metric_of(name)
        if metric is not None and metric.unit == SHARE:
            percent(axis, axes)


class Marks:
    """Colours for the values of the first setting that varies, shapes for those of the second; the others are
    written out.
    """

    def __init__(self, points: pl.DataFrame, varied: Sequence[str]) -> None:
        values = {name: points[name].unique(maintain_order=True).to_list() for name in varied}
        self.colour = next((name for name in varied if len(values[name]) <= len(PALETTE)), None)
        self.shape = next((name for name in varied if name != self.colour and len(values[name]) <= len(SHAPES)), None)
        self.others = [name for name in varied if name not in (self.colour, self.shape)]
        self.colours = {
            str(one): COLOURS.get(str(one), PALETTE[at]) for at, one in enumerate(values.get(self.colour or "", []))
        }
        self.own_shapes = {
            name: "s" if self.shape else SHAPES[at % len(SHAPES)] for at, name in enumerate(self.colours)
        }
        self.shapes = {str(one): SHAPES[at] for at, one in enumerate(values.get(self.shape or "", []))}

    def of(self, row: dict[str, Any]) -> dict[str, Any]:
        """Of a setting's point."""
        colour = self.colours[str(row[self.colour])] if self.colour else INK
        shapes, of = (self.shapes, self.shape) if self.shape else (self.own_shapes, self.colour)
        return {"color": colour, "marker": shapes[str(row[of])] if of else "o"}

    def rest(self, row: dict[str, Any]) -> str:
        """The settings that its colour and shape do not show."""
        return ", ".join(str(row[name]) for name in self.others)[:LONGEST].replace("$", r"\$")

    def legend(self) -> list[Line2D]:
        """What they mean."""
        of_colours = [
            Line2D([], [], color=self.colours[name], marker=shape, linestyle="none", label=_value_of(self.colour, name))
            for name, shape in self.own_shapes.items()
        ]
        of_shapes = [
            Line2D([], [], color=FAINT, marker=shape, linestyle="none", label=_value_of(self.shape, name))
            for name, shape in self.shapes.items()
        ]
        return of_colours + of_shapes


def _value_of(setting: str | None, value: str) -> str:
    """A value of a setting for the legend, with the setting's name where it says nothing by itself."""
    return f"no {(setting or '').rpartition('.')[2]}" if value == "none" else name_of(value)


def _label(name: str) -> str:
    share = name in METRICS and METRICS[name].unit == SHARE
    return f"{heading(name)} (%)" if share else heading(name)
