"""Fleet sizes as a picture: attainment and cost over replicas with each policy's answer, or answers over load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caps_fast.metrics import METRICS, SHARE
from caps_fast.report.style import FAINT, MARKERS, colour_of, name_of, new_figure, percent, save, styled
from caps_fast.sizing import Sized
from caps_fast.sizing.targets import SLO, Target

ANSWER, TRIED = 8.5, 4.0  # sizes of markers
STAR = 3.0  # additional, as in other figures
APART = 0.16  # horizontal distance in replicas between policies' points at one size


def size_picture(found: Sized, path: str | Path) -> None:
    """Draw the outcome of `size` to a .png, .svg or .pdf. Raises InputError if it cannot be written."""
    save(size_figure(found), path)


def size_figure(found: Sized) -> Figure:
    """The tried fleets and the answers over replicas; with several rates, the answers over the rate."""
    over_load = found.answers["rate_rps"].n_unique() > 1
    cost = "bill_kg" if found.objective == "replicas" else found.objective
    policies = found.answers["policy"].unique(maintain_order=True).to_list()
    metrics = ["replicas", cost] if over_load else [*(target.metric for target in found.targets), cost]
    with styled():
        figure = new_figure(4.3 * len(metrics), 3.7)
        panels = figure.subplots(1, len(metrics))
        for axes, metric in zip(panels, metrics, strict=True):
            (_over_load if over_load else _over_size)(axes, found, metric, policies)
        if not over_load:
            for axes, target in zip(panels, found.targets, strict=False):
                _target(axes, target)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
        figure.suptitle(_title(found, over_load), fontsize=9.5, x=0.01, ha="left")
    return figure


def _over_size(axes: Axes, found: Sized, metric: str, policies: list[str]) -> None:
    """A metric of the tried fleets over their replicas; those that meet the targets are filled, the answer is large."""
    for place, policy in enumerate(policies):
        x = (pl.col("replicas") + APART * (place - (len(policies) - 1) / 2)).alias("x")
        own = found.tried.filter(pl.col("policy") == policy, pl.col(metric).is_not_null())
        own = own.sort("replicas").with_columns(x)
        answer = found.answers.filter(pl.col("policy") == policy, pl.col("replicas").is_not_null()).with_columns(x)
        style = _style(policy, policies)
        if own["replicas"].n_unique() == own.height:
            axes.plot(own["x"], own[metric], color=style["color"], linewidth=1.0, alpha=0.6)
        for keeps, face in ((False, "white"), (True, style["color"])):
            _points(
                axes,
                own.filter(pl.col("keeps") == keeps),
                "x",
                metric,
                style | {"markersize": TRIED, "markerfacecolor": face},
            )
        label = f"{name_of(policy)}: " + (f"{answer['replicas'][0]} replicas" if answer.height else "no fleet")
        _points(axes, answer, "x", metric, style | {"markersize": ANSWER + STAR * (policy == "caps"), "label": label})
    axes.set(xlabel="replicas", ylabel=_label(metric))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.08, 0.14)
    if METRICS[metric].unit == SHARE:
        percent("y", axes)


def _over_load(axes: Axes, found: Sized, metric: str, policies: list[str]) -> None:
    """A figure of the answers against the rate."""
    for policy in policies:
        own = found.answers.filter(pl.col("policy") == policy, pl.col("replicas").is_not_null()).sort("rate_rps")
        style = _style(policy, policies)
        axes.plot(own["rate_rps"], own[metric], color=style["color"], linewidth=1.3)
        _points(
            axes,
            own,
            "rate_rps",
            metric,
            style | {"markersize": TRIED + 1 + STAR * (policy == "caps"), "label": name_of(policy)},
        )
    axes.set(xlabel="request rate (1/s)", ylabel=_label(metric), ylim=(0, None))
    if metric == "replicas":
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _points(axes: Axes, rows: pl.DataFrame, x: str, metric: str, style: dict[str, Any]) -> None:
    """Points with their intervals, if any."""
    spread = None
    if f"{metric}_low" in rows.columns:
        low, high = pl.col(metric) - pl.col(f"{metric}_low"), pl.col(f"{metric}_high") - pl.col(metric)
        spread = rows.select(low.fill_null(0.0).alias("low"), high.fill_null(0.0).alias("high")).to_numpy().T
    axes.errorbar(rows[x].to_numpy(), rows[metric].to_numpy(), spread, **style)


def _style(policy: str, policies: list[str]) -> dict[str, Any]:
    return {
        "color": colour_of(policy, policies),
        "marker": MARKERS.get(policy, "o"),
        "linestyle": "none",
        "elinewidth": 1.0,
    }


def _target(axes: Axes, target: Target) -> None:
    axes.axhline(target.least, color=FAINT, linewidth=1.0, linestyle="--", label=f"target {100 * target.least:g}%")


def _label(metric: str) -> str:
    if metric == "replicas":
        return "replicas"
    return {SLO: "SLO attainment (%)", "bill_kg": "carbon bill (kg)"}.get(metric, METRICS[metric].heading)


def _title(found: Sized, over_load: bool) -> str:
    wanted = ", ".join(f"{METRICS[target.metric].heading} at least {100 * target.least:g}%" for target in found.targets)
    if over_load:
        return f"The cheapest fleets with {wanted}, over load"
    return f"Tried fleets: those that meet {wanted} are filled, the cheapest of them is large"
