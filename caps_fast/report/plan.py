"""A picture of the bound's plan: the grid, the replicas that are busy, the work that waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from caps_fast.bounds import Bound
from caps_fast.bounds.points import OUTPUT
from caps_fast.report.style import FAINT, INK, POOL_COLOURS, TIER_COLOURS, new_figure, styled
from caps_fast.sections import TIERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LATE = "#000000"
HEADROOM = 1.2  # space above the curves, for the legend


def plan_figure(found: Bound) -> Figure:
    """Three panels over time: intensity by region, busy replicas by kind and region, waiting output tokens by tier."""
    with styled():
        figure = new_figure(9.0, 6.2)
        grid, busy, waiting = figure.subplots(3, 1, sharex=True)
        span_s = float(found.edges_s[-1])
        unit, name = (
            (86400.0, "days") if span_s > 2 * 86400.0 else (3600.0, "hours") if span_s > 7200.0 else (1.0, "seconds")
        )
        edges = found.edges_s / unit
        regions = {site.region: site for site in found.sites}
        for at, (region, site) in enumerate(regions.items()):
            pue = found.scenario.fleet.regions[region].pue
            grid.stairs(
                site.g_per_kwh / pue,
                edges,
                color=POOL_COLOURS[at % len(POOL_COLOURS)],
                label=region,
                linewidth=1.3,
                baseline=None,
            )
        grid.set(title="Carbon intensity", ylabel="g/kWh", ylim=(0, None))
        names = [f"{site.kind} in {site.region}" for site in found.sites]
        total = sum(site.replicas for site in found.sites)
        _stack(busy, edges, found.plan.replicas, names, POOL_COLOURS)
        busy.set(title=f"Busy replicas, of {total:,}", ylabel="replicas", ylim=(0, None))
        held = found.plan.backlog[OUTPUT]
        labels = [*(tier.capitalize() for tier in TIERS), "late"]
        shown = [row for row in range(len(held)) if held[row].any()]
        _stack(
            waiting,
            edges,
            held[shown] / 1e6,
            [labels[row] for row in shown],
            [[*TIER_COLOURS.values(), LATE][row] for row in shown],
        )
        waiting.set(
            title="Waiting output", ylabel="million tokens", ylim=(0, None), xlabel=name, xlim=(edges[0], edges[-1])
        )
        for axes in (grid, busy, waiting):
            axes.axvline(found.scenario.horizon_s / unit, color=FAINT, linestyle=":", linewidth=1)
            count = len(axes.get_legend_handles_labels()[0])
            if count > 1 or axes is waiting:
                axes.set_ylim(0, HEADROOM * axes.get_ylim()[1])
                axes.legend(loc="upper right", ncols=max(count, 1))
        _name_end(grid, found.scenario.horizon_s / unit, edges[-1])
        figure.suptitle(f"The plan of least carbon: {found.kg:,.4g} kg", fontsize=11, color=INK, x=0.01, ha="left")
    return figure


def _name_end(axes: Axes, at: float, end: float) -> None:
    """Label the line at the end of the arrivals, on the side with more room, at the bottom."""
    side, shift = ("left", 3) if at < end / 2 else ("right", -3)
    axes.annotate(
        "arrivals end",
        (at, 0),
        xycoords=("data", "axes fraction"),
        xytext=(shift, 2),
        textcoords="offset points",
        fontsize=8,
        color=FAINT,
        ha=side,
        va="bottom",
    )


def _stack(
    axes: Axes, edges: np.ndarray, rows: np.ndarray, names: list[str], colours: tuple[str, ...] | list[str]
) -> None:
    """Stacked steps, one colour each."""
    below = np.zeros(len(edges) - 1)
    for at, (row, name) in enumerate(zip(rows, names, strict=True)):
        axes.stairs(below + row, edges, baseline=below, fill=True, color=colours[at % len(colours)], label=name)
        below = below + row
