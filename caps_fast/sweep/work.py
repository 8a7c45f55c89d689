"""A unit of work: runs with the same requests, simulated together.

Workers do nothing else.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from caps_fast.errors import InputError
from caps_fast.scenario import Scenario
from caps_fast.simulation import simulate_group, workload_key
from caps_fast.sweep.rows import code_hash, row


@dataclass(frozen=True)
class Failure:
    """A run that ended with an error: one line and, unless it is bad input, its traceback."""

    scenario_hash: str
    run: str
    error: str
    trace: str = ""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a unit's runs."""

    rows: list[dict[str, Any]]
    failures: list[Failure]


def work(configs: Sequence[Scenario], code: str, by_pool: bool = False) -> Outcome:
    """Simulate the scenarios, those with the same requests together; a failed run does not stop the others.

    `by_pool`: rows with metrics of every pool.

    Raises InputError if this worker's program is not the sweep's (`code`, see `code_hash`).
    """
    if code != code_hash():
        raise InputError(
            f"a worker runs other code ({code_hash()}) than the sweep ({code}): expected the same program everywhere"
        )
    return _together([_outcome(list(alike), by_pool) for _, alike in groupby(configs, key=workload_key)])


def _outcome(configs: list[Scenario], by_pool: bool) -> Outcome:
    try:
        return Outcome([row(result, by_pool) for result in simulate_group(configs)], [])
    except Exception as error:
        if len(configs) > 1:
            return _together([_outcome([config], by_pool) for config in configs])
        return Outcome([], [_failure(configs[0], error)])


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        [row for one in outcomes for row in one.rows], [failure for one in outcomes for failure in one.failures]
    )


def _failure(config: Scenario, error: Exception) -> Failure:
    run = f"{config.policy.name} at {config.workload.rate_rps} req/s, split {config.fleet.split}, seed {config.seed}"
    line = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InputError):
        return Failure(config.hash, run, line)
    return Failure(config.hash, run, f"{type(error).__name__}: {line}", "".join(traceback.format_exception(error)))
