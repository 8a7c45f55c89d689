"""A picture of a request trace: rate over time and the lengths of prompts and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from caps_fast.traces.describe import CATEGORY_EDGES, rate_over_time
from caps_fast.traces.reading import TraceFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, INPUT, OUTPUT, FAINT = "#333333", "#2a6f97", "#c8553d", "#bbbbbb"
_SPANS = (
    (2 * 86400.0, 86400.0, "days"),
    (2 * 3600.0, 3600.0, "hours"),
    (120.0, 60.0, "minutes"),
    (0.0, 1.0, "seconds"),
)


def picture(trace: TraceFile) -> Figure:
    """A figure of three panels (two if the trace has no times)."""
    figure = Figure(figsize=(9, 6.4 if trace.timed else 3.4), layout="constrained")
    arrivals = trace.frame["arrival_s"].to_numpy() if trace.timed else np.zeros(1)
    figure.suptitle(
        f"{trace.path.rpartition('/')[2]}: {len(trace.frame):,} requests ({trace.format})", color=INK, fontsize=12
    )
    if trace.timed:
        grid = figure.add_gridspec(2, 2)
        _rate(figure.add_subplot(grid[0, :]), arrivals)
        below = [figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])]
    else:
        below = list(figure.subplots(1, 2))
    _lengths(below[0], trace.frame["input_tokens"].to_numpy(), "input tokens", INPUT)
    _lengths(below[1], trace.frame["output_tokens"].to_numpy(), "output tokens", OUTPUT)
    for edge in list(CATEGORY_EDGES.values())[1:]:
        below[0].axvline(edge, color=FAINT, linewidth=1, linestyle="--", zorder=0)
    _name_categories(below[0])
    return figure


def _rate(axes: Axes, arrivals: np.ndarray[Any, Any]) -> None:
    if len(arrivals) < 2 or arrivals[-1] == 0:
        axes.text(0.5, 0.5, "all requests arrive at one instant", ha="center", transform=axes.transAxes, color=INK)
        axes.set_axis_off()
        return
    starts_s, rates, width_s = rate_over_time(arrivals)
    _, per, unit = next(span for span in _SPANS if arrivals[-1] >= span[0])
    edges = np.append(starts_s, min(starts_s[-1] + width_s, float(arrivals[-1]))) / per
    axes.stairs(rates, edges, fill=True, color=INPUT, alpha=0.25)
    axes.stairs(rates, edges, color=INPUT, linewidth=1)
    mean = (len(arrivals) - 1) / float(arrivals[-1])
    axes.axhline(mean, color=INK, linewidth=1, linestyle=":", label=f"mean {mean:.3g} per second")
    axes.set(
        xlabel=f"{unit} from the first request",
        ylabel="requests per second",
        xlim=(0, edges[-1]),
        ylim=(0, 1.15 * rates.max()),
    )
    axes.set_title(f"Arrivals, in bins of {_duration(width_s)}", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    _plain(axes)


def _lengths(axes: Axes, values: np.ndarray[Any, Any], name: str, color: str) -> None:
    low, high = max(int(values.min()), 1), int(values.max())
    edges = np.unique(np.round(np.geomspace(low, high + 1, 41)).astype(np.int64))
    counts, _ = np.histogram(values, edges)
    per_octave = counts / len(values) / np.log2(edges[1:] / edges[:-1])
    axes.stairs(per_octave, edges, fill=True, color=color, alpha=0.25)
    axes.stairs(per_octave, edges, color=color, linewidth=1)
    p50, p95 = np.percentile(values, (50, 95))
    for value, style, label in ((p50, "-", "p50"), (p95, "--", "p95")):
        axes.axvline(value, color=INK, linewidth=1, linestyle=style, label=f"{label} {value:,.0f}")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=8 if high > 1000 * low else 4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(xlabel=name, ylabel="share of requests per doubling", ylim=(0, 1.2 * per_octave.max()))
    axes.set_title(
        f"{name.capitalize()}: mean {values.mean():,.0f}, longest {high:,}", loc="left", fontsize=10, color=INK, pad=15
    )
    axes.legend(fontsize=8, loc="upper left", ncols=2, framealpha=0.9, edgecolor="none")
    _plain(axes)


def _name_categories(axes: Axes) -> None:
    low, high = axes.get_xlim()
    edges = [max(low, 1.0), *list(CATEGORY_EDGES.values())[1:], high]
    for name, start, end in zip(CATEGORY_EDGES, edges[:-1], edges[1:], strict=True):
        left, right = max(start, low), min(end, high)
        if right > 1.5 * left:
            axes.text(
                (left * right) ** 0.5,
                1.0,
                name,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=7,
                color="#777777",
            )


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)


def _duration(seconds: float) -> str:
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= length:
            count = seconds / length
            return f"{count:g} {name}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"
