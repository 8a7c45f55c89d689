"""Runs for several searches at once: each round has the runs that all of them request."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from caps_fast.errors import InputError
from caps_fast.scenario import Scenario
from caps_fast.simulation import simulate_group, workload_key
from caps_fast.sizing.targets import misses
from caps_fast.sweep.fanout import Workers
from caps_fast.sweep.plan import GROUP

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Measured:
    """The result of a run of one fleet: its metrics and what it missed (see `misses`); or why it is not valid."""

    metrics: dict[str, float] = field(default_factory=dict)
    misses: dict[str, float] = field(default_factory=dict)
    error: str = ""


Ask = Sequence["Scenario | InputError"]  # runs that a search requests, or why there is none
Search = Generator[Ask, list[Measured], Answer]
Job = tuple[tuple[int, int], Scenario]  # position of a run among the requested ones, and the run


def in_step(searches: Sequence[Search[Answer]], workers: Workers) -> list[Answer]:
    """Continue all searches, round by round, until each has its answer. Raises InputError as they do."""
    answers: dict[int, Answer] = {}
    waiting = {at: next(search) for at, search in enumerate(searches)}
    while waiting:
        found = _round(waiting, workers)
        for at, measured in found.items():
            try:
                waiting[at] = searches[at].send(measured)
            except StopIteration as end:
                answers[at] = end.value
                del waiting[at]
    return [answers[at] for at in range(len(searches))]


def _round(asked: dict[int, Ask], workers: Workers) -> dict[int, list[Measured]]:
    found: dict[tuple[int, int], Measured] = {}
    alike: dict[str, list[Job]] = {}
    for at, ask in asked.items():
        for place, one in enumerate(ask):
            if isinstance(one, InputError):
                found[at, place] = Measured(error=str(one))
            else:
                alike.setdefault(workload_key(one), []).append(((at, place), one))
    runs = sum(map(len, alike.values()))
    size = min(GROUP, max(runs // (2 * workers.count), 1))
    units = [jobs[start : start + size] for jobs in alike.values() for start in range(0, len(jobs), size)]
    with closing(workers.each(_measure, units)) as outcomes:
        for outcome in outcomes:
            found |= outcome
    return {at: [found[at, place] for place in range(len(ask))] for at, ask in asked.items()}


def _measure(unit: Sequence[Job]) -> dict[tuple[int, int], Measured]:
    """Simulate runs with the same requests; an invalid one does not stop the others."""
    try:
        results = simulate_group([config for _, config in unit])
    except InputError as error:
        if len(unit) == 1:
            return {unit[0][0]: Measured(error=str(error))}
        return _joined(_measure([job]) for job in unit)
    return {place: Measured(result.metrics, misses(result)) for (place, _), result in zip(unit, results, strict=True)}


def _joined(parts: Iterable[dict[tuple[int, int], Measured]]) -> dict[tuple[int, int], Measured]:
    return {place: one for part in parts for place, one in part.items()}
