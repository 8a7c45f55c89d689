"""The rate of arrivals over time, piecewise constant, and the map from operational time to the clock.

In *operational time* one arrival comes per unit: u(t) is the integral of the rate from the start to t. A process with
unit rate in operational time, mapped back through the inverse of u, has exactly the given rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from caps_fast._jit import compiled
from caps_fast.demand import Levels, Surge
from caps_fast.records import Array
from caps_fast.workload.shapes import DAY_S, Shape
from caps_fast.workload.streams import set_states, states

MONTH_DAYS = 365.25 / 12


@dataclass(frozen=True)
class Rate:
    """The expected rate: requests per second, `mean_rps` on average over the shape's period.

    Growth steps at midnights of the run (multiples of a day from t = 0).
    """

    mean_rps: float
    shape: Shape
    growth_per_month: float = 0.0
    surges: tuple[Surge, ...] = ()

    def pieces(self, from_s: float, to_s: float) -> tuple[Array, Array]:
        """Edges, float64 (n + 1,), and rates between them, float64 (n,), within one day of the run."""
        step_s, phase_s = self.shape.step_s, self.shape.phase_s
        inside: list[Array] = []
        if len(self.shape.factors) > 1:
            steps = np.arange(math.floor((from_s + phase_s) / step_s) + 1, math.ceil((to_s + phase_s) / step_s))
            inside.append(steps * step_s - phase_s)
        if self.surges:
            ends_h = [at_h for surge in self.surges for at_h in (surge.at_h, surge.at_h + surge.hours)]
            inside.append(np.array(ends_h) * 3600)
        edges_s = np.unique(np.concatenate([[from_s], *inside, [to_s]]))
        edges_s = edges_s[(edges_s >= from_s) & (edges_s <= to_s)]
        middle_s = (edges_s[1:] + edges_s[:-1]) / 2
        step = np.floor(np.mod(middle_s + phase_s, self.shape.period_s) / step_s).astype(np.int64)
        rates = self.mean_rps * self.shape.factors[np.minimum(step, len(self.shape.factors) - 1)]
        if self.growth_per_month:
            rates = rates * (1 + self.growth_per_month) ** (math.floor((from_s + to_s) / 2 / DAY_S) / MONTH_DAYS)
        for surge in self.surges:
            rates = np.where(
                (middle_s >= surge.at_h * 3600) & (middle_s < (surge.at_h + surge.hours) * 3600),
                rates * surge.factor,
                rates,
            )
        return edges_s, rates

    def expected(self, from_s: float, to_s: float) -> float:
        """The integral of the rate: the expected number of requests."""
        total, at_s = 0.0, from_s
        while at_s < to_s:
            end_s = min(next_midnight_s(at_s), to_s)
            edges_s, rates = self.pieces(at_s, end_s)
            total += float(rates @ np.diff(edges_s))
            at_s = end_s
        return total


def next_midnight_s(at_s: float) -> float:
    """The end of the day of the run that `at_s` is in."""
    return (math.floor(at_s / DAY_S) + 1) * DAY_S


class LevelPath:
    """The path of a rate that jumps between levels, relative to its mean: drawn from its own streams, in order of time.

    It begins in its stationary state. `streams` has the generators `jumps` and `sojourns`.
    """

    def __init__(self, levels: Levels, streams: Mapping[str, np.random.Generator], start_s: float) -> None:
        self.factors = np.array(levels.levels) / levels.mean
        self.sojourn_s = np.array(levels.sojourn_s)
        self._streams = {name: streams[name] for name in ("jumps", "sojourns")}
        first = int(np.searchsorted(np.cumsum(levels.time_shares), self._streams["jumps"].random(), side="right"))
        self._level = min(first, len(self.factors) - 1)
        self._until_s = start_s + self._sojourn_s()

    def before(self, to_s: float) -> tuple[Array, Array]:
        """Times before `to_s` at which the level changes, and the factors before, between and after them. Calls must be
        in order of time.
        """
        at_s, factors = [], [self.factors[self._level]]
        while self._until_s < to_s:
            at_s.append(self._until_s)
            others = len(self.factors) - 1
            if others:
                self._level = (self._level + 1 + int(self._streams["jumps"].random() * others)) % len(self.factors)
            factors.append(self.factors[self._level])
            self._until_s += self._sojourn_s()
        return np.array(at_s), np.array(factors)

    def _sojourn_s(self) -> float:
        return float(self._streams["sojourns"].standard_exponential() * self.sojourn_s[self._level])

    def state(self) -> dict[str, Any]:
        """The position of the path, as plain data."""
        return {"level": self._level, "until_s": self._until_s, "streams": states(self._streams)}

    def restore(self, state: Mapping[str, Any], begin_s: float) -> None:
        """Continue from there, at `begin_s`. Raises ValueError if the level should have changed before."""
        self._level, self._until_s = int(state["level"]) % len(self.factors), float(state["until_s"])
        if not self._until_s >= begin_s:
            raise ValueError(f"until_s {self._until_s:g}")
        set_states(self._streams, state["streams"])


class Clockwork:
    """Maps operational time to seconds, day by day, forward only.

    The same operational times give the same seconds, to the bit, however they are divided into calls: each day's
    integral begins where the day before ended.
    """

    def __init__(self, rate: Rate, path: LevelPath | None, start_s: float) -> None:
        self._rate, self._path = rate, path
        self._begin_s = self._end_s = start_s  # of the current day
        self._edges_s, self._rates, self._at = np.array([start_s]), np.zeros(0), np.zeros(1)
        self._before: dict[str, Any] | None = None

    def seconds(self, u: Array, end_s: float) -> Array:
        """Seconds of operational times `u`, in order: float64 (n,); `inf` after the day of `end_s`."""
        found = np.empty(len(u))
        done = 0
        while (done := _map(u, self._at, self._edges_s, self._rates, found, done)) < len(u):
            if self._end_s >= end_s:
                found[done:] = math.inf
                break
            self._go_on(self._end_s, float(self._at[-1]))
        return found

    def _go_on(self, begin_s: float, u: float) -> None:
        """Move to the day that begins then, at operational time `u`."""
        self._begin_s, self._end_s = begin_s, next_midnight_s(begin_s)
        edges_s, rates = self._rate.pieces(begin_s, self._end_s)
        if self._path is not None:
            self._before = self._path.state()
            jumps_s, factors = self._path.before(self._end_s)
            every_s = np.unique(np.concatenate([edges_s, jumps_s]))
            middle_s = (every_s[1:] + every_s[:-1]) / 2
            levels = factors[np.searchsorted(jumps_s, middle_s, side="right")]
            rates = rates[np.searchsorted(edges_s, middle_s, side="right") - 1] * levels
            edges_s = every_s
        self._edges_s, self._rates = edges_s, rates
        self._at = u + np.concatenate([[0.0], np.cumsum(rates * np.diff(edges_s))])

    def state(self) -> dict[str, Any]:
        """The position, as plain data: the current day, which `restore` sets up again."""
        return {"begin_s": self._begin_s, "end_s": self._end_s, "u": float(self._at[0]), "path": self._before}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from there. Raises ValueError for a position before the start."""
        begin_s = float(state["begin_s"])
        if not self._begin_s <= begin_s < math.inf:
            raise ValueError(f"begin_s {begin_s:g}")
        if state["end_s"] == begin_s:
            return  # nothing had been mapped
        if self._path is not None:
            self._path.restore(state["path"], begin_s)
        self._go_on(begin_s, float(state["u"]))


@compiled
def _map(u: Array, at: Array, edges_s: Array, rates: Array, found: Array, done: int) -> int:
    """Fill `found` from `done` on with the seconds of operational times within a day's pieces; returns the new `done`.

    A piece's times stay within it, so that rounding does not reorder two.
    """
    if done >= u.shape[0] or not u[done] < at[-1]:
        return done
    cell = np.searchsorted(at, u[done], side="right") - 1
    while done < u.shape[0] and u[done] < at[-1]:
        while at[cell + 1] <= u[done]:
            cell += 1
        found[done] = min(edges_s[cell] + (u[done] - at[cell]) / rates[cell], edges_s[cell + 1])
        done += 1
    return done
