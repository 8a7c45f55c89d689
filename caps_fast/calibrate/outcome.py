"""`calibrate`: search, then judge the best on seeds that the search did not see, and on small moves of every
parameter.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from joblib import Parallel, delayed
from scipy.stats import t as student

from caps_fast.calibrate.loss import Simulate, loss, measure, misses
from caps_fast.calibrate.moves import moves
from caps_fast.calibrate.search import Found, search
from caps_fast.calibrate.targets import Task, read_task
from caps_fast.errors import naming
from caps_fast.files import expect_regular, whole
from caps_fast.inputs import expect_inputs
from caps_fast.progress import Progress
from caps_fast.results import Result
from caps_fast.scenario import Scenario, preset
from caps_fast.simulation import simulate_group

CONFIDENCE = 0.95
BEST, TABLES = "best.toml", ("trials.parquet", "fit.parquet", "sensitivity.parquet")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """The outcome of a calibration.

    values          the best values by dotted field; None = no value
    loss            on the training seeds
    fit             one row per target: target, value, tolerance, training and report (means over those seeds),
                    report_low, report_high (interval of the report mean), hit (is the report mean within the
                    tolerance?)
    sensitivity     one row per move of one field, on the training seeds: field, best, to, loss, most_moved (a target),
                    change (of it, in tolerances)
    """

    values: dict[str, Any]
    loss: float
    fit: pl.DataFrame
    sensitivity: pl.DataFrame


def calibrate(path: str | Path, trials: int, out: Path, jobs: int = 0) -> Fitted:
    """Fit the parameters of the task in the file `path`; `trials` counts those of earlier calls with the same folder.

    Writes into `out`: study.log (the search, resumable), trials.parquet, fit.parquet, sensitivity.parquet, and
    best.toml, a scenario with the result. Raises InputError for a bad task, or a folder that cannot be written or
    belongs to another task.
    """
    task = read_task(path)
    with naming(str(path)):
        expect_inputs(task.scenarios())
    for name in (BEST, *TABLES):
        expect_regular(out / name)
    run = on_threads(jobs or len(os.sched_getaffinity(0)))
    found = _search(task, trials, out, run)
    with whole(out / BEST, follow=False) as beside:
        beside.write_text(scenario_toml(task, found.values), encoding="utf-8")
    fit = judge(task, found.values, run)
    sensitivity = sensitivities(task, found.values, run)
    for name, frame in zip(TABLES, (_trials(task, found), fit, sensitivity), strict=True):
        with whole(out / name, follow=False) as beside:
            frame.write_parquet(os.fspath(beside), compression="zstd")
    return Fitted(found.values, float(found.study.best_value), fit, sensitivity)


def judge(task: Task, values: Mapping[str, Any], run: Simulate) -> pl.DataFrame:
    """The fit of these values on the training seeds and on the report seeds (see `Fitted.fit`)."""
    training = measure(task, task.base.replace(values), task.seeds.train, run)
    report = measure(task, preset(task.preset).replace({**task.report, **values}), task.seeds.report, run)
    rows = []
    for target, seen, unseen in zip(task.targets, training, report, strict=True):
        half = float("nan")
        if len(unseen) > 1:
            half = float(student.ppf(0.5 + CONFIDENCE / 2, len(unseen) - 1) * unseen.std(ddof=1) / np.sqrt(len(unseen)))
        mean = float(unseen.mean())
        rows.append(
            {
                "target": target.name,
                "value": target.value,
                "tolerance": target.tolerance,
                "training": float(seen.mean()),
                "report": mean,
                "report_low": mean - half,
                "report_high": mean + half,
                "hit": abs(mean - target.value) <= target.tolerance,
            }
        )
    return pl.DataFrame(rows)


def sensitivities(task: Task, values: Mapping[str, Any], run: Simulate) -> pl.DataFrame:
    """Effect of small moves of single fields (see `Fitted.sensitivity`).

    Moves to scenarios that are not valid are left out.
    """
    here = measure(task, task.base.replace(values), task.seeds.train, run).mean(axis=1)
    steps = list(moves(task, values))
    progress = Progress(len(steps), 0.0)
    rows = []
    for field, to in steps:
        figures = measure(task, task.base.replace({**values, field: to}), task.seeds.train, run).mean(axis=1).tolist()
        change = np.array(misses(task, figures)) - np.array(misses(task, here.tolist()))
        most = int(np.argmax(np.abs(change)))
        row = {"field": field, "best": _shown(values[field]), "to": _shown(to), "loss": loss(task, figures)}
        rows.append(row | {"most_moved": task.targets[most].name, "change": float(change[most])})
        progress.add(1, 0.0)
    progress.close()
    return pl.DataFrame(rows)


def on_threads(jobs: int) -> Simulate:
    """A `simulate_group` that distributes its scenarios over threads."""

    def run(configs: Sequence[Scenario]) -> Sequence[Result]:
        shares = [list(configs[first::jobs]) for first in range(min(jobs, len(configs)))]
        done = Parallel(n_jobs=jobs, backend="threading")(delayed(simulate_group)(share) for share in shares)
        found = {result.scenario.hash: result for result in chain.from_iterable(done)}
        return [found[config.hash] for config in configs]

    return run


def scenario_toml(task: Task, values: Mapping[str, Any]) -> str:
    """The fitted fields as a scenario file over the task's preset.

    TOML cannot express fields without a value; a comment names them.
    """
    tables: dict[str, dict[str, Any]] = {}
    for field, value in values.items():
        if value is not None:
            table, _, leaf = field.rpartition(".")
            tables.setdefault(table, {})[leaf] = value
    absent = [field for field, value in values.items() if value is None]
    lines = [f"preset = {json.dumps(task.preset)}"]
    lines += [f"# no value: {', '.join(absent)}"] if absent else []
    lines += [f"{leaf} = {json.dumps(value)}" for leaf, value in tables.pop("", {}).items()]
    for table, fields in tables.items():
        lines += ["", f"[{table}]", *(f"{leaf} = {json.dumps(value)}" for leaf, value in fields.items())]
    return "\n".join(lines) + "\n"


def _search(task: Task, trials: int, out: Path, run: Simulate) -> Found:
    progress = Progress(trials, 0.0)
    best: list[float] = []

    def on_trial(done: int, loss_so_far: float) -> None:
        progress.add(done - progress.runs_done, 0.0)
        if not best or loss_so_far < best[-1]:
            best.append(loss_so_far)
            logger.info("trial %d: loss %.4f", done, loss_so_far)

    try:
        return search(task, trials, out, on_trial, run)
    finally:
        progress.close()


def _trials(task: Task, found: Found) -> pl.DataFrame:
    """One row per finished trial: number, loss, the fields as text, the targets' figures."""
    rows = []
    for trial in found.study.trials:
        if trial.value is not None:
            row: dict[str, Any] = {"trial": trial.number, "loss": trial.value}
            row |= {field: _shown(trial.params.get(field)) for field in task.bounds}
            rows.append(
                row | dict(zip((target.name for target in task.targets), trial.user_attrs["figures"], strict=True))
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
