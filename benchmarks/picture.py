"""The picture of docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from .outcome import Outcome
from .scenarios import LEARNED, POLICIES

BLUE, GREY, ORANGE = "#2f6db3", "#b9bec6", "#d9822b"


def draw(outcome: Outcome, path: Path) -> None:
    """Save four panels: cost by policy, requests a second beside the peers, growth with GPUs and with the horizon.

    What did not run stays empty.
    """
    plt.switch_backend("agg")
    figure, ((policies, peers), (fleets, horizons)) = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    _policies(policies, outcome)
    _peers(peers, outcome)
    _growth(fleets, outcome, "test_fleet", "GPUs, at the same load on each")
    _growth(horizons, outcome, "test_horizon", "simulated hours")
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _policies(axes: Any, outcome: Outcome) -> None:
    for row, policy in enumerate(POLICIES):
        cost = outcome.seconds(f"test_policy[{policy}]")
        if cost:
            axes.barh(row, cost[policy] * 1e9, color=BLUE)
            axes.barh(row, cost["drawing"] * 1e9, color=GREY)
            axes.text(cost[policy] * 1e9, row, f" {cost[policy] / cost['drawing']:.1f} times", va="center")
    axes.set(
        title="Cost by policy; grey: drawing the workload",
        xlabel="CPU ns a request",
        yticks=range(len(POLICIES)),
        yticklabels=POLICIES,
    )
    axes.margins(x=0.3)
    axes.invert_yaxis()


def _peers(axes: Any, outcome: Outcome) -> None:
    bars = [
        (label, seconds, GREY if not label.startswith("caps-fast") else BLUE)
        for label, seconds in outcome.seconds("test_same_queue").items()
    ]
    for policy in ("round-robin", LEARNED):
        seconds = outcome.seconds(f"test_serving_against_bare_queue[{policy}]").get(policy)
        if seconds:
            bars.append((f"caps-fast, all simulated:\n{policy}", seconds, ORANGE))
    for row, (_, seconds, color) in enumerate(bars):
        axes.barh(row, 1 / seconds, color=color)
        axes.text(1 / seconds, row, f" {1 / seconds / 1e6:.2g} M", va="center")
    axes.set(title="Beside other simulators", xlabel="requests per CPU-second", xscale="log")
    axes.set_yticks(range(len(bars)), [label for label, _, _ in bars])
    axes.margins(x=0.2)
    axes.invert_yaxis()


def _growth(axes: Any, outcome: Outcome, test: str, xlabel: str) -> None:
    for benchmark in outcome.benchmarks:
        if benchmark.name.startswith(f"{test}["):
            points = sorted((_size(label), seconds * 1e9) for label, seconds in benchmark.seconds.items())
            axes.plot(*zip(*points, strict=True), marker="o", label=benchmark.name.partition("[")[2].rstrip("]"))
    axes.set(title=f"Cost and {xlabel}", xlabel=xlabel, ylabel="CPU ns a request", xscale="log")
    if axes.lines:
        axes.set_ylim(0, 1.3 * max(max(line.get_ydata()) for line in axes.lines))
        axes.legend(frameon=False, fontsize="small")


def _size(label: str) -> float:
    """GPUs, or hours, of a label like `2,400 GPUs`, `6 h` or `7 d`."""
    number, unit = label.split()
    return float(number.replace(",", "")) * (24 if unit == "d" else 1)
