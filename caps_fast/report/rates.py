"""SLO attainment, carbon and P95 latency against the request rate: Figure 2 of the paper."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caps_fast.errors import InputError
from caps_fast.report.style import DASHES, HOLLOW, MARKERS, colour_of, name_of, new_figure, percent, save, styled

PANELS = (
    ("slo_attainment", "SLO attainment (%)", 1.0),
    ("carbon_g_per_1k_tokens", "attributed carbon (g per 1K tokens)", 1.0),
    ("ttft_after_release_p95_s", "P95 time to first token\nafter release (ms)", 1000.0),
)
LOG_BEYOND = 20.0  # a panel whose largest value is so many times its smallest gets a log axis


def rate_curves(runs: pl.DataFrame, path: str | Path) -> None:
    """Draw a sweep's runs against their rate: mean over seeds, the band from the least to the greatest seed; to a .png, .svg or .pdf.

    Raises InputError without at least two rates.
    """
    save(rate_figure(runs), path)


def rate_figure(runs: pl.DataFrame, title: str = "") -> Figure:
    """The figure of `rate_curves`. Where other settings vary too, the runs most like one another are taken (see `plain`)."""
    chosen = plain(runs)
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
        if title:
            figure.suptitle(title.replace("$", r"\$"), fontsize=10, x=0.01, ha="left")
    return figure


def plain(runs: pl.DataFrame) -> pl.DataFrame:
    """Runs that differ in policy, rate and seed only: where another parameter varies, its most frequent value is taken."""
    chosen = runs.filter(pl.col("rate_rps").is_not_null())
    for column in [name for name in chosen.columns if _is_setting(name, chosen)]:
        counts = (
            chosen.group_by(column).agg(pl.col("rate_rps").n_unique().alias("rates"), pl.len().alias("runs")).sort("rates", "runs", descending=True)
        )
        chosen = chosen.filter(pl.col(column).eq_missing(pl.lit(counts[column][0], dtype=chosen.schema[column])))
    return chosen.unique(["policy", "rate_rps", "seed"], keep="first", maintain_order=True)


NOT_SETTINGS = ("policy", "rate_rps", "seed", "scenario_hash", "version", "input_hashes", "group", "held")
OWN_SETTINGS = ("split", "alpha", "beta", "lambda", "days", "preset")


def _is_setting(name: str, runs: pl.DataFrame) -> bool:
    return (name in OWN_SETTINGS or "." in name) and name not in NOT_SETTINGS and runs[name].n_unique() > 1


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
