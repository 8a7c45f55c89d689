"""The distributions of measured and simulated latencies in one picture."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from caps_fast.validation.compare import latencies
from caps_fast.validation.log import RequestLog
from caps_fast.validation.replay import Played

INK, MEASURED, SIMULATED = "#333333", "#c8553d", "#2a6f97"


def picture(log: RequestLog, played: Played, title: str) -> Figure:
    """One panel each for TTFT, TPOT and E2E: cumulative distribution."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    figure.suptitle(title, color=INK, fontsize=12)
    measured, simulated = latencies(log, log.ttft_s, log.e2e_s), latencies(log, played.ttft_s, played.e2e_s)
    for axes, name in zip(figure.subplots(1, 3), measured, strict=True):
        for values, color, label in ((measured[name], MEASURED, "measured"), (simulated[name], SIMULATED, "simulated")):
            shares = np.arange(1, len(values) + 1) / max(len(values), 1)
            mean = f", mean {1e3 * values.mean():.4g} ms" if len(values) else ""
            axes.step(1e3 * np.sort(values), shares, where="post", color=color, linewidth=1.5, label=f"{label}{mean}")
        axes.set(xlabel=f"{name.upper()} (ms)", ylabel="share of requests", ylim=(0, 1))
        axes.set_xscale("log")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, which="both")
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure
