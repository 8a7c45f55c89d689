"""Timing by turns: what is to be compared runs in the same rounds, so that a machine that slows down slows all of it."""

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


class Work(NamedTuple):
    """Something to time, and how many units (requests, predictions, runs) it handles."""

    run: Callable[[], object]
    units: float = 1.0


class Timing:
    """One benchmark's measurements, kept in pytest-benchmark's `extra_info` for `outcome.py`."""

    def __init__(self, benchmark: Any, rounds: int) -> None:
        self.benchmark, self.rounds = benchmark, rounds
        self.found: dict[str, Any] = benchmark.extra_info
        self.found.update(seconds={}, ratios={}, figures={}, notes=[], spread=0.0)

    def by_turns(
        self, works: Mapping[str, Work], rounds: int | None = None, timer: Callable[[], float] = time.process_time, unit: str = "request"
    ) -> dict[str, float]:
        """Seconds a unit of every work: the least of the rounds (the first of which is the warm-up). pytest-benchmark times the last one."""
        *others, (subject, measured) = works.items()
        times: dict[str, list[float]] = {label: [] for label in works}

        def before_each_round() -> None:
            for label, work in others:
                started_s = timer()
                work.run()
                times[label].append(timer() - started_s)

        self.benchmark._timer = timer
        self.benchmark.pedantic(measured.run, setup=before_each_round, rounds=rounds or self.rounds, iterations=1)
        times[subject] = list(self.benchmark.stats.stats.data)
        least = {label: min(times[label]) / work.units for label, work in works.items()}
        self.found.update(unit=unit, seconds=least, spread=max(_spread(values) for values in times.values()))
        return least

    def net_of_start(self, works: Mapping[str, Work], starts: Mapping[str, Work], rounds: int) -> dict[str, float]:
        """Seconds a unit of every work less what starting it costs, for labels that both have; what the last start costs is a figure apart."""
        cost = self.by_turns({f"start: {label}": work for label, work in starts.items()} | dict(works), rounds)
        net = {label: cost[label] - cost[f"start: {label}"] / work.units for label, work in works.items()}
        self.found["seconds"] = net
        for label in list(starts)[-1:]:
            self.figure(f"{self.benchmark.name.partition('[')[2].rstrip(']')}: starting a run, {label}", cost[f"start: {label}"] * 1e3, "ms")
        return net

    def ratio(self, name: str, value: float, *, target: float | None = None, more_is_better: bool = False) -> None:
        """A ratio within this run: what later runs are checked against."""
        self.found["ratios"][name] = {"value": value, "target": target, "more_is_better": more_is_better}

    def figure(self, name: str, value: float, unit: str, limit: float | None = None, more_is_better: bool = False) -> None:
        """An absolute figure, told beside its limit; never checked against stored ones, for machines differ."""
        self.found["figures"][name] = {"value": value, "unit": unit, "limit": limit, "more_is_better": more_is_better}

    def note(self, text: str) -> None:
        """A line for the page: what was checked before timing."""
        self.found["notes"].append(text)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost over log size, by least squares: 1 if cost is linear."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def in_child(code: str, *arguments: str, **environment: str) -> str:
    """What a fresh Python process that runs `code` prints. Python may keep its bytecode there, as it does unless told otherwise."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=variables | environment).stdout


def peak_memory_in_child(code: str, *arguments: str) -> int:
    """Peak memory in bytes of a fresh Python process that runs `code` (Linux; its own, where `getrusage` would count its parent's)."""
    return int(in_child(f"{code}\n{PEAK_MEMORY}", *arguments))


def _spread(values: Sequence[float]) -> float:
    """How far the second least round is above the least, as a share: how well the least is known."""
    if len(values) < 2:
        return math.nan
    first, second = sorted(values)[:2]
    return second / first - 1
