"""The paper's synthetic workload: Poisson arrivals, three categories, log-normal outputs, tenants with tiers, tasks
and turns.

The features (tenant, task, input length) explain the share `predictability` of the variance of log output tokens, and
the marginal stays log-normal: a score `w . (tenant trait, task trait, input position)` is mapped to a standard normal
through its own distribution function, then mixed with noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from caps_fast import arrays, scenario, sections
from caps_fast._jit import compiled
from caps_fast.records import Array
from caps_fast.workload.streams import set_states, states, stream

TASKS = ("classification", "generation", "code", "unknown")
DRAWN_TASKS = 3
MAIN_TASK_SHARE = 0.7  # of a tenant's requests are of its main task
CONTINUES = 0.6  # probability that a conversation continues after a turn
MAX_TURNS = 50
TRAIT_WEIGHTS = np.array([0.6, 0.6, 0.53])  # of tenant, task and input position in the score; sum of squares 1
TASK_TRAITS = np.array(
    [-1.225, 1.225, 0.0]
)  # standardised over equally frequent tasks: classification short, generation long
GRID = 4096  # cells of the score table
GUIDE = 1024  # cells of the guide into the tenants' cumulative shares
POSITION_REACH = math.sqrt(3.0)  # a uniform position, standardised, lies within +- this
KEPT = 64  # cached populations of tenants

ScoreTable = tuple[float, float, Array]
Cells = Sequence[tuple[int, int, float]]
"""Tier, category and weight of some of a workload's requests."""


@dataclass(frozen=True)
class Tenants:
    """The tenants: tenant i has a share of traffic, a tier, a main task and a trait (the length of its outputs)."""

    cumulative_share: Array  # float64 (n,)
    tier: Array  # int8 (n,)
    task: Array  # int8 (n,)
    trait: Array  # float64 (n,)

    @cached_property
    def guide(self) -> Array:
        """Start of the search in `cumulative_share`, by cells of 0..1: int32 (GUIDE,)."""
        return np.searchsorted(self.cumulative_share, np.arange(GUIDE) / GUIDE, side="right").astype(np.int32)

    @cached_property
    def score_table(self) -> ScoreTable:
        """The map from the features' score to a standard normal."""
        return score_table(np.diff(self.cumulative_share, prepend=0.0), self.task, self.trait, TRAIT_WEIGHTS)


def score_table(shares: Array, task: Array, trait: Array, weights_of: Array) -> ScoreTable:
    """The map from a score to a standard normal, for tenants with these shares, main tasks and traits and these
    weights of tenant, task and position.

    First score, cells per unit of score, and float64 (GRID + 1,) values.
    """
    mix = np.full((len(shares), DRAWN_TASKS), (1 - MAIN_TASK_SHARE) / (DRAWN_TASKS - 1))
    mix[np.arange(len(shares)), task] = MAIN_TASK_SHARE
    centres = (weights_of[0] * trait[:, None] + weights_of[1] * TASK_TRAITS).ravel()
    weights = (shares[:, None] * mix).ravel()
    reach = abs(weights_of[2]) * POSITION_REACH
    grid = np.linspace(centres.min() - reach, centres.max() + reach, GRID + 1)
    ends = np.concatenate(
        [centres - reach, centres + reach]
    )  # between a centre's ends its distribution function is linear
    order = np.argsort(ends)
    slope = np.cumsum(np.concatenate([weights, -weights])[order])[:-1] / (2 * reach)
    below = np.interp(grid, ends[order], np.cumsum(np.concatenate([[0.0], slope * np.diff(ends[order])])))
    to_normal = np.fromiter(map(NormalDist().inv_cdf, np.clip(below, 1e-7, 1 - 1e-7).tolist()), np.float64, GRID + 1)
    return float(grid[0]), GRID / float(grid[-1] - grid[0]), to_normal


def tenants(config: scenario.Scenario) -> Tenants:
    """The tenants of a run. Tiers get exactly their share of traffic; within a tier shares fall like 1/rank.

    Tenants of the same rank in different tiers have the same traffic: tiers differ in their limits only.
    """
    return _tenants(config.workload.tenants, tuple(tier.share for tier in config.slo.all), config.seed)


@lru_cache(KEPT)
def _tenants(count: int, shares_of_tiers: tuple[float, ...], seed: int) -> Tenants:
    tier_shares = np.array(shares_of_tiers)
    present = tier_shares > 0
    sizes = np.where(present, np.maximum(1, np.floor(tier_shares * count)), 0).astype(int)
    sizes[np.argmax(tier_shares)] += count - sizes.sum()
    rng = stream(seed, "tenant_traits")
    share, tier = [], []
    for index, size in enumerate(sizes):
        weights = 1.0 / np.arange(1, size + 1)
        share.append(tier_shares[index] * weights / weights.sum() if size else weights)
        tier.append(np.full(size, index, np.int8))
    shares = np.concatenate(share)
    rank = np.concatenate([np.arange(size) for size in sizes])
    trait = rng.standard_normal(int(sizes.max()))[rank]
    trait -= np.average(trait, weights=shares)
    if sizes.max() > 1:
        trait /= math.sqrt(np.average(trait**2, weights=shares))
    cumulative = np.cumsum(shares)
    cumulative[-1] = 1.0
    task = rng.integers(0, DRAWN_TASKS, int(sizes.max())).astype(np.int8)[rank]
    return Tenants(cumulative, np.concatenate(tier), task, trait)


class Features:
    """Draws everything but the arrivals: category, lengths, tenant with its tier, task, turns.

    `part` numbers one of several parts of a workload with separate streams; `cells` lists its content, None for
    everything.
    """

    def __init__(self, config: scenario.Scenario, seed: int, part: int = 0, cells: Cells | None = None) -> None:
        self.config = config.workload
        self.tenants = tenants(config)
        self.streams = {
            name: stream(seed, name, part) for name in ("categories", "inputs", "outputs", "tenants", "tasks", "turns")
        }
        self._category_edges = np.cumsum(self.config.category_shares)
        self._category_edges[-1] = 1.0
        self._log_edges = np.log(np.array(self.config.input_token_edges, np.float64))
        self._cells = cell_table(self.tenants, self._category_edges, cells) if cells else None

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Means of the declared distributions of input and output tokens."""
        return declared_means(self.config)

    def state(self) -> dict[str, Any]:
        """Where the drawing stands, as plain data."""
        return states(self.streams)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        set_states(self.streams, state)

    def fill(self, arrivals_s: Array) -> Array:
        """REQUEST rows of requests with these arrivals."""
        size = len(arrivals_s)
        draw = self.streams
        block = np.empty(size, arrays.REQUEST)
        uniforms = tuple(draw[name].random(size) for name in ("categories", "inputs", "tenants", "tasks", "turns"))
        _draw_features(
            block,
            arrivals_s,
            uniforms if self._cells is None else self._within_cells(*uniforms),
            draw["outputs"].standard_normal(size),
            (self._category_edges, self._log_edges, self.tenants.guide, self.tenants.cumulative_share),
            (self.tenants.tier, self.tenants.task, self.tenants.trait),
            self.tenants.score_table,
            (
                self.config.output_log_mean,
                self.config.output_log_sd,
                self.config.predictability,
                self.config.max_output_tokens,
            ),
        )
        return block

    def _within_cells(
        self, category_u: Array, position_u: Array, tenant_u: Array, task_u: Array, turn_u: Array
    ) -> tuple[Array, ...]:
        middle, tenant = within_cells(self._cells, category_u, tenant_u)  # type: ignore[arg-type]
        return middle, position_u, tenant, task_u, turn_u


def cell_table(who: Tenants, category_edges: Array, cells: Cells) -> Array:
    """For each cell its cumulative weight, a uniform that means its category, and where its tier's tenants begin
    and end: float64 (4, n).
    """
    weight = np.cumsum([weight for _, _, weight in cells])
    edges = np.concatenate([[0.0], category_edges])
    middle = [(edges[category] + edges[category + 1]) / 2 for _, category, _ in cells]
    upto = np.append(0.0, who.cumulative_share)
    first, last = (
        [int(np.searchsorted(who.tier, tier, side=side)) for tier, _, _ in cells] for side in ("left", "right")
    )
    return np.array([weight / weight[-1], middle, upto[first], np.nextafter(upto[last], 0.0)])


def within_cells(table: Array, cell_u: Array, tenant_u: Array) -> tuple[Array, Array]:
    """Uniforms that mean the category and the tenant, of requests in the cells that `cell_u` points to."""
    weight, middle, low, high = table
    cell = np.minimum(np.searchsorted(weight, cell_u, side="right"), len(weight) - 1)
    return middle[cell], np.minimum(low[cell] + tenant_u * (high - low)[cell], high[cell])


class SyntheticWorkload:
    """Draws the requests of a scenario, block by block, from t = 0 up to its horizon, or from `start_s` < 0 for
    training.

    Arrivals are Poisson at a constant rate; `varied.VariedWorkload` draws others.
    """

    notes: tuple[str, ...] = ()
    drawn = True
    spread: float | None = 1.0

    def __init__(self, config: scenario.Scenario, start_s: float = 0.0, end_s: float | None = None) -> None:
        self.config = config.workload
        self.rate_rps = config.workload.rate_rps or 1.0
        self.start_s = start_s
        self.end_s = config.horizon_s if end_s is None else end_s
        self._now_s = start_s
        seed = seed_of(config, start_s)
        self._features = Features(config, seed)
        self._streams = {"arrivals": stream(seed, "arrivals"), **self._features.streams}

    @property
    def expected_requests(self) -> float:
        """Expected number of requests."""
        return self.rate_rps * (self.end_s - self.start_s)

    def parts_s(self) -> Iterator[float]:
        """None: all comes in blocks."""
        return iter(())

    def state(self) -> dict[str, Any]:
        """The position of the streams, as plain data, for `restore`."""
        return {"now_s": self._now_s, "streams": states(self._streams)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same workload."""
        self._now_s = state["now_s"]
        set_states(self._streams, state["streams"])

    @property
    def mean_input_tokens(self) -> float:
        """Mean of the declared distribution of input tokens."""
        return declared_means(self.config)[0]

    @property
    def mean_output_tokens(self) -> float:
        """Mean of the declared log-normal distribution of output tokens."""
        return declared_means(self.config)[1]

    def blocks(self, size: int) -> Iterator[Array]:
        """REQUEST arrays of `size` requests (the last one shorter), in order of arrival.

        The same requests whatever the size.
        """
        while self._now_s < self.end_s:
            gaps_s = self._streams["arrivals"].standard_exponential(size) / self.rate_rps
            gaps_s[0] += self._now_s
            arrivals_s = np.cumsum(gaps_s)
            self._now_s = float(arrivals_s[-1])
            block = self._features.fill(arrivals_s)
            if self._now_s >= self.end_s:
                block = block[: np.searchsorted(arrivals_s, self.end_s)]
            if len(block):
                yield block


def seed_of(config: scenario.Scenario, start_s: float) -> int:
    """The seed of requests from then on: days before t = 0 have different requests."""
    return config.seed if start_s >= 0.0 else config.seed + 2**32


def declared_means(workload: sections.Workload) -> tuple[float, float]:
    """Means of the declared distributions of input tokens, log-uniform by category, and of output tokens,
    log-normal.
    """
    edges = np.array(workload.input_token_edges, np.float64)
    means = np.diff(edges) / np.log(edges[1:] / edges[:-1])
    return float(means @ np.array(workload.category_shares)), math.exp(
        workload.output_log_mean + 0.5 * workload.output_log_sd**2
    )


@compiled
def _draw_features(
    block: Array,
    arrivals_s: Array,
    uniforms: tuple[Array, ...],
    output_z: Array,
    tables: Any,
    tenants: Any,
    score_table: Any,
    output: Any,
) -> None:
    """Fill `block` from raw draws."""
    category_u, position_u, tenant_u, task_u, turn_u = uniforms
    category_edges, log_edges, guide, tenant_share = tables
    tenant_tier, tenant_task, tenant_trait = tenants
    first_score, cells_per_score, to_normal = score_table
    log_mean, log_sd, predictability, max_output = output
    explained = log_sd * math.sqrt(predictability)
    rest = log_sd * math.sqrt(1.0 - predictability)
    for i in range(block.shape[0]):
        category = np.int64(category_u[i] >= category_edges[0]) + np.int64(category_u[i] >= category_edges[1])
        tenant = guide[int(tenant_u[i] * GUIDE)]
        while tenant_share[tenant] <= tenant_u[i]:
            tenant += 1
        other = 1 + min(
            int((task_u[i] - MAIN_TASK_SHARE) * ((DRAWN_TASKS - 1) / (1.0 - MAIN_TASK_SHARE))), DRAWN_TASKS - 2
        )
        task = (tenant_task[tenant] + (other if task_u[i] >= MAIN_TASK_SHARE else 0)) % DRAWN_TASKS
        low = log_edges[category]
        tokens = int(math.exp(low + position_u[i] * (log_edges[category + 1] - low)) + 1e-9)
        position = (2.0 * position_u[i] - 1.0) * POSITION_REACH
        score = (
            TRAIT_WEIGHTS[0] * tenant_trait[tenant] + TRAIT_WEIGHTS[1] * TASK_TRAITS[task] + TRAIT_WEIGHTS[2] * position
        )
        at = max((score - first_score) * cells_per_score, 0.0)
        cell = min(int(at), GRID - 1)
        z = to_normal[cell] + (at - cell) * (to_normal[cell + 1] - to_normal[cell])
        predicted = math.exp(log_mean + explained * z)
        turns = 1
        goes_on = CONTINUES
        while turn_u[i] < goes_on and turns < MAX_TURNS:
            turns += 1
            goes_on *= CONTINUES
        request = block[i]
        request["arrival_s"] = arrivals_s[i]
        request["category"] = category
        request["tenant"] = tenant
        request["tier"] = tenant_tier[tenant]
        request["task"] = task
        request["turns"] = turns
        request["origin"] = 0
        request["input_tokens"] = max(tokens, 1)
        request["predicted_tokens"] = max(predicted, 1.0)
        request["output_tokens"] = min(max(int(predicted * math.exp(rest * output_z[i]) + 0.5), 1), max_output)
