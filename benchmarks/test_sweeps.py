"""Sweeps: two workers against one, and what the driver costs a run."""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Sequence

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from caps_fast.policies import MAIN
from caps_fast.simulation import simulate, simulate_group
from caps_fast.sweep import Grid, Plan, Workers, sweep
from caps_fast.sweep.axes import axis

from .measure import Work
from .scenarios import paper

# units, all policies on one drawing: so many that the last one, for which the other worker waits, weighs little, as in
# any real sweep
SEEDS = 40


def plan(days: float, seeds: int, policies: Sequence[str]) -> Plan:
    axes = (axis("policy", list(policies), "policy"), axis("seed", list(range(seeds)), "seed"))
    return Plan("bench", {"paper": paper("edf", days)}, (Grid("", {}, axes),))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_two_workers(timing, sizes, tmp_path):
    small = plan(sizes.sweep_days / 100, 2, MAIN)
    one, two = (sweep(small, tmp_path / f"check-{jobs}", Workers(jobs)).runs for jobs in (1, 2))
    assert_frame_equal(one, two, check_exact=True)
    timing.note("the same rows, bit for bit, with one worker and with two")
    work, folders = plan(sizes.sweep_days, SEEDS, MAIN), map(str, itertools.count())
    alone = paper("edf", sizes.sweep_days * SEEDS)

    def twice() -> None:
        threads = [threading.Thread(target=simulate, args=(alone,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    works = {
        "one run alone": Work(lambda: simulate(alone)),
        "two runs in two threads": Work(twice, 2),
        "one worker": Work(lambda: sweep(work, tmp_path / next(folders), Workers(1)), len(work)),
        "two workers": Work(lambda: sweep(work, tmp_path / next(folders), Workers(2)), len(work)),
    }
    cost = timing.by_turns(works, min(sizes.rounds, 4), time.perf_counter, unit="run", turn_s=math.inf)
    timing.ratio(
        "two workers as fast as one, times", cost["one worker"] / cost["two workers"], target=1.9, more_is_better=True
    )
    limit = cost["one run alone"] / cost["two runs in two threads"]
    timing.ratio("two bare runs as fast as one, times (the machine's own limit)", limit, more_is_better=True)


def test_driver(timing, quick, tmp_path):
    """Runs of a second's simulation, so that the driver is what costs."""
    work = plan(1 / 86400, 10 if quick else 40, MAIN)
    configs = [[work.scenario(grid, index) for index in indices] for grid, _, indices in work.groups()]
    rows = pl.DataFrame([result.row() for group in configs for result in simulate_group(group)])
    swept = sweep(work, tmp_path / "check", Workers(1)).runs
    keys = ["policy", "seed"]
    assert_frame_equal(swept.select(*keys, "requests").sort(keys), rows.select(*keys, "requests").sort(keys))
    folders = map(str, itertools.count())
    works = {
        "simulating alone": Work(lambda: [simulate_group(group) for group in configs], len(work)),
        "the sweep": Work(lambda: sweep(work, tmp_path / next(folders), Workers(1)), len(work)),
    }
    cost = timing.by_turns(works, unit="run")
    timing.figure("driver, a run", (cost["the sweep"] - cost["simulating alone"]) * 1e3, "ms", limit=2.0)
