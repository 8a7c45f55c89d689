"""Accuracy of the predictor on the held-out part, and its time."""

from __future__ import annotations

import time

import numpy as np
import polars as pl

from caps_fast import scenario
from caps_fast.predictor import predictor_of
from caps_fast.predictor.features import LENGTH_FEATURES
from caps_fast.reproduce.published import PREDICTOR

TIMED = 2000


def predictor_rows(preset: str) -> pl.DataFrame:
    """MAE, MAPE, AUROC and milliseconds per prediction, the paper's and ours: figure, unit, paper, ours.

    Trains the preset's model, or loads it from the cache.
    """
    model = predictor_of(scenario.preset(preset))
    length, risk = model.scores["length"]["model"], model.scores["tiers"]
    row = np.ones((1, len(LENGTH_FEATURES)))
    model.length.predict(row)
    start_s = time.perf_counter()
    for _ in range(TIMED):
        model.length.predict(row)
    each_ms = 1000 * (time.perf_counter() - start_s) / TIMED
    figures = (
        ("mean absolute error", "tokens", PREDICTOR.mae_tokens, length["mae_tokens"]),
        ("mean absolute percentage error", "%", PREDICTOR.mape, length["mape"]),
        ("SLO risk, AUROC", "", PREDICTOR.auroc, risk["auroc"]),
        ("one length, from Python", "ms", PREDICTOR.latency_ms, each_ms),
    )
    return pl.DataFrame(
        [
            {"preset": preset, "figure": name, "unit": unit, "paper": paper, "ours": ours}
            for name, unit, paper, ours in figures
        ]
    )
