"""The runs behind the value of forecasts: carbon, attainment and forecast error of each, by region."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from caps_fast.arrays import BUSY
from caps_fast.carbon.grid import forecast_error
from caps_fast.carbon.monitor import monitors_of
from caps_fast.records import Array
from caps_fast.results import Result
from caps_fast.scenario import Scenario
from caps_fast.simulation import simulate_group, workload_key
from caps_fast.sweep.fanout import Workers
from caps_fast.sweep.plan import GROUP

OF = ("bill", "busy")


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    kg          by region: carbon of all states, or of busy replicas alone, PUE included
    errors      by region: mean absolute percentage error by lead day, as fractions
    slo         attainment
    notes       lines for the user
    """

    kg: dict[str, float]
    errors: dict[str, Array]
    slo: float
    notes: tuple[str, ...]


Job = tuple[int, Scenario]


def outcomes(configs: Sequence[Scenario], of: str, workers: Workers) -> list[Outcome]:
    """Simulate all runs, in groups that share their requests. Raises InputError for bad inputs."""
    alike: dict[str, list[Job]] = {}
    for at, config in enumerate(configs):
        alike.setdefault(workload_key(config), []).append((at, config))
    size = min(GROUP, max(len(configs) // (2 * workers.count), 1))
    units = [(of, jobs[start : start + size]) for jobs in alike.values() for start in range(0, len(jobs), size)]
    found: dict[int, Outcome] = {}
    with closing(workers.each(_play, units)) as played:
        for part in played:
            found |= part
    return [found[at] for at in range(len(configs))]


def _play(unit: tuple[str, list[Job]]) -> dict[int, Outcome]:
    of, jobs = unit
    results = simulate_group([config for _, config in jobs])
    return {at: _outcome(result, of) for (at, _), result in zip(jobs, results, strict=True)}


def _outcome(result: Result, of: str) -> Outcome:
    config, books = result.scenario, result.outcome.books
    kg = dict.fromkeys(config.fleet.regions, 0.0)
    for pool, pue, own in zip(config.fleet.pools, books.pue, books.by_pool.values(), strict=True):
        grams = own.spent["carbon_g"].sum() if of == "bill" else own.spent["carbon_g"][BUSY]
        kg[pool.region] += pue * float(grams) / 1000.0
    errors = {
        name: forecast_error(monitor.forecast, monitor.trace)
        for name, monitor in zip(config.fleet.regions, monitors_of(config), strict=True)
    }
    return Outcome(kg, errors, result.metrics["slo_attainment"], result.notes)


def day(errors: Sequence[Array], index: int) -> float:
    """Mean over runs of the error of a lead day; nan if none has it."""
    own = [float(one[index]) for one in errors if len(one) > index and np.isfinite(one[index])]
    return float(np.mean(own)) if own else float("nan")
