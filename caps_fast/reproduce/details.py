"""Runs stored with more than a row: accounts by cell, latency histograms, a timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl
from joblib import Parallel, delayed

from caps_fast.progress import Progress
from caps_fast.results import Result
from caps_fast.scenario import Scenario
from caps_fast.simulation import Recording, simulate_group

SAMPLE_S = 1800.0
"""Step of the timelines."""


def details(groups: Sequence[Sequence[Scenario]], jobs: int) -> dict[str, pl.DataFrame]:
    """Run groups of scenarios that share their requests: frames `cells`, `histograms` and `series`, each with
    preset, policy and seed.
    """
    parallel = Parallel(n_jobs=jobs, backend="threading", return_as="generator")
    progress = Progress(sum(len(group) for group in groups), 0.0)
    found = []
    for results in parallel(delayed(_run)(group) for group in groups):
        found += results
        progress.add(len(results), 0.0)
    progress.close()
    return {
        name: pl.concat([frame(result).select(*_key(result), pl.all()) for result in found])
        for name, frame in FRAMES.items()
    }


FRAMES: dict[str, Callable[[Result], pl.DataFrame]] = {
    "cells": lambda result: result.cells,
    "histograms": lambda result: result.histograms,
    "series": lambda result: result.series,
}


def _run(group: Sequence[Scenario]) -> list[Result]:
    return simulate_group(group, Recording(sample_every_s=SAMPLE_S))


def _key(result: Result) -> list[pl.Expr]:
    """Columns that identify the run of a row: preset, policy, seed."""
    config = result.scenario
    return [
        pl.lit(config.preset).alias("preset"),
        pl.lit(config.policy.name).alias("policy"),
        pl.lit(config.seed).alias("seed"),
    ]
