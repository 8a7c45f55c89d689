"""Starting: compiling with an empty cache, later starts, and help, each in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from .measure import Work

COMMAND = [sys.executable, "-c", "import sys; from caps_fast.cli import main; sys.argv[0] = 'caps-fast'; main()"]
SMALL_RUN = ("run", "--days", "0.001", "--set", "predictor.source=declared")


def call(*arguments: str, cache: object) -> str:
    environment = os.environ | {"CAPS_FAST_CACHE": str(cache)}
    return subprocess.run([*COMMAND, *arguments], check=True, capture_output=True, text=True, env=environment).stdout


def test_compile(timing, quick, tmp_path):
    """CAPS, the largest kernel."""
    caches = (tmp_path / str(number) for number in range(10))
    works = {"first run, empty cache": Work(lambda: call(*SMALL_RUN, cache=next(caches)))}
    cost = timing.by_turns(works, 1 if quick else 2, time.perf_counter, unit="process")
    timing.figure("first run, with compiling", cost["first run, empty cache"], "s", limit=15.0)


@pytest.mark.parametrize(("what", "arguments", "limit_s"), [("later run", SMALL_RUN, 1.0), ("caps-fast --help", ("--help",), 0.3)])
def test_later_start(timing, tmp_path_factory, what, arguments, limit_s):
    cache = tmp_path_factory.getbasetemp() / "cache"
    assert call(*arguments, cache=cache)
    works = {"python -c pass": Work(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)), what: Work(lambda: call(*arguments, cache=cache))}
    cost = timing.by_turns(works, max(timing.rounds, 5), time.perf_counter, unit="process")
    timing.figure(what, cost[what], "s", limit=limit_s)
