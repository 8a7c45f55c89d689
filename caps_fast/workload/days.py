"""A trace of whole days at any rate: the number of requests changes, the times of day do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from caps_fast.records import Array

ROUNDING = 1e-9  # of a request


@dataclass(frozen=True)
class Days:
    """A loop of requests at `at_s`, float64 (n,), in order, in [0, `period_s`), of which `phase_s` is t = 0.

    With a `density` below 1 an even selection of requests is replayed; above 1 each is replayed several times, spread
    over the time to the next one (at most the mean distance). The k-th replayed request depends only on k.
    """

    at_s: Array
    period_s: float
    phase_s: float
    density: float
    once: bool

    @property
    def first(self) -> int:
        """The k of the first request from t = 0 on."""
        return math.ceil(int(np.searchsorted(self.at_s, self.phase_s)) * self.density)

    @cached_property
    def _spread_s(self) -> Array:
        mean_s = float(self.at_s[-1] - self.at_s[0]) / (len(self.at_s) - 1) if len(self.at_s) > 1 else self.period_s
        return np.minimum(np.diff(self.at_s, append=self.at_s[0] + self.period_s), mean_s)

    def played(self, k: int, size: int) -> tuple[Array, Array]:
        """Rows and arrivals (s) of the requests from the k-th on; fewer than `size` if the trace is replayed once and
        ends.
        """
        number = np.arange(k, k + size)
        passed = np.floor(number / self.density + ROUNDING).astype(
            np.int64
        )  # requests of the trace before this one, over all loops
        if self.once:
            number, passed = number[passed < len(self.at_s)], passed[passed < len(self.at_s)]
        loop, row = np.divmod(passed, len(self.at_s))
        copies_from = np.ceil(passed * self.density)
        copies = np.maximum(np.ceil((passed + 1) * self.density) - copies_from, 1.0)
        copy = np.clip(number - copies_from, 0.0, copies - 1.0)
        arrivals_s = self.at_s[row] + self._spread_s[row] * (copy / copies) + (loop * self.period_s - self.phase_s)
        return row, arrivals_s
