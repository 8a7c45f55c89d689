"""Least squares over all evidence at once, each group weighted by its estimated accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from caps_fast.fitting.evidence import MOST_POINTS, Evidence, Group
from caps_fast.fitting.terms import TERMS, fields_of, lower, upper
from caps_fast.records import Array

FIRST_SPREAD = 0.03
ROUNDS = 12
TOLERANCE = 0.02  # greatest change of the spreads in the last round
OUTLIER = 2.0  # spreads beyond which an error counts linearly
POOLED = 2  # points' worth of the median group in the spread of each
AWAY = 2.0  # spreads of its expectation by which a term is moved, to test whether the data determine it
REFITS = 8
LEAST_COST = 1e-6
INSIDE = 1e-9  # margin by which least squares must start within the bounds
TOLD = 0.7  # of that spread: if a term is known better, the data determine it more than the expectation

EXPECTED = np.array([term.expected for term in TERMS])
SPREAD = np.array([term.spread for term in TERMS])


@dataclass(frozen=True)
class Solution:
    """A solved fit.

    x           unknowns, float64 (terms,)
    covariance  of the unknowns, float64 (terms, terms)
    groups      every group of measurements with the values that the unknowns give, and the name of its file
    scales      factors of the errors, one float64 (n,) per group
    loss        twice the negative logarithm of the likelihood, up to a constant
    """

    x: Array
    covariance: Array
    groups: list[tuple[str, Group]]
    scales: list[Array]
    loss: float

    @property
    def sd(self) -> Array:
        """Standard deviations of the unknowns, float64 (terms,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


class Problem:
    """Evidence by the name of its file, fields that are `fixed`, which unknowns are `free`, bool (terms,), and CPU
    time on top of the overhead.
    """

    def __init__(
        self, evidence: Mapping[str, Evidence], fixed: Mapping[str, float], free: Array, cpu_s: float = 0.0
    ) -> None:
        self.evidence, self.fixed, self.free, self.cpu_s = evidence, fixed, free, cpu_s

    def fields(self, x: Array) -> dict[str, float]:
        """Fields of a kind of replica from unknowns, float64 (terms,)."""
        return fields_of(x, self.fixed, self.cpu_s)

    def groups(self, x: Array) -> list[tuple[str, Group]]:
        """All groups under these unknowns."""
        fields = self.fields(x)
        return [(name, group) for name, one in self.evidence.items() for group in one.groups(fields)]

    def solve(self, start: Array) -> Solution:
        """The maximum-likelihood unknowns, from `start`; those not free keep their value.

        The errors of a group are assumed normal, with a spread that is estimated together with the unknowns; errors far
        beyond it count less. An expectation (`Term.expected`) counts as one measurement.
        """
        x, groups = start.copy(), self.groups(start)
        spreads = np.full(len(groups), FIRST_SPREAD)
        scales: list[Array] = []
        for turn in range(ROUNDS):
            before = spreads
            weights = [_weights(group.errors, one) for (_, group), one in zip(groups, before, strict=True)]
            spreads = _spreads(groups, weights) if turn else before
            scales = [
                np.sqrt(weight * _share(group)) / one
                for (_, group), weight, one in zip(groups, weights, spreads, strict=True)
            ]
            x = self._minimum(x, scales, self.free)
            groups = self.groups(x)
            if turn and np.all(np.abs(np.log(spreads / before)) < TOLERANCE):
                break
        counted = [min(group.points, MOST_POINTS) for _, group in groups]
        found = _spreads(groups, [_weights(group.errors, one) for (_, group), one in zip(groups, spreads, strict=True)])
        loss = (
            float((self._expectations(x, self.free) ** 2).sum())
            + sum(group.common**2 for _, group in groups)
            + sum(2 * n * math.log(one) for n, one in zip(counted, found, strict=True))
        )
        return Solution(x, self._covariance(x, scales), groups, scales, loss)

    def told(self, solution: Solution) -> Array:
        """Standard deviations of the unknowns, float64 (terms,), from the cost of moving each one with all others
        fitted again.

        Derivatives of a replay are noisy, so that its data seem too informative; a complete fit away from the solution
        avoids that. Unknowns without an expectation keep those of `solution`.
        """
        if not self.free.any():
            return solution.sd
        best = self._cost(solution.x, solution.scales)
        matrix = self._jacobian(solution.x, solution.scales, self.free)
        sd = solution.sd
        for slot in np.flatnonzero(self.free & np.isfinite(EXPECTED)).tolist():
            for side in (-AWAY, AWAY):
                moved = solution.x.copy()
                moved[slot] = np.clip(moved[slot] + side * SPREAD[slot], TERMS[slot].low, TERMS[slot].high)
                away = abs(moved[slot] - solution.x[slot])
                if away >= SPREAD[slot] / 4:
                    more = self._least_cost(moved, slot, matrix, solution.scales) - best
                    sd[slot] = max(sd[slot], away / math.sqrt(max(more, LEAST_COST)))
        return sd

    def _least_cost(self, x: Array, held: int, matrix: Array, scales: Sequence[Array]) -> float:
        """Approximate least cost with one unknown fixed, by Gauss-Newton steps of the others with given derivatives."""
        slots = np.flatnonzero(self.free)
        others = slots != held
        inverse = np.linalg.pinv(matrix[:, others])
        least, stride = self._cost(x, scales), 1.0
        for _ in range(REFITS):
            moved = x.copy()
            moved[slots[others]] -= stride * (inverse @ self._residuals(x, scales, self.free))
            moved = np.clip(moved, lower(), upper())
            cost = self._cost(moved, scales)
            if cost < least:
                x, least = moved, cost
            else:
                stride /= 2
        return least

    def _cost(self, x: Array, scales: Sequence[Array]) -> float:
        pairs = zip(self.groups(x), scales, strict=True)
        return sum(float(((group.errors * scale) ** 2).sum()) + group.common**2 for (_, group), scale in pairs)

    def _expectations(self, x: Array, free: Array) -> Array:
        """Distance of the unknowns from their expectations; with long tails, since an expectation may be wrong."""
        known = free & np.isfinite(EXPECTED)
        away = (x[known] - EXPECTED[known]) / SPREAD[known]
        return np.asarray(np.sign(away) * np.sqrt(np.log1p(away**2)))

    def _residuals(self, x: Array, scales: Sequence[Array], free: Array) -> Array:
        groups = self.groups(x)
        data = [group.errors * scale for (_, group), scale in zip(groups, scales, strict=True)]
        return np.concatenate([*data, [group.common for _, group in groups], self._expectations(x, free)])

    def _jacobian(self, x: Array, scales: Sequence[Array], free: Array) -> Array:
        """Derivatives of the residuals, (n, free terms), by differences wide enough to smooth a replay's jumps."""
        columns = []
        for slot in np.flatnonzero(free):
            less, more = x.copy(), x.copy()
            less[slot] = max(x[slot] - TERMS[slot].step, TERMS[slot].low)
            more[slot] = min(x[slot] + TERMS[slot].step, TERMS[slot].high)
            rise = self._residuals(more, scales, free) - self._residuals(less, scales, free)
            columns.append(rise / (more[slot] - less[slot]))
        return np.column_stack(columns)

    def _minimum(self, start: Array, scales: Sequence[Array], free: Array) -> Array:
        slots = np.flatnonzero(free)
        if not len(slots):
            return start

        def whole(part: Array) -> Array:
            x = start.copy()
            x[slots] = part
            return x

        low, high = lower()[slots], upper()[slots]
        found = least_squares(
            lambda part: self._residuals(whole(part), scales, free),
            np.clip(start[slots], low + INSIDE, high - INSIDE),
            lambda part: self._jacobian(whole(part), scales, free),
            bounds=(low, high),
            x_scale="jac",
            max_nfev=40,
            xtol=1e-6,
            ftol=1e-6,
        )
        return whole(np.where(found.x < low + 2 * INSIDE, low, found.x))

    def _covariance(self, x: Array, scales: Sequence[Array]) -> Array:
        slots = np.flatnonzero(self.free)
        covariance = np.zeros((len(TERMS), len(TERMS)))
        if not len(slots):
            return covariance
        matrix = self._jacobian(x, scales, self.free)
        covariance[np.ix_(slots, slots)] = np.linalg.pinv(matrix.T @ matrix)
        return covariance


def _share(group: Group) -> float:
    return min(group.points, MOST_POINTS) / len(group.measured)


def _weights(errors: Array, spread: float) -> Array:
    """1 for errors within a few spreads, less for outliers."""
    return np.asarray(1.0 / np.maximum(np.abs(errors) / (OUTLIER * spread), 1.0))


def _spreads(groups: Sequence[tuple[str, Group]], weights: Sequence[Array]) -> Array:
    """The spread of every group's errors, shrunk a little towards that of the median group."""
    sums = np.array(
        [
            float((weight * group.errors**2).sum()) * _share(group)
            for (_, group), weight in zip(groups, weights, strict=True)
        ]
    )
    counts = np.array([float(min(group.points, MOST_POINTS)) for _, group in groups])
    pooled = float(np.median(sums / counts))
    least = [group.least_spread for _, group in groups]
    return np.asarray(np.maximum(np.sqrt((sums + POOLED * pooled) / (counts + POOLED)), least))
