"""Training: the days before t = 0, split 80/10/10 in time order; the last tenth is for evaluation.

Synthetic days are those of `WORLDS` worlds with the scenario's workload but their own tenants and rate. So one model
serves all seeds and rates, and a run's tenants are unseen, and known to the model only by their history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from caps_fast import scenario
from caps_fast.arrays import SECONDS_PER_DAY
from caps_fast.clock import trace_of, training_rows
from caps_fast.errors import InputError
from caps_fast.pack_kinds import Means
from caps_fast.predictor import length, risk
from caps_fast.predictor.explore import FEWEST, RISK_FEATURES, explore
from caps_fast.predictor.features import LENGTH_FEATURES, Histories
from caps_fast.predictor.forest import fit, tabulate
from caps_fast.predictor.length import LengthModel
from caps_fast.predictor.risk import RiskModel
from caps_fast.predictor.scores import coverage, earlier_medians, length_errors, risk_scores
from caps_fast.records import Array
from caps_fast.workload import drawn_workload

WORLDS = 8
FIRST_WORLD = 4_000_000_000  # their seeds, apart from runs' seeds
EVERY = 5  # every fifth request of a synthetic world is used for training; all enter the histories
BLOCK = 65_536
RISK_LEARNING_RATE = 0.2  # odds near 0 and 1 need more trees than lengths


@dataclass(frozen=True)
class Lessons:
    """Requests for training lengths."""

    requests: Array  # REQUEST (n,); tenants of different worlds differ
    rows: Array  # float64 (n, len(LENGTH_FEATURES))
    part: Array  # int8 (n,): 0 train, 1 validate, 2 test
    lag_s: float  # of histories

    @property
    def log_tokens(self) -> Array:
        return np.asarray(np.log(self.requests["output_tokens"]))

    @property
    def means(self) -> Means:
        return Means(float(self.requests["input_tokens"].mean()), float(self.requests["output_tokens"].mean()))


def lessons_of(config: scenario.Scenario) -> Lessons:
    """Training data of a scenario's models: synthetic days before t = 0, or the first `train_share` of its trace.

    Raises InputError for a bad trace.
    """
    learned = config.predictor
    if config.workload.trace is None:
        return study(worlds(config), learned.history_lag_s, EVERY)
    from caps_fast.predictor.real import requests_of  # noqa: PLC0415 - brings Polars

    requests, timed = requests_of(config)
    requests = requests[: training_rows(config, trace_of(config.workload))]
    if len(requests) < FEWEST:
        first = f"the first {learned.train_share:.0%} (predictor.train_share)"
        raise InputError(
            f"{config.workload.trace}: {len(requests):,} requests for training in {first}: expected at least {FEWEST:,}"
        )
    return study([[requests]], learned.history_lag_s if timed else 0.0, -(-len(requests) // learned.train_requests))


def worlds(config: scenario.Scenario) -> Iterator[Iterator[Array]]:
    """The synthetic worlds' days before t = 0, in blocks of REQUEST."""
    days = config.predictor.train_days
    rate_rps = EVERY * config.predictor.train_requests / (WORLDS * days * SECONDS_PER_DAY)
    for world in range(WORLDS):
        other = config.replace({"seed": FIRST_WORLD + world, "workload.rate_rps": rate_rps})
        yield drawn_workload(other, start_s=-days * SECONDS_PER_DAY, end_s=0.0).blocks(BLOCK)


def study(days: Iterable[Iterable[Array]], lag_s: float, every: int) -> Lessons:
    """Walk through each world's requests and keep every `STRIDE`-th."""
    requests, rows, parts = [], [], []
    tenants = 0
    for blocks in days:
        histories = Histories(lag_s)
        seen, known, count = [], [], 0
        for block in blocks:
            first = -count % every
            count += len(block)
            known.append(histories.rows(block)[first::every])
            seen.append(block[first::every].copy())
        world = np.concatenate(seen)
        world["tenant"] += tenants
        tenants = int(world["tenant"].max(initial=0)) + 1
        requests.append(world)
        rows.append(np.concatenate(known))
        parts.append(split(len(world)))
    return Lessons(np.concatenate(requests), np.concatenate(rows), np.concatenate(parts), lag_s)


def split(count: int) -> Array:
    """80/10/10 in order: int8 (count,), 0 train, 1 validate, 2 test."""
    return np.repeat(np.arange(3, dtype=np.int8), np.diff([0, count * 8 // 10, count * 9 // 10, count]))


def train_length(lessons: Lessons) -> tuple[LengthModel, dict[str, Any]]:
    """The median and its interval, and their errors on the test part."""
    train, validate = lessons.part == 0, lessons.part == 1

    def forest(objective: str, **more: Any) -> Any:
        model = fit(
            lessons.rows[train],
            lessons.log_tokens[train],
            LENGTH_FEATURES,
            length.GROUPS,
            length.BINS,
            objective,
            **more,
        )
        return tabulate(model, length.GROUPS)

    low, high = (forest("quantile", alpha=alpha) for alpha in length.QUANTILES)
    model = LengthModel(forest("regression"), low, high, (0.0, 0.0), lessons.lag_s)
    ends = np.log(model.interval(lessons.rows[validate]))
    below, above = ends[0] - lessons.log_tokens[validate], lessons.log_tokens[validate] - ends[1]
    widen = tuple(
        float(np.quantile(beyond, 1 - share))
        for beyond, share in ((below, length.QUANTILES[0]), (above, 1 - length.QUANTILES[1]))
    )
    model = LengthModel(model.median, low, high, (widen[0], widen[1]), lessons.lag_s)
    return model, judge_length(model, lessons)


def judge_length(model: LengthModel, lessons: Lessons) -> dict[str, Any]:
    """Errors on the test part, and those of a constant and of the median of the tenant's earlier answers."""
    test = lessons.part == 2
    rows, actual = lessons.rows[test], lessons.requests["output_tokens"][test].astype(float)
    overall = float(np.median(lessons.requests["output_tokens"][~test]))
    own = earlier_medians(lessons.requests["tenant"], lessons.requests["output_tokens"])[test]
    low, high = model.interval(rows)
    return {
        "requests": len(actual),
        "model": length_errors(model.predict(rows), actual),
        "tenant_median": length_errors(own, actual),
        "constant_median": length_errors(np.full(len(actual), overall), actual),
        "declared": length_errors(lessons.requests["predicted_tokens"][test], actual)
        if lessons.requests["predicted_tokens"].any()
        else None,
        "below_low": float((actual < low).mean()),
        "above_high": float((actual > high).mean()),
        "coverage": coverage(low, high, actual),
    }


def train_risk(
    config: scenario.Scenario, model: LengthModel, lessons: Lessons, tiered: bool
) -> tuple[RiskModel, dict[str, Any]]:
    """The classifier, from exploratory routing of the lessons' requests through the scenario's cluster, and its scores
    on the last tenth.
    """
    requests = lessons.requests.copy()
    requests["predicted_tokens"] = model.predict(lessons.rows)
    found = explore(config, requests, lessons.means, tiered)
    part = split(len(found.missed))
    rows, missed = found.rows[part == 0], found.missed[part == 0]
    forest = fit(rows, missed, RISK_FEATURES, risk.GROUPS, risk.BINS, "binary", learning_rate=RISK_LEARNING_RATE)
    trained = RiskModel(tabulate(forest, risk.GROUPS))
    return trained, risk_scores(trained.predict(found.rows[part == 2]), found.missed[part == 2])
