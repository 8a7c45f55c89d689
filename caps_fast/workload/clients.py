"""Requests of client groups: lengths by their quantile functions, joined by a Gaussian copula; tenants as in the
synthetic workload.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from caps_fast import arrays, scenario
from caps_fast.client_groups import MOST_LENGTH, ClientGroup, Lengths, mix_of
from caps_fast.clock import trace_of
from caps_fast.errors import InputError
from caps_fast.places import places_of
from caps_fast.records import Array
from caps_fast.sections import TIERS, Workload
from caps_fast.workload.streams import set_states, states, stream
from caps_fast.workload.synthetic import (
    CONTINUES,
    DRAWN_TASKS,
    GRID,
    MAIN_TASK_SHARE,
    MAX_TURNS,
    POSITION_REACH,
    TASK_TRAITS,
    cell_table,
    score_table,
    tenants,
    within_cells,
)

__all__ = ["ClientFeatures", "mix_of", "quantile_function"]

LEAST_POSITION, MOST_POSITION = (
    0.02,
    0.999,
)  # weight of the input's position in the score: without any, the score would have jumps
HALVINGS, POINTS = 14, 400  # steps of the search for the weight that gives a correlation
TOLERANCE = 0.02  # of a correlation
MEANS = 20_000  # points at which a quantile function is averaged
TRACE_SHARES = np.linspace(0.0, 1.0, 1001)
UNIFORM = ("categories", "inputs", "tenants", "tasks", "turns")

Quantiles = Callable[[Array], Array]
"""Tokens (float64, not yet whole) by probability."""


def quantile_function(lengths: Lengths, column: str, most: float, workload: Workload) -> Quantiles:
    """The quantile function of a distribution of tokens, at most `most`. Raises InputError for a bad trace."""
    pairs = lengths.quantiles
    if lengths.trace is not None:
        pairs = table_of_lengths(trace_of(workload, lengths.trace).frame[column].to_numpy(), TRACE_SHARES)
    if pairs is not None:
        shares, logs = np.array(pairs).T[0], np.log(np.array(pairs).T[1])
        return lambda u: np.minimum(np.exp(np.interp(u, shares, logs)), most)
    if lengths.tokens is not None:
        alone = float(min(lengths.tokens, most))
        return lambda u: np.full(len(u), alone)
    mean, sd = lengths.log_mean or 0.0, lengths.log_sd or 0.0
    return lambda u: np.clip(np.exp(mean + sd * ndtri(u)), 1.0, most)


def table_of_lengths(tokens: Array, shares: Array) -> tuple[tuple[float, float], ...]:
    """Quantiles of a sample: pairs of probability and tokens."""
    return tuple(zip(shares.tolist(), np.quantile(tokens, shares).astype(float).tolist(), strict=True))


class Score:
    """The predictable part of an output's length, as a standard normal: `weights` of tenant, task, input position.

    Arguments are of its tenants: shares (sum 1), main tasks and traits, each (n,).
    """

    def __init__(self, shares: Array, task: Array, trait: Array) -> None:
        self._who = (shares, task, trait)
        self._lean(LEAST_POSITION)

    def lean_on_position(self, correlation: float) -> tuple[float, float]:
        """Choose the weight of the position so that score and input length have the given correlation, as normal
        scores, or nearly so.

        Returns the correlation, and the share of requests whose position in the score is that of their input: below 1
        if even the least weight correlates more; the others have an independent position.
        """
        least = self._correlation()
        if abs(correlation) <= least:
            self._lean(math.copysign(LEAST_POSITION, correlation))
            return correlation, abs(correlation) / least
        low, high = LEAST_POSITION, MOST_POSITION
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            self._lean(middle)
            low, high = (middle, high) if self._correlation() < abs(correlation) else (low, middle)
        reached = self._correlation()
        self._lean(math.copysign(middle, correlation))
        return math.copysign(reached, correlation), 1.0

    def _lean(self, position: float) -> None:
        other = math.sqrt((1 - position**2) / 2)
        self.weights = np.array([other, other, position])
        self._first, self._per_score, self._to_normal = score_table(*self._who, self.weights)
        self._steps = np.diff(self._to_normal)

    def _correlation(self) -> float:
        """Correlation of the score and the input's length, both as normal scores."""
        shares, main, trait = self._who
        u = (np.arange(POINTS) + 0.5) / POINTS
        found = 0.0
        for task in range(DRAWN_TASKS):
            weight = shares * np.where(main == task, MAIN_TASK_SHARE, (1 - MAIN_TASK_SHARE) / (DRAWN_TASKS - 1))
            found += float(weight @ self.normal(trait[:, None], np.array(task), u) @ ndtri(u)) / POINTS
        return found

    def normal(self, trait: Array, task: Array, position_u: Array) -> Array:
        """Standard normal scores for these traits of tenants, tasks and positions (0..1) of input lengths."""
        position = (2.0 * position_u - 1.0) * POSITION_REACH
        score = self.weights[0] * trait + self.weights[1] * TASK_TRAITS[task] + self.weights[2] * position
        at = np.clip((score - self._first) * self._per_score, 0.0, GRID)
        cell = np.minimum(at.astype(np.int64), GRID - 1)
        return np.asarray(self._to_normal[cell] + (at - cell) * self._steps[cell])


class ClientFeatures:
    """Draws everything but the arrivals of a client group's requests.

    Output length, as a normal score, is the features' part (tenant, task and the input's position, weighted so that
    input and output correlate as declared) and noise, the rest of its variance. Raises InputError for a tier without
    tenants and for lengths that correlate more than features explain.
    """

    def __init__(self, config: scenario.Scenario, group: ClientGroup, seed: int, part: int) -> None:
        workload = config.workload
        self._edges = np.array(workload.input_token_edges[1:3])
        explained = workload.predictability if group.predictability is None else group.predictability
        self._explained, self._rest = math.sqrt(explained), math.sqrt(1 - explained)
        self._tenants = tenants(config)
        shares_of = enumerate(tier.share for tier in config.slo.all)
        tiers = [(tier, 0, share) for tier, share in shares_of if share > 0 and group.tier in (None, TIERS[tier])]
        if not tiers:
            where = f"{workload.file}: clients.{group.name}: tier {group.tier}"
            raise InputError(f"{where}: slo.{group.tier}.share is 0: expected a tier with a share")
        self._cells = cell_table(self._tenants, np.array([1.0]), tiers)
        own = np.isin(self._tenants.tier, [index for index, _, _ in tiers])
        shares = np.diff(self._tenants.cumulative_share, prepend=0.0)[own]
        self._score = Score(shares / shares.sum(), self._tenants.task[own], self._tenants.trait[own])
        asked = group.length_correlation / self._explained if self._explained else 0.0
        reached, self._tied = self._score.lean_on_position(asked)
        reached *= self._explained
        if abs(reached - group.length_correlation) > TOLERANCE:
            raise InputError(
                f"{workload.file}: clients.{group.name}: length_correlation {group.length_correlation:g}: "
                f"expected at most {abs(reached):.3g}, since features, including the input's length, explain "
                f"{explained:.4g} of the variance (predictability)"
            )
        most = float(workload.max_output_tokens)
        self._input = quantile_function(group.input_tokens, "input_tokens", float(MOST_LENGTH), workload)
        self._output = quantile_function(group.output_tokens, "output_tokens", most, workload)
        places = places_of(config)
        self._origin = places.code(group.origin, group.regions) if places else 0
        self.streams = {name: stream(seed, name, part) for name in (*UNIFORM, "outputs", "positions")}

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Means of the declared distributions of input and output tokens."""
        middles = (np.arange(MEANS) + 0.5) / MEANS
        return float(self._input(middles).mean()), float(self._output(middles).mean())

    def fill(self, arrivals_s: Array) -> Array:
        """REQUEST rows of requests with these arrivals."""
        size, draw = len(arrivals_s), self.streams
        cell_u, position_u, tenant_u, task_u, turn_u = (draw[name].random(size) for name in UNIFORM)
        noise = draw["outputs"].standard_normal(size)
        who = self._tenants
        tenant = np.searchsorted(who.cumulative_share, within_cells(self._cells, cell_u, tenant_u)[1], side="right")
        others = (1 + (task_u - MAIN_TASK_SHARE) * ((DRAWN_TASKS - 1) / (1.0 - MAIN_TASK_SHARE))).astype(np.int64)
        other = np.where(task_u >= MAIN_TASK_SHARE, np.minimum(others, DRAWN_TASKS - 1), 0)
        task = (who.task[tenant] + other) % DRAWN_TASKS
        z = self._score.normal(who.trait[tenant], task, self._positions(position_u))
        block = np.empty(size, arrays.REQUEST)
        block["arrival_s"], block["tenant"], block["tier"], block["task"] = arrivals_s, tenant, who.tier[tenant], task
        block["origin"] = self._origin
        block["turns"] = np.minimum(1 + np.floor(np.log(np.maximum(turn_u, 1e-300)) / math.log(CONTINUES)), MAX_TURNS)
        block["input_tokens"] = np.maximum(np.round(self._input(position_u)), 1)
        block["category"] = np.searchsorted(self._edges, block["input_tokens"], side="right")
        block["predicted_tokens"] = np.maximum(self._output(ndtr(self._explained * z)), 1.0)
        block["output_tokens"] = np.maximum(np.round(self._output(ndtr(self._explained * z + self._rest * noise))), 1)
        return block

    def _positions(self, input_u: Array) -> Array:
        """Positions in the score: the inputs' own, or independent ones for some requests."""
        if self._tied >= 1.0:
            return input_u
        coin, other = self.streams["positions"].random((len(input_u), 2)).T
        return np.where(coin < self._tied, input_u, other)

    def state(self) -> dict[str, Any]:
        """The position of the streams, as plain data."""
        return states(self.streams)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        set_states(self.streams, state)
