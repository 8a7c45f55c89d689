"""Requests from a trace file: re-rated, looped or stretched to the horizon; missing columns are drawn from the seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from caps_fast import arrays, scenario
from caps_fast.clock import clock_of, trace_of
from caps_fast.demand import laid_over
from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.workload.arrivals import Arrivals
from caps_fast.workload.columns import columns_of
from caps_fast.workload.days import Days
from caps_fast.workload.merged import Merged
from caps_fast.workload.streams import set_states, states, stream
from caps_fast.workload.synthetic import CONTINUES, MAX_TURNS, tenants
from caps_fast.workload.varied import rate_of


class ReplayedWorkload:
    """The requests of a trace over a run's horizon.

    A looped trace whose first `predictor.train_share` trains the predictor is replayed from there on, so that CAPS does
    not replay its training data. A trace that has dates and spans days keeps its time of day (`clock`), whatever the
    rate.

    Lengths are the file's. Tenant, tier, turns and task are the file's where it has them; a tenant without a tier gets
    one by the tiers' shares; without tenants, they are drawn as in the synthetic workload. `predicted_tokens` is a
    noisy estimate that explains `predictability` of the variance of log output tokens.
    """

    def __init__(self, config: scenario.Scenario) -> None:
        self.config = config
        self.end_s = config.horizon_s
        self._at, self._now_s = 0, 0.0
        self.trace, self.clock = trace_of(config.workload), clock_of(config)
        self.columns = columns_of(self.trace.frame, config, config.seed)
        count = len(self.trace.frame)
        first = self._first_row(count)
        self.columns = {name: column[first : self.clock.last or count] for name, column in self.columns.items()}
        self._streams = {name: stream(config.seed, name) for name in ("arrivals", "tenants", "turns", "outputs")}
        self._tenants = tenants(config)
        self._days: Days | None = None
        rate_rps = config.workload.rate_rps
        self._varied: _Rows | None = None
        if self.trace.timed:
            self._lay_out()
        elif rate_rps is None:
            raise InputError(
                f"{self.trace.path}: the file has no arrival times: expected workload.rate_rps (--rate), at which "
                "arrivals are drawn"
            )
        if not config.workload.is_steady:
            self._varied = _Rows(self, self._drawn_arrivals())
            self._merged = Merged([self._varied])
        self.notes = (*self.trace.notes, *self.clock.notes, *self._part_notes(first, count))

    def _first_row(self, count: int) -> int:
        """The first replayed row: a looped trace starts after the rows that train the predictor."""
        if self.clock.start is not None and self.trace.timed:
            return self.clock.first
        if (
            self.config.predictor.source == "declared"
            or self.config.predictor.model is not None
            or self.config.workload.trace_fit != "loop"
        ):
            return 0
        share = self.config.predictor.train_share
        if int(share * count) >= count > 1:
            raise InputError(
                f"predictor.train_share {share:g}: leaves nothing of {self.trace.path} to replay: expected a share "
                "below 1"
            )
        return min(int(share * count), count - 1)

    def _lay_out(self) -> None:
        """Arrivals of one replay, and its duration; for a trace that keeps its time of day, its days.

        Raises InputError if all arrive at one time.
        """
        config, clock, at_s = self.config.workload, self.clock, self.columns["arrival_s"]
        if clock.period_s is not None:
            own_rps = len(at_s) / clock.period_s
            wanted_rps = len(at_s) / self.end_s if config.trace_fit == "stretch" else config.rate_rps or own_rps
            self._days = Days(
                at_s - clock.base_s, clock.period_s, clock.phase_s, wanted_rps / own_rps, config.trace_fit == "once"
            )
            self._at = self._days.first
            return
        late = clock.start is not None and config.trace_fit == "once"
        at_s = at_s - (clock.phase_s if late else at_s[0])
        self.columns["arrival_s"] = at_s
        span_s = float(at_s[-1]) + self._mean_gap_s()
        if config.rate_rps is None and config.trace_fit == "loop" and at_s[-1] == 0.0:
            first = self._first_row(len(self.trace.frame)) + 1
            which = (
                f"its requests from {first:,} on, which predictor.train_share leaves," if first > 1 else "its requests"
            )
            raise InputError(
                f"{self.trace.path}: {which} all arrive at one time, which is no rate to loop them at: expected "
                "workload.rate_rps (--rate), "
                "or workload.trace_fit once or stretch"
            )
        self.period_s = span_s if config.rate_rps is None else len(at_s) / config.rate_rps
        if config.trace_fit == "stretch":
            self.period_s = self.config.horizon_s
        self._arrivals_s = at_s * (self.period_s / span_s)

    def _part_notes(self, first: int, count: int) -> Iterator[str]:
        """The part of the trace that is not replayed, and the reason."""
        if first and self.config.workload.trace_fit == "loop":
            yield (
                f"{self.trace.path}: replayed from request {first + 1:,} of {count:,} on, because CAPS is trained on "
                "those before it"
            )
        if not self.trace.timed:
            yield f"{self.trace.path}: has no arrival times; they are drawn"
        elif self.config.workload.trace_fit == "once":
            if self._days is not None:
                _, arrivals_s = self._days.played(0, math.ceil(len(self.columns["arrival_s"]) * self._days.density))
            else:
                arrivals_s = self._arrivals_s
            early, late = (
                int((arrivals_s < 0).sum()) + (first if self._days is None else 0),
                int((arrivals_s >= self.end_s).sum()),
            )
            for left, when in (
                (early, "before the run's start"),
                (late, f"after the run's end (days {self.config.days:g})"),
            ):
                if left:
                    share = left / max(len(arrivals_s), 1)
                    yield (
                        f"{self.trace.path}: {left:,} requests ({share:.1%}) come {when} and are left out "
                        "(trace_fit once)"
                    )

    @property
    def drawn(self) -> bool:
        """Whether arrivals are drawn, because the file has no times."""
        return not self.trace.timed

    @property
    def expected_requests(self) -> float | None:
        """Expected number of requests if arrivals are drawn."""
        return self._varied.arrivals.expected_requests if self._varied else None

    @property
    def spread(self) -> float | None:
        """Long-run variance of the number of drawn requests over its mean; None if unknown."""
        return self._varied.arrivals.dispersion if self._varied else 1.0

    @property
    def mean_input_tokens(self) -> float:
        return float(self.columns["input_tokens"].mean())

    @property
    def mean_output_tokens(self) -> float:
        return float(self.columns["output_tokens"].mean())

    def blocks(self, size: int) -> Iterator[Array]:
        """REQUEST arrays of at most `size` requests, in order of arrival; the same requests whatever the size."""
        if self._varied is not None:
            yield from self._merged.blocks(size)
            return
        for rows, arrivals_s in self._timed(size) if self.trace.timed else self._drawn(size):
            block = self._fill(rows, arrivals_s)[(arrivals_s >= 0) & (arrivals_s < self.end_s)]
            if len(block):
                yield block

    def parts_s(self) -> Iterator[float]:
        """None: all comes in blocks."""
        return iter(())

    def state(self) -> dict[str, Any]:
        """The position of the replay, as plain data, for `restore`."""
        return self.place if self._varied is None else self._merged.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same workload."""
        if self._varied is None:
            self.go_to(state)
        else:
            self._merged.restore(state)

    @property
    def place(self) -> dict[str, Any]:
        """The next row and the positions of the streams, as plain data."""
        return {"at": self._at, "now_s": self._now_s, "streams": states(self._streams)}

    def go_to(self, place: Mapping[str, Any]) -> None:
        """Continue from a `place`."""
        self._at, self._now_s = place["at"], place["now_s"]
        set_states(self._streams, place["streams"])

    def fill_in_turn(self, arrivals_s: Array) -> Array:
        """The file's next rows as requests that arrive then."""
        rows = (self._at + np.arange(len(arrivals_s))) % len(self.columns["input_tokens"])
        self._at += len(rows)
        return self._fill(rows, arrivals_s)

    def _drawn_arrivals(self) -> Arrivals:
        """Arrivals with the scenario's demand.

        Raises InputError if the file has times or the demand differs between requests.
        """
        workload = self.config.workload
        field = next(iter(workload.said), None) or ("by_tier" if workload.by_tier else "by_category")
        if self.trace.timed:
            raise InputError(
                f"workload.{field}: {self.trace.path} has arrival times: expected no demand with a trace with times"
            )
        if workload.by_tier or workload.by_category:
            raise InputError(
                f"workload.by_tier, by_category: {self.trace.path} gives requests in its order: expected one "
                "demand for all"
            )
        demand = laid_over([workload])
        return Arrivals(demand, rate_of(self.config, demand), self.config.seed, 0, 0.0, self.end_s)

    def _timed(self, size: int) -> Iterator[tuple[Array, Array]]:
        """Row numbers and arrivals, replay after replay."""
        while self._days is not None:
            rows, arrivals_s = self._days.played(self._at, size)
            if not len(rows) or arrivals_s[0] >= self.end_s:
                return
            self._at += len(rows)
            yield rows, arrivals_s
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
        drawn_tenant = np.searchsorted(
            self._tenants.cumulative_share, self._streams["tenants"].random(size), side="right"
        )
        block["tenant"] = self.columns["tenant"][rows] if "tenant" in self.columns else drawn_tenant
        block["tier"] = self.columns["tier"][rows] if "tier" in self.columns else self._tenants.tier[drawn_tenant]
        if "origin" in self.columns:
            block["origin"] = self.columns["origin"][rows]
        drawn_turns = np.minimum(
            1 + np.floor(np.log1p(-self._streams["turns"].random(size)) / math.log(CONTINUES)), MAX_TURNS
        )
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


class _Rows:
    """The rows of a file of lengths, in turn, at drawn arrivals: a source for `Merged`."""

    def __init__(self, replay: ReplayedWorkload, arrivals: Arrivals) -> None:
        self.replay, self.arrivals = replay, arrivals

    def take(self, size: int) -> Array:
        """About `size` further requests (REQUEST); none at the end."""
        arrivals_s = self.arrivals.take(size)
        return self.replay.fill_in_turn(arrivals_s)

    def state(self) -> dict[str, Any]:
        """The position of the streams, as plain data."""
        return {"arrivals": self.arrivals.state(), "rows": self.replay.place}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        self.arrivals.restore(state["arrivals"])
        self.replay.go_to(state["rows"])
