"""Replicas by state over a run, pool by pool in one region, over its carbon intensity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caps_fast.books import SEEN_STATES
from caps_fast.records import Array
from caps_fast.report.phrases import amount, share
from caps_fast.report.style import GRID, INK, STATE_COLOURS, WIDTH_IN, columns_of, new_figure, span_of, styled

ORDER = (
    "busy",
    "idle",
    "draining",
    "waking",
    "starting",
    "stopping",
    "failed",
    "asleep",
    "off",
)  # from the bottom of the stack
ON = ("busy", "idle", "draining")
MOST_BINS = 168  # an hour of a week; narrower bins cannot be seen on a phone
MOST_POOLS = 6  # panels; more pools are drawn as one
DIRTY = 2 / 3  # quantile of intensity from which on hours are shaded


def has_states(series: pl.DataFrame) -> bool:
    """Whether a recorded series counts replicas by state: older files do not."""
    return {*SEEN_STATES, "region", "name"} <= set(series.columns)


def by_region(series: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Rows of each region."""
    for (region,), rows in series.group_by("region", maintain_order=True):
        yield str(region), rows


def states_figure(series: pl.DataFrame) -> Figure:
    """Of one run and region: intensity, then each pool's replicas by state, stacked; hours of high intensity are
    shaded.

    Frame: t_s, gamma_g_per_kwh, pool, name, and a column per SEEN_STATES.
    """
    pools = [(str(name), rows) for (name,), rows in series.group_by("name", maintain_order=True)]
    if len(pools) > MOST_POOLS:
        whole = series.group_by("t_s", maintain_order=True).agg(
            pl.col(SEEN_STATES).sum(), pl.col("gamma_g_per_kwh").first()
        )
        pools = [(f"all {len(pools)} pools", whole)]
    shown = [state for state in ORDER if (series[state] > 0).any()]
    with styled():
        figure = new_figure(WIDTH_IN, 1.7 + 1.15 * len(pools))
        carbon, *panels = figure.subplots(1 + len(pools), 1, sharex=True, height_ratios=(0.75, *[1.0] * len(pools)))
        edges, means = binned(pools[0][1], ["gamma_g_per_kwh"])
        unit, name = span_of(edges[-1])
        carbon.stairs(means[0], edges / unit, fill=True, color=GRID)
        carbon.stairs(means[0], edges / unit, color=INK, linewidth=0.8, baseline=None)
        carbon.set(ylabel="g/kWh", ylim=(0, None), title="carbon intensity (shaded: its highest third)")
        dirty = means[0] > np.quantile(means[0], DIRTY)
        for axes, (label, rows) in zip(panels, pools, strict=True):
            own_edges, counts = binned(rows, shown)
            _stack(axes, own_edges / unit, counts, shown)
            total = int(rows.select(pl.sum_horizontal(SEEN_STATES).max()).item())
            axes.set(ylabel="replicas", ylim=(0, total), title=f"{label}: {total} replicas")
            _shade(axes, edges / unit, dirty)
        _shade(carbon, edges / unit, dirty)
        panels[-1].set(xlabel=name, xlim=(edges[0] / unit, edges[-1] / unit))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns_of(len(shown)))
    return figure


def binned(rows: pl.DataFrame, columns: list[str]) -> tuple[Array, Array]:
    """Means of columns over at most MOST_BINS parts of a run: edges float64 (n + 1,) in s, means float64
    (columns, n).

    A sample stands for the time until the next one.
    """
    rows = rows.sort("t_s")
    times = rows["t_s"].to_numpy()
    length_s = float(times[-1] - times[-2]) if len(times) > 1 else 1.0
    whole = times[:-1] if len(times) > 2 else times  # the last sample is the end
    starts = np.unique(np.arange(min(MOST_BINS, len(whole))) * len(whole) // min(MOST_BINS, len(whole)))
    values = rows.select(columns).to_numpy()[: len(whole)].T.astype(float)
    sizes = np.diff(starts, append=len(whole))
    means: Array = np.add.reduceat(values, starts, axis=1) / sizes
    end_s = float(times[-1]) if len(times) > 2 else float(times[-1]) + length_s
    return np.append(whole[starts], end_s), means


def states_table(series: pl.DataFrame, label: str) -> dict[str, Any]:
    """Mean replicas by state, one row per pool: the figure in numbers."""
    shown = [state for state in ORDER if (series[state] > 0).any()]
    means = series.group_by("region", "name", maintain_order=True).agg(pl.col(shown).mean())
    rows = [
        [row["name"], row["region"], *(f"{row[state]:.2f}" for state in shown)] for row in means.iter_rows(named=True)
    ]
    return {
        "label": "Mean replicas by state",
        "caption": f"{label}: mean replicas by state",
        "heads": ["pool", "region", *shown],
        "words": 2,
        "rows": rows,
    }


def changes(series: pl.DataFrame) -> bool:
    """Whether some replica is ever neither idle nor busy."""
    return bool(series.select(pl.any_horizontal(pl.col(ORDER[2:]) > 0).any()).item())


def states_sentence(series: pl.DataFrame) -> str:
    """The number of replicas by state, and its relation to the grid, for one run and region."""
    counts = series.group_by("t_s", maintain_order=True).agg(
        pl.col(SEEN_STATES).sum(), pl.col("gamma_g_per_kwh").first()
    )
    counts = counts.with_columns(pl.sum_horizontal(ON).alias("on"), pl.sum_horizontal(SEEN_STATES).alias("all"))
    total, busy = int(counts["all"].max()), float(counts["busy"].mean() + counts["draining"].mean())  # type: ignore[arg-type,operator]
    if counts["on"].min() == total:
        return (
            f"All {total} replicas are on for the whole run; on average {amount(busy)} of them "
            f"({share(busy / total)}) are busy."
        )
    on = float(counts["on"].mean())  # type: ignore[arg-type]
    least, most = counts.select(pl.col("on").min(), pl.col("on").max().alias("most")).row(0)
    said = f"On average {amount(on)} of {total} replicas are on ({least} to {most})"
    said += f", and {amount(float(counts['busy'].mean()))} of them take work and are busy"  # type: ignore[arg-type]
    rest = [(state, float(counts[state].mean())) for state in ("asleep", "off", "failed")]  # type: ignore[arg-type]
    said += "".join(f"; {amount(mean)} are {state}" for state, mean in rest if mean > 0)
    high, low = counts["gamma_g_per_kwh"].quantile(DIRTY), counts["gamma_g_per_kwh"].quantile(1 - DIRTY)
    dirty, clean = (
        counts.filter(part)["on"].mean() for part in (pl.col("gamma_g_per_kwh") > high, pl.col("gamma_g_per_kwh") < low)
    )
    if dirty is None or clean is None:
        return f"{said}."
    on_dirty, on_clean = amount(float(dirty)), amount(float(clean))  # type: ignore[arg-type]
    return f"{said}. In the third of the time with most carbon {on_dirty} are on, in that with least {on_clean}."


def _stack(axes: Axes, edges: Array, counts: Array, states: list[str]) -> None:
    below = np.zeros(len(edges) - 1)
    for state, count in zip(states, counts, strict=True):
        axes.stairs(below + count, edges, baseline=below, fill=True, color=STATE_COLOURS[state], label=state)
        below = below + count


def _shade(axes: Axes, edges: Array, dirty: Array) -> None:
    """Faint bands over the periods of high intensity, and lines at their ends."""
    turns = np.flatnonzero(np.diff(dirty, prepend=False, append=False)).reshape(-1, 2)
    for first, end in turns:
        axes.axvspan(edges[first], edges[end], color=INK, alpha=0.13, linewidth=0)
