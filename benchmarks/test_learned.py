"""The predictor's tables beside LightGBM's own prediction, on one core; the same numbers before any timing."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from caps_fast.predictor import Lengths, Model, predictor_of, warmup_requests
from caps_fast.predictor.features import Histories
from caps_fast.workload import workload_of

from .measure import Work
from .scenarios import LEARNED, drawing, paper

REQUESTS = 100_000
POOLS = 3


@pytest.fixture(scope="module")
def model() -> Model:
    return predictor_of(paper(LEARNED, 1.0))


def test_lengths(timing, model):
    """A whole stream: features, histories and forest in one pass, against LightGBM on features that are already
    there.
    """
    config = paper(LEARNED, REQUESTS / 10.0 / 86400)
    block = next(workload_of(config).blocks(2 * REQUESTS))
    histories = Histories(model.length.lag_s)
    for past in warmup_requests(config):
        histories.rows(past)
    rows = histories.rows(block)
    forest = lgb.Booster(model_str=model.length.median.text)
    ours = Lengths(model.length, warmup_requests(config))(block)["predicted_tokens"]
    np.testing.assert_allclose(ours, np.maximum(np.exp(forest.predict(rows, num_threads=1)), 1.0), rtol=1e-12)
    timing.note(f"n_out_hat of {len(block):,} requests equals LightGBM's to 1e-12")
    view = Lengths(model.length)
    span_s = block["arrival_s"][-1]

    def as_time_goes_on() -> None:
        block["arrival_s"] += (
            span_s  # answers are learnt only as time goes on; else they would wait, more and more of them
        )
        view(block)

    lightgbm = Work(lambda: forest.predict(rows, num_threads=1), len(block))
    works = {"drawing": drawing(config), "LightGBM": lightgbm, "tables": Work(as_time_goes_on, len(block))}
    cost = timing.by_turns(works)
    timing.ratio(
        "output lengths: tables with histories as fast as LightGBM alone, times",
        cost["LightGBM"] / cost["tables"],
        more_is_better=True,
    )
    timing.ratio("output lengths, histories included / drawing", cost["tables"] / cost["drawing"])


def test_risks(timing, model):
    """Rows on, below and above every threshold."""
    risk = model.risks["tiers"]
    forest = lgb.Booster(model_str=risk.forest.text)
    rows = _around(risk.forest.edges, REQUESTS)
    np.testing.assert_allclose(risk.predict(rows), forest.predict(rows, num_threads=1), rtol=1e-12)
    timing.note(f"the risk of {len(rows):,} rows around the thresholds equals LightGBM's to 1e-12")
    lightgbm, tables = (
        Work(lambda: forest.predict(rows, num_threads=1), len(rows)),
        Work(lambda: risk.predict(rows), len(rows)),
    )
    cost = timing.by_turns({"LightGBM": lightgbm, "tables, in NumPy": tables}, unit="row")
    timing.ratio(
        "risks: tables in NumPy as fast as LightGBM, times",
        cost["LightGBM"] / cost["tables, in NumPy"],
        more_is_better=True,
    )


def test_single(timing, model):
    """One request from Python: its length, and its risk at three pools."""
    length_row = _around(model.length.median.edges, 1)
    risk_rows = _around(model.risks["tiers"].forest.edges, POOLS)
    forests = [lgb.Booster(model_str=text) for text in (model.length.median.text, model.risks["tiers"].forest.text)]
    times = 200

    def ours() -> None:
        for _ in range(times):
            model.length.predict(length_row)
            model.risks["tiers"].predict(risk_rows)

    def theirs() -> None:
        for _ in range(times):
            for forest, rows in zip(forests, (length_row, risk_rows), strict=True):
                forest.predict(rows, num_threads=1)

    assert model.length.predict(length_row) == pytest.approx(
        np.maximum(np.exp(forests[0].predict(length_row)), 1.0), rel=1e-12
    )
    cost = timing.by_turns({"LightGBM": Work(theirs, times), "tables": Work(ours, times)}, unit="prediction")
    timing.figure("single prediction from Python, length and three risks", cost["tables"] * 1e3, "ms", limit=0.1)
    timing.ratio(
        "single prediction: tables as fast as LightGBM, times", cost["LightGBM"] / cost["tables"], more_is_better=True
    )


def _around(edges: list[Any], count: int) -> Any:
    """Rows with every feature drawn from its thresholds and their neighbours, float64 (count, features)."""
    rng = np.random.default_rng(0)
    columns = []
    for values in edges:
        points = np.concatenate(
            [values, np.nextafter(values, np.inf), np.nextafter(values, -np.inf), [-1.0, 0.0, 1e9, np.nan]]
        )
        columns.append(rng.choice(points, count))
    return np.stack(columns, axis=1)
