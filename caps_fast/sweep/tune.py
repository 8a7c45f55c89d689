"""Multi-objective search for settings: resumable, with a verification on held-out seeds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
import polars as pl
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from caps_fast.choose import check_options
from caps_fast.errors import InputError, naming
from caps_fast.inputs import expect_inputs
from caps_fast.metrics import expect_metric, larger_is_better
from caps_fast.polars_io import first_line
from caps_fast.progress import Progress
from caps_fast.scenario import Scenario
from caps_fast.sweep.disk import writing
from caps_fast.sweep.fanout import Workers, ended_by_sigterm
from caps_fast.sweep.frames import expect_different
from caps_fast.sweep.journal import held, open_study
from caps_fast.sweep.pareto import hypervolume, nondominated
from caps_fast.sweep.plan import GROUP
from caps_fast.sweep.rows import code_hash
from caps_fast.sweep.space import Dimension, changes, changes_of
from caps_fast.sweep.store import KEY
from caps_fast.sweep.summary import HELD_OUT

BATCH = 8  # trials per batch: the same on every machine, so that a study is too


@dataclass(frozen=True)
class Search:
    """The task of a study.

    base        scenario that trials change
    dimensions  the search space
    objectives  metrics, each in its better direction
    seeds       of the search; a trial's objectives are means over them
    held_out    other seeds, only for the front
    sampler     tpe (tree-structured Parzen estimator) or nsga2 (genetic)
    """

    base: Scenario
    dimensions: tuple[Dimension, ...]
    objectives: tuple[str, ...]
    seeds: tuple[int, ...]
    held_out: tuple[int, ...]
    sampler: Literal["tpe", "nsga2"] = "tpe"

    def __post_init__(self) -> None:
        common = set(self.seeds) & set(self.held_out)
        if common:
            raise InputError(f"held-out seed {min(common)}: among the seeds of the search; expected others")
        expect_different(self.objectives, least=2)
        fields = [one.field for one in self.dimensions]
        if twice := [field for field in fields if fields.count(field) > 1]:
            raise InputError(f"search: {twice[0]} appears twice; expected every field once")
        if not self.dimensions:
            raise InputError("search: nothing to search over; expected at least one field")
        for name in self.objectives:
            expect_metric(name)
            larger_is_better(name)  # rejects a metric without a better direction
        check_options(self.ends())

    def ends(self) -> list[Scenario]:
        """The scenario as given, and with every dimension in turn at either end, or at each of its choices.

        Raises InputError.
        """
        moves = [(one, value) for one in self.dimensions for value in one.bounds or one.choices]
        return [
            self.base,
            *(self.base.replace({one.field: int(value) if one.whole else value}) for one, value in moves),
        ]


@dataclass(frozen=True)
class Tuned:
    """A study's outcome.

    front                   one row per non-dominated setting: fields, objectives, and objectives on the held-out seeds
    as_given                one row: the same objectives of the given scenario
    hypervolume             of the front, up to the worst trial, on the seeds of the search
    held_out_hypervolume    of the same settings, up to the same point, on the held-out seeds
    still_front             number of them that are non-dominated on the held-out seeds
    trials                  their number, `failed` of them without a result
    """

    front: pl.DataFrame
    as_given: pl.DataFrame
    hypervolume: float
    held_out_hypervolume: float
    still_front: int
    trials: int
    failed: int


def tune(search: Search, study_file: Path, trials: int, workers: Workers | None = None) -> Tuned:
    """Run the study in `study_file` up to a total of `trials` trials, resuming where it stopped; then evaluate its
    front on the held-out seeds.

    The same search gives the same trials, whatever the workers, interrupted or not. Raises InputError if the scenario
    cannot be run or the file belongs to another study.
    """
    workers = workers or Workers()
    expect_inputs(search.ends())
    with held(study_file), ended_by_sigterm(), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if study_file.exists():
            _open(search, study_file)  # another search's file is rejected before any run
        own = _own(search, workers)
        study = _open(search, study_file)
        with writing(study_file), naming(str(study_file)):
            _run(search, study, trials, workers)
        return _outcome(search, study, own, workers)


def _own(search: Search, workers: Workers) -> list[dict[str, float]]:
    """Objectives of the scenario as given, on the seeds of the search and on the held-out ones."""
    found = []
    for seeds in (search.seeds, search.held_out):
        (one,) = _evaluate([search.base], seeds, search.objectives, workers)
        if isinstance(one, str):
            raise InputError(f"the scenario as given fails: {one}")
        found.append(one)
    return found


def _open(search: Search, path: Path) -> optuna.Study:
    about: dict[str, Any] = {
        "scenario": search.base.hash,
        "code": code_hash(),
        "search": [str(one) for one in search.dimensions],
    }
    about |= {"objectives": list(search.objectives), "seeds": list(search.seeds), "sampler": search.sampler}
    directions = [
        StudyDirection.MAXIMIZE if larger_is_better(name) else StudyDirection.MINIMIZE for name in search.objectives
    ]
    study = open_study(path, "caps-fast", directions)
    before = study.user_attrs.get("about")
    if before is None:
        study.enqueue_trial(
            {name: value for one in search.dimensions for name, value in one.known(search.base).items()}
        )
        study.set_user_attr("about", about)
    elif before != about:
        differing = ", ".join(name for name in about if before.get(name) != about[name])
        raise InputError(f"{path}: holds a study with another {differing}; expected the same, or a new file")
    with naming(str(path)):
        for one in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            changes_of(search.dimensions, one.params, search.base)
            if len(one.values) != len(search.objectives) or not all(map(math.isfinite, one.values)):
                raise InputError(
                    f"trial {one.number} with the results {one.values}: expected a number for every objective"
                )
    return study


def _run(search: Search, study: optuna.Study, trials: int, workers: Workers) -> None:
    """Ask the sampler for batches of trials, first those begun before, and tell it their outcomes in order."""
    progress: Progress | None = None
    while True:
        begun = [one for one in study.get_trials(deepcopy=False) if one.state != TrialState.WAITING]
        running = [one for one in begun if one.state == TrialState.RUNNING]
        last = min(((len(begun) - bool(running)) // BATCH + 1) * BATCH, trials)
        batch = [_ask(search, study, one) for one in [*running, *range(len(begun), last)]]
        progress = progress or Progress(max(trials - len(begun), 0) + len(running), 0)
        if not batch:
            break
        outcomes = _evaluate([config for _, config in batch], search.seeds, search.objectives, workers)
        for (trial, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, str):
                trial.set_user_attr("error", outcome)
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, list(outcome.values()))
        progress.add(len(batch), 0)
    progress.close()


def _ask(search: Search, study: optuna.Study, begun: FrozenTrial | int) -> tuple[Trial, Scenario | str]:
    """A new trial by its number, or one begun before, and its scenario (or why there is none).

    Each trial has its own random stream.
    """
    number = begun if isinstance(begun, int) else begun.number
    if search.sampler == "tpe":
        study.sampler = optuna.samplers.TPESampler(seed=number, multivariate=True, constant_liar=True)
    else:
        study.sampler = optuna.samplers.NSGAIISampler(seed=number, population_size=2 * BATCH)
    trial = study.ask() if isinstance(begun, int) else Trial(study, begun._trial_id)
    try:
        changed = changes(search.dimensions, trial, search.base)
    except InputError:
        raise
    except ValueError as error:  # errors of Optuna about the content of a foreign study
        raise InputError(f"trial {number}: {first_line(error)}: expected a trial of this search") from None
    try:
        return trial, search.base.replace(changed)
    except InputError as error:
        return trial, str(error)


def _evaluate(
    configs: Sequence[Scenario | str], seeds: Sequence[int], objectives: Sequence[str], workers: Workers
) -> list[dict[str, float] | str]:
    """Objectives of each scenario, means over the seeds; or the reason why there are none."""
    runs = [
        [config if isinstance(config, str) else config.replace({"seed": seed}) for seed in seeds] for config in configs
    ]
    size = min(GROUP, math.ceil(len(configs) * len(seeds) / (2 * workers.count)))
    units = []
    for of_seed in zip(*runs, strict=True):
        alike = list({config.hash: config for config in of_seed if not isinstance(config, str)}.values())
        units += [alike[start : start + size] for start in range(0, len(alike), size)]
    rows: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    with closing(workers.map(units, code_hash())) as outcomes:
        for outcome in outcomes:
            rows |= {row[KEY]: row for row in outcome.rows}
            errors |= {one.scenario_hash: one.error for one in outcome.failures}
    return [_objectives(of_config, rows, errors, objectives) for of_config in runs]


def _objectives(
    runs: Sequence[Scenario | str], rows: dict[str, dict[str, Any]], errors: dict[str, str], objectives: Sequence[str]
) -> dict[str, float] | str:
    found = []
    for config in runs:
        if isinstance(config, str) or config.hash in errors:
            return config if isinstance(config, str) else errors[config.hash]
        found.append(rows[config.hash])
    means = {name: math.fsum(row[name] for row in found) / len(found) for name in objectives}
    undefined = [name for name, value in means.items() if not math.isfinite(value)]
    return f"{undefined[0]} is undefined" if undefined else means


def _outcome(search: Search, study: optuna.Study, own: Sequence[dict[str, float]], workers: Workers) -> Tuned:
    """The front on the seeds of the search, and its metrics on the held-out ones."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        errors = [
            one.user_attrs["error"]
            for one in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            if "error" in one.user_attrs
        ]
        raise InputError(
            "tune: no trial has a result; expected some that can be "
            f"run{f' (the first: {errors[0]})' if errors else ''}"
        )
    objectives, held = list(search.objectives), [f"{HELD_OUT}{name}" for name in search.objectives]
    points = pl.DataFrame(
        [
            changes_of(search.dimensions, one.params, search.base) | dict(zip(objectives, one.values, strict=True))
            for one in done
        ]
    )
    front = nondominated(
        points.unique([one.field for one in search.dimensions], keep="first", maintain_order=True), objectives
    )
    configs = [
        search.base.replace({one.field: row[one.field] for one in search.dimensions}) for row in front.to_dicts()
    ]
    again = _evaluate(configs, search.held_out, objectives, workers)
    front = front.with_columns(
        pl.Series(name, [math.nan if isinstance(one, str) else one[of] for one in again])
        for name, of in zip(held, objectives, strict=True)
    )
    worst = [float((points[name].min if larger_is_better(name) else points[name].max)()) for name in objectives]  # type: ignore[arg-type]
    seen_again = front.select(pl.col(name).alias(of) for name, of in zip(held, objectives, strict=True)).filter(
        pl.all_horizontal(pl.all().is_finite())
    )
    given = pl.DataFrame([own[0] | {name: own[1][of] for name, of in zip(held, objectives, strict=True)}])
    return Tuned(
        front=front,
        as_given=given,
        hypervolume=hypervolume(front, objectives, worst),
        held_out_hypervolume=hypervolume(seen_again, objectives, worst),
        still_front=nondominated(seen_again, objectives).height,
        trials=len(study.get_trials(deepcopy=False)),
        failed=len(study.get_trials(deepcopy=False, states=(TrialState.FAIL,))),
    )
