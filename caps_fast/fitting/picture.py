"""A picture of a fit: the error of every point against what was measured."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from caps_fast.profiles.picture import DOT, INK, LINE

WIDE = 3  # panels per row


def picture(points: pl.DataFrame, title: str) -> Figure:
    """A panel for each kind of measurement (Polars: `what`, `measured`, `fitted`, `error`)."""
    kinds = points["what"].unique(maintain_order=True).to_list()
    rows = math.ceil(len(kinds) / WIDE)
    figure = Figure(figsize=(10.5, 0.6 + 2.8 * rows), layout="constrained")
    figure.suptitle(title, color=INK, fontsize=12)
    panels = figure.subplots(rows, WIDE, squeeze=False).ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        own = points.filter(pl.col("what") == kind)
        scale, unit = (1.0, "W per GPU") if kind == "power" else (1e3, "ms")
        axes.axhline(0.0, color=LINE, linewidth=1.5)
        axes.plot(scale * own["measured"], 100 * own["error"], "o", color=DOT, markersize=4)
        axes.set(xlabel=f"measured ({unit})", ylabel="error (%)", xscale="log")
        axes.set_title(f"{kind}: {np.abs(own['error'].to_numpy()).mean():.1%}", loc="left", fontsize=10, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, which="both")
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
    for axes in panels[len(kinds) :]:
        axes.remove()
    return figure
