"""Starting: compiling with an empty cache, later starts, and help, each in a fresh process."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .measure import Work, in_child

COMMAND = "import sys; from caps_fast.cli import main; sys.argv[0] = 'caps-fast'; main()"
SMALL_RUN = ("run", "--days", "0.001", "--set", "predictor.source=declared")  # CAPS, the largest kernel


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """New empty folders."""
    return (tmp_path_factory.mktemp("cache") for _ in itertools.count())


@pytest.fixture(scope="module")
def used(caches: Iterator[Path]) -> list[Path]:
    """Caches that have been filled, once `test_compile` has run."""
    return []


def call(arguments: tuple[str, ...], cache: Path) -> str:
    return in_child(COMMAND, *arguments, CAPS_FAST_CACHE=str(cache))


def test_compile(timing, quick, caches, used):
    def first_run() -> None:
        used.append(next(caches))
        assert "caps" in call(SMALL_RUN, used[-1])

    cost = timing.by_turns(
        {"first run, empty cache": Work(first_run)}, 1 if quick else 2, time.perf_counter, unit="process"
    )
    timing.figure("first run, with compiling", cost["first run, empty cache"], "s", limit=15.0)


@pytest.mark.parametrize("what", ["later run", "caps-fast --help"])
def test_later_start(timing, caches, used, what):
    arguments, limit_s = (SMALL_RUN, 1.0) if what == "later run" else (("--help",), 0.3)
    cache = used[-1] if used else next(caches)
    assert "caps" in call(arguments, cache)
    works = {"python -c pass": Work(lambda: in_child("pass")), what: Work(lambda: call(arguments, cache))}
    cost = timing.by_turns(works, max(timing.rounds, 4), time.perf_counter, unit="process")
    timing.figure(what, cost[what], "s", limit=limit_s)
