"""Timing by turns: what is to be compared runs in the same rounds, so that a machine that slows down slows all of
it.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

PEAK_MEMORY = """
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")))
"""
# a turn is filled up to that at the most: short ones would slip through between other programs, and long ones cannot
TURN_S = 2.0


class Work(NamedTuple):
    """Something to time, how many units (requests, predictions, runs) it handles, and whether it is done `once` a
    turn, however short it is.
    """

    run: Callable[[], object]
    units: float = 1.0
    once: bool = False


class Timing:
    """One benchmark's measurements, kept in pytest-benchmark's `extra_info` for `outcome.py`."""

    def __init__(self, benchmark: Any, rounds: int) -> None:
        self.benchmark, self.rounds = benchmark, rounds
        self.found: dict[str, Any] = benchmark.extra_info
        self.found.update(seconds={}, ratios={}, figures={}, notes=[], spread=0.0)

    def by_turns(
        self,
        works: Mapping[str, Work],
        rounds: int | None = None,
        timer: Callable[[], float] = time.process_time,
        unit: str = "request",
        turn_s: float = TURN_S,
    ) -> dict[str, float]:
        """Seconds a unit of every work: the least of the rounds, after one to warm up. pytest-benchmark times the
        last work.
        """
        turns = turns_of(works, timer, turn_s)
        *others, (subject, measured) = turns.items()
        times: dict[str, list[float]] = {label: [] for label in turns}

        def before_each_round() -> None:
            for label, turn in others:
                times[label].append(seconds_of(turn.run, timer))

        self.benchmark._timer = timer
        self.benchmark.pedantic(measured.run, setup=before_each_round, rounds=rounds or self.rounds, iterations=1)
        times[subject] = list(self.benchmark.stats.stats.data)
        least = {label: min(times[label]) / turn.units for label, turn in turns.items()}
        self.found.update(unit=unit, seconds=least, spread=max(_spread(values) for values in times.values()))
        return least

    def net_of_start(
        self, works: Mapping[str, Work], starts: Mapping[str, Work], rounds: int, turn_s: float = TURN_S
    ) -> dict[str, float]:
        """Seconds a unit of every work less what starting it costs, for labels that both have; what the last start
        costs is a figure apart.
        """
        cost = self.by_turns(
            {f"start: {label}": work for label, work in starts.items()} | dict(works), rounds, turn_s=turn_s
        )
        net = {label: cost[label] - cost[f"start: {label}"] / work.units for label, work in works.items()}
        self.found["seconds"] = net
        for label in list(starts)[-1:]:
            self.figure(
                f"{self.benchmark.name.partition('[')[2].rstrip(']')}: starting a run, {label}",
                cost[f"start: {label}"] * 1e3,
                "ms",
            )
        return net

    def ratio(self, name: str, value: float, *, target: float | None = None, more_is_better: bool = False) -> None:
        """A ratio within this run: what later runs are checked against."""
        self.found["ratios"][name] = {"value": value, "target": target, "more_is_better": more_is_better}

    def figure(
        self, name: str, value: float, unit: str, limit: float | None = None, more_is_better: bool = False
    ) -> None:
        """An absolute figure, told beside its limit; never checked against stored ones, for machines differ."""
        self.found["figures"][name] = {"value": value, "unit": unit, "limit": limit, "more_is_better": more_is_better}

    def note(self, text: str) -> None:
        """A line for the page: what was checked before timing."""
        self.found["notes"].append(text)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost over log size, by least squares: 1 if cost is linear."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def in_child(code: str, *arguments: str, **environment: str) -> str:
    """What a fresh Python process that runs `code` prints.

    Python may keep its bytecode there, as it does unless told otherwise.
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=variables | environment).stdout


def peak_memory_in_child(code: str, *arguments: str) -> int:
    """Peak memory in bytes of a fresh Python process that runs `code` (Linux; its own, where `getrusage` would
    count its parent's).
    """
    return int(in_child(f"{code}\n{PEAK_MEMORY}", *arguments))


def turns_of(works: Mapping[str, Work], timer: Callable[[], float], turn_s: float = TURN_S) -> dict[str, Work]:
    """The works, each so many times that its turn lasts about as long as the longest, or `turn_s`.

    Runs all of them, which warms up; one alone is left as it is.
    """
    if len(works) == 1:
        return dict(works)
    seconds = {label: seconds_of(work.run, timer) for label, work in works.items()}
    full_s = min(max(seconds.values()), turn_s)
    return {
        label: work if work.once else _again(work, max(round(full_s / seconds[label]), 1))
        for label, work in works.items()
    }


def _again(work: Work, times: int) -> Work:
    return Work(lambda: [work.run() for _ in range(times)], work.units * times)


def seconds_of(run: Callable[[], object], timer: Callable[[], float]) -> float:
    """What one run takes."""
    started_s = timer()
    run()
    return timer() - started_s


def _spread(values: Sequence[float]) -> float:
    """How far the second least round is above the least, as a share: how well the least is known."""
    if len(values) < 2:
        return math.nan
    first, second = sorted(values)[:2]
    return second / first - 1
