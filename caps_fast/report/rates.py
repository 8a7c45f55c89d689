"""SLO attainment, carbon and P95 latency against the request rate: Figure 2 of the paper."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caps_fast.errors import InputError
from caps_fast.report.style import DASHES, HOLLOW, MARKERS, colour_of, name_of, new_figure, percent, save, styled
from caps_fast.sweep.alike import alike

PANELS = (
    ("slo_attainment", "SLO attainment (%)", 1.0),
    ("carbon_g_per_1k_tokens", "attributed carbon (g per 1K tokens)", 1.0),
    ("ttft_after_release_p95_s", "P95 time to first token\nafter release (ms)", 1000.0),
)
LOG_BEYOND = 20.0  # ratio of the largest to the smallest value of a panel from which it gets a log axis


def rate_curves(runs: pl.DataFrame, path: str | Path) -> None:
    """Draw a sweep's runs against their rate: mean over seeds, the band from the least to the greatest seed; to a
    .png, .svg or .pdf.

    Raises InputError without at least two rates.
    """
    save(rate_figure(runs), path)


def rate_figure(runs: pl.DataFrame) -> Figure:
    """The figure of `rate_curves`.

    If other settings vary too, it shows one value of each (see `alike`) and names it.
    """
    found = alike(runs)
    chosen = found.runs
    if chosen["rate_rps"].n_unique() < 2:
        raise InputError("runs at one rate only: expected at least two for curves against the rate")
    policies = chosen["policy"].unique(maintain_order=True).to_list()
    with styled():
        figure = new_figure(10.2, 3.5)
        for axes, (metric, label, scale) in zip(figure.subplots(1, 3), PANELS, strict=True):
            for policy in policies:
                _curve(axes, chosen.filter(pl.col("policy") == policy), (metric, scale), policies)
            values = chosen[metric].drop_nans()
            if metric.endswith("_s") and len(values) and values.max() > LOG_BEYOND * max(values.min(), 1e-12):  # type: ignore[operator,type-var]
                axes.set_yscale("log")
            axes.set(xlabel="request rate (1/s)", ylabel=label)
        percent("y", figure.axes[0])
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        if found.choice:
            figure.suptitle(fill(found.choice, 150).replace("$", r"\$"), fontsize=10, x=0.01, ha="left")
    return figure


def _curve(axes: Axes, runs: pl.DataFrame, panel: tuple[str, float], policies: list[str]) -> None:
    metric, scale = panel
    policy = runs["policy"][0]
    at = (
        runs.group_by("rate_rps")
        .agg(pl.col(metric).mean().alias("mean"), pl.col(metric).min().alias("low"), pl.col(metric).max().alias("high"))
        .sort("rate_rps")
    )
    colour = colour_of(policy, policies)
    line = axes.plot(
        at["rate_rps"],
        scale * at["mean"],
        color=colour,
        marker=MARKERS.get(policy, "o"),
        markersize=7 if policy == "caps" else 4,
        label=name_of(policy),
    )
    if policy in HOLLOW:
        line[0].set(markersize=8, markerfacecolor="none")
    line[0].set(linewidth=2.0 if policy == "caps" else 1.3, zorder=4 if policy == "caps" else 3)
    if policy in DASHES:
        line[0].set_dashes(DASHES[policy])
    axes.fill_between(at["rate_rps"], scale * at["low"], scale * at["high"], color=colour, alpha=0.18, linewidth=0)
