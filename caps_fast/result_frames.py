"""Frames of single runs that are kept beside their rows: accounts by cell, latency histograms, a timeline."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from caps_fast.results import Result

FRAMES: dict[str, Callable[[Result], pl.DataFrame]] = {
    "cells": lambda result: result.cells,
    "histograms": lambda result: result.histograms,
    "series": lambda result: result.series,
}


def key(result: Result) -> list[pl.Expr]:
    """Columns that say which run a row is of: preset, policy, seed."""
    config = result.scenario
    return [pl.lit(config.preset).alias("preset"), pl.lit(config.policy.name).alias("policy"), pl.lit(config.seed).alias("seed")]
