"""A picture of a fitted profile: measurements, and the model's line through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from caps_fast.profiles.fit import Fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, LINE, DOT = "#333333", "#2a6f97", "#c8553d"


def picture(fit: Fit, title: str) -> Figure:
    """A figure of three panels: prefill time, decode step and power of one GPU."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    figure.suptitle(title, color=INK, fontsize=12)
    prefill, step, power = figure.subplots(1, 3)
    f = fit.fields
    prompts = np.geomspace(64, 16384, 200)
    batches = np.geomspace(1, fit.max_batch, 200)
    _panel(prefill, fit, "prefill", prompts, 1e3 * (f["decode_base_s"] + f["prefill_s_per_token"] * prompts))
    _panel(step, fit, "step", batches, 1e3 * (f["decode_base_s"] + f["decode_s_per_seq"] * batches))
    _panel(
        power,
        fit,
        "power",
        batches,
        f["idle_w"] + (f["peak_w"] - f["idle_w"]) * (batches / fit.max_batch) ** f["power_exponent"],
    )
    prefill.set(xlabel="prompt tokens", ylabel="prompt time (ms)", yscale="log")
    prefill.set_title(f"{1e6 * f['prefill_s_per_token']:.4g} µs a token", loc="left", fontsize=10, color=INK)
    step.set(xlabel="batch", ylabel="decode step (ms)", ylim=(0, None))
    step.set_title(
        f"{1e3 * f['decode_base_s']:.4g} ms + {1e3 * f['decode_s_per_seq']:.4g} ms per sequence",
        loc="left",
        fontsize=10,
        color=INK,
    )
    power.axhline(f["idle_w"], color=INK, linewidth=1, linestyle=":", label=f"idle {f['idle_w']:g} W")
    power.set(xlabel=f"batch (full at {fit.max_batch})", ylabel="power of one GPU (W)", ylim=(0, None))
    power.set_title(f"peak {f['peak_w']:.4g} W, exponent {f['power_exponent']:.3g}", loc="left", fontsize=10, color=INK)
    for axes in (prefill, step, power):
        axes.legend(frameon=False, fontsize=8)
    return figure


def _panel(
    axes: Axes,
    fit: Fit,
    what: str,
    x: np.ndarray[tuple[int], np.dtype[np.float64]],
    y: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    points = fit.points.filter(pl.col("what") == what)
    scale = 1.0 if what == "power" else 1e3
    axes.plot(x, y, color=LINE, linewidth=1.5, label="model" if len(points) else "model (not measured here)")
    if len(points):
        axes.plot(
            points["at"],
            scale * points["measured"],
            "o",
            color=DOT,
            markersize=5,
            label=f"measured; mean error {_mean_error(points):.1%}",
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)


def _mean_error(points: pl.DataFrame) -> float:
    return float(np.abs(points["error"].to_numpy()).mean())
