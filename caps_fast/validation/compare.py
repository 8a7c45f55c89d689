"""Measured and simulated: means and quantiles of latencies, rates, power, and the errors."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from caps_fast.records import Array
from caps_fast.validation.log import RequestLog
from caps_fast.validation.replay import Played

LATENCIES = ("ttft", "tpot", "e2e")
QUANTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Comparison:
    """A metric, measured and simulated; `error` is (simulated - measured) / measured."""

    metric: str
    measured: float
    simulated: float

    @property
    def error(self) -> float:
        return self.simulated / self.measured - 1 if self.measured else float("nan")

    def row(self) -> dict[str, str | float]:
        """In the form of `validate --json`."""
        return asdict(self) | {"error": self.error}


def compare(log: RequestLog, played: Played, power_w: float | None = None) -> list[Comparison]:
    """Every metric of a log and of its replay; mean power where it was measured."""
    measured = metrics_of(log, log.ttft_s, log.e2e_s)
    simulated = metrics_of(log, played.ttft_s, played.e2e_s)
    found = [Comparison(name, value, simulated[name]) for name, value in measured.items()]
    if power_w is not None:
        found.append(Comparison("mean_power_w", power_w, played.mean_power_w))
    return found


def metrics_of(log: RequestLog, ttft_s: Array, e2e_s: Array) -> dict[str, float]:
    """Exact means and quantiles of the latencies (n,) of a log's requests, and rates from its first arrival to its
    last completion.

    Unfinished requests (nan) are not counted.
    """
    done = np.isfinite(e2e_s)
    found = {}
    for name, every in latencies(log, ttft_s, e2e_s).items():
        values = every[np.isfinite(every)]
        found[f"{name}_mean_s"] = float(values.mean()) if len(values) else float("nan")
        for percent in QUANTILES:
            found[f"{name}_p{percent}_s"] = float(np.quantile(values, percent / 100)) if len(values) else float("nan")
    span_s = float((log.arrival_s + e2e_s)[done].max()) if done.any() else float("nan")
    found["output_tokens_per_s"] = float(log.output_tokens[done].sum()) / span_s
    found["requests_per_s"] = float(done.sum()) / span_s
    return found


def latencies(log: RequestLog, ttft_s: Array, e2e_s: Array) -> dict[str, Array]:
    """TTFT, TPOT (of requests with more than one output token) and E2E of a log's requests."""
    several = log.output_tokens > 1
    tpot_s = (e2e_s - ttft_s)[several] / (log.output_tokens[several] - 1)
    return {"ttft": ttft_s, "tpot": tpot_s, "e2e": e2e_s}
