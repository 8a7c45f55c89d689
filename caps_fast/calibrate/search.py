"""The search: Optuna's TPE over the bounded fields, journalled on disk so that it can be stopped and resumed."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import Trial, TrialState

from caps_fast.calibrate.loss import Simulate, loss, measure
from caps_fast.calibrate.targets import NO_VALUE, Bound, Task
from caps_fast.errors import InputError, naming
from caps_fast.simulation import simulate_group
from caps_fast.sweep.axes import value_of
from caps_fast.sweep.disk import writing
from caps_fast.sweep.journal import held, open_study

PRESENT = " is set"
"""Suffix of the search parameter that says whether an optional field has a value."""


SCOUTS = 16
"""Trials around the start before the sampler takes over."""
STRIDE, FLIP = 0.04, 0.05
"""A scout differs from the start by this share of a field's range (standard deviation), and tries another choice with
this probability.
"""


@dataclass(frozen=True)
class Found:
    """A finished search: the study and the best values by dotted field."""

    study: optuna.Study
    values: dict[str, Any]


def search(
    task: Task,
    trials: int,
    out: str | Path,
    on_trial: Callable[[int, float], None] | None = None,
    run: Simulate = simulate_group,
) -> Found:
    """Search until `out`/study.log holds `trials` trials, counting those of earlier calls.

    `on_trial` gets the number of finished trials and the best loss so far. Raises InputError if the folder belongs to
    another task or process.
    """
    with held(Path(out) / "study.log"), writing(Path(out) / "study.log"):
        return _search(task, trials, Path(out) / "study.log", on_trial, run)


def _search(task: Task, trials: int, path: Path, on_trial: Callable[[int, float], None] | None, run: Simulate) -> Found:
    """Trial after trial, first the one that a killed search had begun.

    Each has its own random stream, so that a search gives the same result however often it was stopped.
    """
    study = _study(task, path)
    for start in _starts(task)[len(study.trials) :]:
        study.enqueue_trial(start)
    finished = sum(trial.state.is_finished() for trial in study.trials)
    for number in range(finished, trials):
        study.sampler = _sampler(number)
        begun = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        trial = Trial(study, begun[0]._trial_id) if begun else study.ask()
        try:
            study.tell(trial, _loss(task, trial, run))
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        if on_trial is not None:
            on_trial(number + 1, best_trial(study).value or 0.0 if _complete(study) else float("nan"))
    if not _complete(study):
        raise InputError("no trial gave a valid scenario: expected bounds that allow consistent values")
    with naming(str(path)):
        return Found(study, values_of(task, best_trial(study).params))


def _loss(task: Task, trial: Trial, run: Simulate) -> float:
    """The trial's loss. Raises TrialPruned for values that are not consistent."""
    values = suggest(task, trial)
    try:
        config = task.base.replace(values)
    except InputError:
        raise optuna.TrialPruned from None
    figures = measure(task, config, task.seeds.train, run).mean(axis=1)
    trial.set_user_attr("figures", figures.tolist())
    return loss(task, figures.tolist())


def suggest(task: Task, trial: Trial) -> dict[str, Any]:
    """Values for all bounded fields: missing parameters are drawn, those of the trial are kept. Raises InputError."""
    for field, bound in task.bounds.items():
        _suggest(field, bound, trial)
    return values_of(task, trial.params)


def values_of(task: Task, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted field of a trial's parameters.

    Raises InputError for one outside its bounds, which a foreign log may hold.
    """
    values = {
        field: parameters.get(field) if parameters.get(field + PRESENT, True) is True else None for field in task.bounds
    }
    for field, bound in task.bounds.items():
        value = values[field]
        if value is None:
            inside = bound.optional
        elif bound.range is None:
            inside = value in bound.choices
        else:
            low, high = bound.range if bound.kind == "float" else map(round, bound.range)
            inside = type(value) in (int, float) and low <= value <= high
        if not inside:
            raise InputError(f"a trial with {field} {repr(value)[:100]}: expected a value within its bounds")
    return values


def best_trial(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """The trial with the smallest loss."""
    return study.best_trial


def _suggest(field: str, bound: Bound, trial: Trial) -> None:
    if bound.optional and not trial.suggest_categorical(field + PRESENT, [True, False]):
        return
    if bound.range is None:
        trial.suggest_categorical(field, list(bound.choices))
    elif bound.kind == "int":
        trial.suggest_int(field, *map(round, bound.range), log=bound.log)
    else:
        trial.suggest_float(field, *bound.range, log=bound.log)


def _starts(task: Task) -> list[dict[str, Any]]:
    """Parameters of the first trials: the starting point, and scouts around it."""
    rng = np.random.default_rng(0)
    return [_start(task), *(_near(task, _start(task), rng) for _ in range(SCOUTS))]


def _start(task: Task) -> dict[str, Any]:
    """Search parameters of the starting point, clipped to their ranges; values that are not among a field's choices are
    left out.
    """
    start: dict[str, Any] = {}
    for field, bound in task.bounds.items():
        value = value_of(task.base, field) if bound.start is None else None if bound.start == NO_VALUE else bound.start
        if bound.optional:
            start[field + PRESENT] = value is not None
        if value is not None and bound.range is not None:
            start[field] = min(max(value, bound.range[0]), bound.range[1])
        elif value in bound.choices:
            start[field] = value
    return start


def _near(task: Task, start: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A point near the starting point."""
    near = dict(start)
    for field, bound in task.bounds.items():
        if bound.range is None:
            if rng.random() < FLIP:
                near[field] = bound.choices[rng.integers(len(bound.choices))]
            continue
        if field not in start:
            continue
        low, high = (math.log(edge) if bound.log else edge for edge in bound.range)
        at = (math.log(start[field]) if bound.log else start[field]) + STRIDE * (high - low) * rng.standard_normal()
        value = min(max(math.exp(at) if bound.log else at, bound.range[0]), bound.range[1])
        near[field] = round(value) if bound.kind == "int" else value
    return near


def _complete(study: optuna.Study) -> bool:
    return any(trial.state == TrialState.COMPLETE for trial in study.trials)


def _sampler(done: int) -> optuna.samplers.TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=done, multivariate=True, group=True, n_startup_trials=SCOUTS)


def _study(task: Task, path: Path) -> optuna.Study:
    study = open_study(path, "calibration", [optuna.study.StudyDirection.MINIMIZE], _sampler(0))
    identity = _identity(task)
    before = study.user_attrs.get("task")
    if before is not None and before != identity:
        raise InputError(
            f"{path.parent}: holds the search of another task ({before}): expected an empty folder, or the task that "
            "the search started with"
        )
    study.set_user_attr("task", identity)
    return study


def _identity(task: Task) -> str:
    """Hash of the task and of all that stays fixed; bounded fields are left out, since a preset may hold an earlier
    search's result.
    """
    fixed = task.base.model_dump(mode="json")
    for field in task.bounds:
        *parents, leaf = field.split(".")
        node = fixed
        for part in parents:
            node = node[part]
        node.pop(leaf, None)
    return hashlib.sha256(f"{task.model_dump_json()} {json.dumps(fixed)}".encode()).hexdigest()[:16]
