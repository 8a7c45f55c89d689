"""Arrivals: a renewal process in operational time, mapped to the clock; each of its points is a batch of requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from caps_fast.demand import Demand
from caps_fast.records import Array
from caps_fast.workload.intensity import Clockwork, LevelPath, Rate
from caps_fast.workload.streams import set_states, states, stream

STREAMS = ("arrivals", "batches", "jumps", "sojourns")


class Arrivals:
    """Arrivals of one part of a workload from `start_s` up to `end_s`.

    rate    expected requests per second
    seed, part    of the random streams
    """

    def __init__(self, demand: Demand, rate: Rate, seed: int, part: int, start_s: float, end_s: float) -> None:
        self.rate, self.start_s, self.end_s = rate, start_s, end_s
        self._streams = {name: stream(seed, name, part) for name in STREAMS}
        self._cv = 1.0 if demand.gap_cv is None else demand.gap_cv
        self._batch = 1.0 if demand.batch_size is None else demand.batch_size
        self._fixed = demand.batch_size_law == "fixed"
        self._jumps = demand.rate_levels is not None
        path = LevelPath(demand.rate_levels, self._streams, start_s) if demand.rate_levels else None
        self._clockwork = Clockwork(replace(rate, mean_rps=rate.mean_rps / self._batch), path, start_s)
        self._u = -1.0  # operational time of the last point; below 0: none yet
        self._last_s = start_s
        self._over = False

    @cached_property
    def expected_requests(self) -> float:
        """Expected number of requests."""
        return self.rate.expected(self.start_s, self.end_s)

    @property
    def dispersion(self) -> float | None:
        """Long-run variance of the number of requests over its mean: 1 for Poisson; None if the rate jumps."""
        spread = 0.0 if self._fixed else self._batch - 1.0  # variance of a geometric size over its mean
        return None if self._jumps else self._cv**2 * self._batch + spread

    def take(self, size: int) -> Array:
        """About `size` further arrivals (s), in order, with complete batches; none at the end: float64 (n,)."""
        if self._over:
            return np.zeros(0)
        gaps = self._gaps(max(round(size / self._batch), 1))
        if self._u < 0.0:
            gaps[0] = self._first_gap(gaps[0])
            self._u = 0.0
        gaps[0] += self._u
        u = np.cumsum(gaps, out=gaps)
        self._u = float(u[-1])
        times_s = self._clockwork.seconds(u, self.end_s)
        self._last_s = float(times_s[-1])
        self._over = self._last_s >= self.end_s
        if self._over:
            times_s, self._last_s = times_s[: np.searchsorted(times_s, self.end_s)], self.end_s
        return np.repeat(times_s, self._sizes(len(times_s))) if self._batch > 1.0 else times_s

    def _gaps(self, count: int) -> Array:
        """Gaps of mean 1 with the given coefficient of variation."""
        draw = self._streams["arrivals"]
        if self._cv == 1.0:
            return draw.standard_exponential(count)
        if self._cv == 0.0:
            return np.ones(count)
        from caps_fast.workload.gamma_gaps import gamma_gaps  # noqa: PLC0415 - brings SciPy

        return gamma_gaps(draw.random(count), self._cv)

    def _first_gap(self, gap: float) -> float:
        """From the start to the first point: the rest of a gap in progress at the start, so that the process is
        stationary.
        """
        draw = self._streams["batches"]
        if self._cv == 1.0:
            return gap
        if self._cv == 0.0:
            return float(draw.random())
        return float(draw.standard_gamma(self._cv**-2 + 1.0) * self._cv**2 * draw.random())

    def _sizes(self, count: int) -> Array:
        if self._fixed:
            return np.full(count, int(self._batch))
        return self._streams["batches"].geometric(1.0 / self._batch, count)

    def state(self) -> dict[str, Any]:
        """The position of the streams, as plain data."""
        place = {"u": self._u, "last_s": self._last_s, "over": int(self._over)}
        return {**place, "clockwork": self._clockwork.state(), "streams": states(self._streams)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        self._clockwork.restore(state["clockwork"])
        self._u, self._last_s, self._over = float(state["u"]), float(state["last_s"]), bool(state["over"])
        set_states(self._streams, state["streams"])
