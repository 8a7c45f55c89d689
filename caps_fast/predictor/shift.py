"""Distribution shift: a model trained on one workload, evaluated on another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from caps_fast import scenario
from caps_fast.predictor import train
from caps_fast.predictor.explore import explore
from caps_fast.predictor.scores import auroc
from caps_fast.predictor.store import Model


def errors_elsewhere(models: Mapping[str, Model], config: scenario.Scenario) -> dict[str, dict[str, float]]:
    """Errors of each model on the last tenth of the training data of `config`: MAE (tokens), MAPE, coverage
    of the interval, AUROC of the risk.

    The risk is evaluated on exploratory routing through `config`'s cluster, each model with its own lengths. Raises
    InputError for a bad trace.
    """
    lessons = train.lessons_of(config)
    found: dict[str, dict[str, float]] = {}
    for name, model in models.items():
        judged = train.judge_length(model.length, lessons)
        found[name] = {**judged["model"], "coverage": judged["coverage"], "auroc": _auroc(model, config, lessons)}
    return found


def _auroc(model: Model, config: scenario.Scenario, lessons: train.Lessons) -> float:
    requests = lessons.requests.copy()
    requests["predicted_tokens"] = model.length.predict(lessons.rows)
    outcomes = explore(config, requests, lessons.means, tiered=True)
    last = np.flatnonzero(train.split(len(outcomes.missed)) == 2)
    risk: Any = model.risks["tiers"]
    return auroc(risk.predict(outcomes.rows[last]), outcomes.missed[last])
