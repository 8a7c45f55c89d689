"""What predictions cost: one from Python, and in bulk inside a run, side by side with LightGBM's own.

Run with `pytest benchmarks`.

Bounds are on the best round, for a machine that may be busy. Parity is checked before anything is timed.
"""

from __future__ import annotations

import time
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from caps_fast import scenario
from caps_fast._jit import kernel
from caps_fast.arrays import Array
from caps_fast.policies.risk import Load, Risk, odds, probability, request_bins
from caps_fast.predictor import Lengths, Model, train, train_model, warmup_requests
from caps_fast.predictor.explore import explore
from caps_fast.predictor.features import Histories
from caps_fast.simulation import BLOCK, simulate
from caps_fast.workload.synthetic import SyntheticWorkload

PAPER = scenario.preset("paper")
POOLS = 3
COUNT = 200_000


@pytest.fixture(scope="module")
def model() -> Model:
    return train_model(PAPER, print)


@pytest.fixture(scope="module")
def block() -> Array:
    return next(SyntheticWorkload(PAPER).blocks(COUNT))


@pytest.fixture(scope="module")
def length_rows(block: Array, model: Model) -> Array:
    return Histories(model.length.lag_s).rows(block)


@pytest.fixture(scope="module")
def risk_rows(model: Model) -> Array:
    lessons = train.lessons_of(PAPER)
    return explore(PAPER, lessons.requests, lessons.means, tiered=True).rows[:COUNT]


@kernel
def at_three_pools(tables: Risk, rows: Array, found: Array) -> None:
    """The risk of every row at three pools under its load, as the kernel asks."""
    for i in range(rows.shape[0]):
        row = rows[i]
        bins = request_bins(tables, int(row[3]), row[4])
        for pool in range(POOLS):
            load = Load(int(row[2]), row[5], row[6], row[7] - row[3])
            found[i, pool] = probability(odds(tables, int(row[0]), pool, bins, int(row[3]), load))


def best_ns(benchmark: Any, requests: int) -> float:
    """The best round's nanoseconds a request, noted in the report."""
    benchmark.extra_info["ns_per_request"] = round(1e9 * benchmark.stats.stats.min / requests, 1)
    return 1e9 * benchmark.stats.stats.min / requests


def test_one_length_from_python(benchmark: Any, model: Model, length_rows: Array) -> None:
    benchmark(model.length.predict, length_rows[:1])
    assert benchmark.stats.stats.min < 1e-4, "the paper's bound: 0.1 ms"


def test_one_risk_from_python(benchmark: Any, model: Model, risk_rows: Array) -> None:
    benchmark(model.risks["tiers"].predict, risk_rows[:1])
    assert benchmark.stats.stats.min < 1e-4, "the paper's bound: 0.1 ms"


@pytest.mark.benchmark(group="lengths in bulk")
def test_lengths_in_a_run(benchmark: Any, model: Model, block: Array, length_rows: Array) -> None:
    expected = lgb.Booster(model_str=model.length.median.text).predict(length_rows, num_threads=1)
    np.testing.assert_allclose(
        np.log(Lengths(model.length)(block)["predicted_tokens"]), np.maximum(expected, 0.0), atol=1e-12
    )
    parts = [block[at : at + BLOCK] for at in range(0, COUNT, BLOCK)]
    benchmark.pedantic(
        lambda stream: [stream(part) for part in parts], setup=lambda: ((Lengths(model.length),), {}), rounds=15
    )
    assert best_ns(benchmark, COUNT) < 150


@pytest.mark.benchmark(group="lengths in bulk")
def test_lengths_by_lightgbm(benchmark: Any, model: Model, length_rows: Array) -> None:
    booster = lgb.Booster(model_str=model.length.median.text)
    benchmark.pedantic(booster.predict, (length_rows[:20_000],), {"num_threads": 1}, rounds=3)
    best_ns(benchmark, 20_000)


@pytest.mark.benchmark(group="risk at three pools in bulk")
def test_risks_in_a_run(benchmark: Any, model: Model, risk_rows: Array) -> None:
    tables, found = model.risks["tiers"].arrays(), np.empty((len(risk_rows), POOLS))
    at_three_pools(tables, risk_rows, found)
    booster = lgb.Booster(model_str=model.risks["tiers"].forest.text)
    for pool in range(POOLS):
        asked = risk_rows[:2000].copy()
        asked[:, 1] = pool
        np.testing.assert_allclose(found[:2000, pool], booster.predict(asked, num_threads=1), atol=1e-12)
    benchmark.pedantic(at_three_pools, (tables, risk_rows, found), rounds=15)
    assert best_ns(benchmark, len(risk_rows)) < 150


@pytest.mark.benchmark(group="risk at three pools in bulk")
def test_risks_by_lightgbm(benchmark: Any, model: Model, risk_rows: Array) -> None:
    booster = lgb.Booster(model_str=model.risks["tiers"].forest.text)
    benchmark.pedantic(booster.predict, (np.repeat(risk_rows[:5000], POOLS, axis=0),), {"num_threads": 1}, rounds=3)
    best_ns(benchmark, 5000)


@pytest.mark.benchmark(group="CAPS, a day")
@pytest.mark.parametrize("source", ["declared", "learned"])
def test_caps_for_a_day(benchmark: Any, model: Model, source: str) -> None:
    config = PAPER.replace({"days": 1.0, "policy.name": "caps", "predictor.source": source})
    found = benchmark.pedantic(simulate, (config,), rounds=5, warmup_rounds=1)
    benchmark.extra_info["ns_per_request"] = round(1e9 * benchmark.stats.stats.min / found.metrics["requests"])


def test_training_time(model: Model) -> None:
    """A week's scenario: lengths, and both risks."""
    start_s = time.process_time()
    lessons = train.lessons_of(PAPER)
    length, _ = train.train_length(lessons)
    for tiered in (True, False):
        train.train_risk(PAPER, length, lessons, tiered)
    assert time.process_time() - start_s < 30
    assert sum(len(part) for part in warmup_requests(PAPER)) > 90_000
