"""Requests from a trace file: re-rated, looped or stretched to the horizon; what the file lacks is drawn from the seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from caps_fast import arrays, scenario
from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.workload.columns import columns_of, trace_of
from caps_fast.workload.streams import set_states, states, stream
from caps_fast.workload.synthetic import CONTINUES, MAX_TURNS, tenants


class ReplayedWorkload:
    """The requests of a trace over a run's horizon.

    A looped trace whose first `predictor.train_share` trains the predictor is replayed from there on: CAPS is not judged on what it learned from.

    Lengths are the file's. Tenant, tier, turns and task are the file's where it has them; a tenant without a tier gets one by the tiers' shares;
    where there are no tenants they are drawn as in the synthetic workload. `predicted_tokens` is a noisy estimate that explains `predictability` of
    the variance of log output tokens.
    """

    def __init__(self, config: scenario.Scenario) -> None:
        self.config = config
        self.end_s = config.horizon_s
        self._at, self._now_s = 0, 0.0
        self.trace = trace_of(config.workload)
        self.columns = columns_of(self.trace.frame, config, config.seed)
        self.notes: tuple[str, ...] = ()
        first = 1
        if config.predictor.source == "learned" and config.predictor.model is None and config.workload.trace_fit == "loop":
            count = len(self.trace.frame)
            share = config.predictor.train_share
            self.columns = _after(share, self.columns)
            first = count - len(self.columns["input_tokens"]) + 1
            if int(share * count) >= count > 1:
                raise InputError(f"predictor.train_share {share:g}: leaves nothing of {self.trace.path} to replay: expected a share below 1")
            self.notes = (f"{self.trace.path}: replayed from request {first:,} of {count:,} on, for CAPS learns from those before it",)
        self._streams = {name: stream(config.seed, name) for name in ("arrivals", "tenants", "turns", "outputs")}
        self._tenants = tenants(config)
        rate_rps = config.workload.rate_rps
        if self.trace.timed:
            span_s = float(self.columns["arrival_s"][-1]) + self._mean_gap_s()
            if rate_rps is None and config.workload.trace_fit == "loop" and self.columns["arrival_s"][-1] == 0.0:
                which = f"its requests from {first:,} on, which predictor.train_share leaves," if first > 1 else "its requests"
                raise InputError(
                    f"{self.trace.path}: {which} all arrive at one time, which is no rate to loop them at: expected workload.rate_rps (--rate), "
                    "or workload.trace_fit once or stretch"
                )
            self.period_s = span_s if rate_rps is None else len(self.columns["arrival_s"]) / rate_rps
            if config.workload.trace_fit == "stretch":
                self.period_s = config.horizon_s
            self._arrivals_s = self.columns["arrival_s"] * (self.period_s / span_s)
        elif rate_rps is None:
            raise InputError(f"{self.trace.path}: the file has no arrival times: expected workload.rate_rps (--rate), at which arrivals are drawn")

    @property
    def mean_input_tokens(self) -> float:
        return float(self.columns["input_tokens"].mean())

    @property
    def mean_output_tokens(self) -> float:
        return float(self.columns["output_tokens"].mean())

    def blocks(self, size: int) -> Iterator[Array]:
        """REQUEST arrays of at most `size` requests, in order of arrival; the same requests whatever the size."""
        for rows, arrivals_s in self._timed(size) if self.trace.timed else self._drawn(size):
            block = self._fill(rows, arrivals_s)[arrivals_s < self.end_s]
            if len(block):
                yield block

    def state(self) -> dict[str, Any]:
        """Where the replay stands, as plain data: what `restore` takes up."""
        return {"at": self._at, "now_s": self._now_s, "streams": states(self._streams)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same workload."""
        self._at, self._now_s = state["at"], state["now_s"]
        set_states(self._streams, state["streams"])

    def _timed(self, size: int) -> Iterator[tuple[Array, Array]]:
        """Row numbers and arrivals, replay after replay."""
        count = len(self._arrivals_s)
        while True:
            replay, row = divmod(self._at, count)
            if replay * self.period_s >= self.end_s or (self.config.workload.trace_fit == "once" and replay > 0):
                return
            rows = np.arange(row, min(row + size, count))
            self._at += len(rows)
            yield rows, self._arrivals_s[rows] + replay * self.period_s

    def _drawn(self, size: int) -> Iterator[tuple[Array, Array]]:
        """Row numbers in turn and Poisson arrivals, for files of lengths only."""
        count = len(self.columns["input_tokens"])
        rate_rps = self.config.workload.rate_rps or 1.0
        while self._now_s < self.end_s:
            gaps_s = self._streams["arrivals"].standard_exponential(size) / rate_rps
            gaps_s[0] += self._now_s
            arrivals_s = np.cumsum(gaps_s)
            self._now_s = float(arrivals_s[-1])
            rows = (self._at + np.arange(size)) % count
            self._at += size
            yield rows, arrivals_s

    def _fill(self, rows: Array, arrivals_s: Array) -> Array:
        size = len(rows)
        block = np.zeros(size, arrays.REQUEST)
        block["arrival_s"] = arrivals_s
        for name in ("input_tokens", "output_tokens", "category", "task"):
            block[name] = self.columns[name][rows]
        block["predicted_tokens"] = self._estimate(block["output_tokens"])
        drawn_tenant = np.searchsorted(self._tenants.cumulative_share, self._streams["tenants"].random(size), side="right")
        block["tenant"] = self.columns["tenant"][rows] if "tenant" in self.columns else drawn_tenant
        block["tier"] = self.columns["tier"][rows] if "tier" in self.columns else self._tenants.tier[drawn_tenant]
        drawn_turns = np.minimum(1 + np.floor(np.log1p(-self._streams["turns"].random(size)) / math.log(CONTINUES)), MAX_TURNS)
        block["turns"] = self.columns["turns"][rows] if "turns" in self.columns else drawn_turns
        return block

    def _estimate(self, output_tokens: Array) -> Array:
        """An estimate whose regression on the truth has the declared share of explained variance."""
        share = self.config.workload.predictability
        mean, sd = self._log_mean_sd
        noise = math.sqrt(share * (1 - share)) * sd * self._streams["outputs"].standard_normal(len(output_tokens))
        return np.asarray(np.maximum(np.exp(mean + share * (np.log(output_tokens) - mean) + noise), 1.0))

    @cached_property
    def _log_mean_sd(self) -> tuple[float, float]:
        logs = np.log(self.columns["output_tokens"])
        return float(logs.mean()), float(logs.std())

    def _mean_gap_s(self) -> float:
        arrivals_s = self.columns["arrival_s"]
        return max(float(arrivals_s[-1]) / max(len(arrivals_s) - 1, 1), 1e-3)


def _after(share: float, columns: dict[str, Array]) -> dict[str, Array]:
    """The columns without that share of their rows at the front, times from the first row that stays."""
    rest = {name: column[min(int(share * len(column)), len(column) - 1) :] for name, column in columns.items()}
    if "arrival_s" in rest:
        rest["arrival_s"] = rest["arrival_s"] - rest["arrival_s"][0]
    return rest
