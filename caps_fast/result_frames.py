"""Frames of single runs that are kept beside their rows: accounts by cell, latency histograms, a timeline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from caps_fast import arrays
from caps_fast.books import bin_edges_s
from caps_fast.results import Result
from caps_fast.sections import TIERS


def histogram_frame(result: Result) -> pl.DataFrame:
    """Counts of finished requests by latency, tier and bin: latency, tier, from_s, to_s, requests; empty bins left out."""
    edges = bin_edges_s()
    tier, latency, at = np.nonzero(result.histograms)
    columns = {
        "latency": np.array(arrays.HISTOGRAMS)[latency],
        "tier": np.array(TIERS)[tier],
        "from_s": edges[at],
        "to_s": edges[at + 1],
        "requests": result.histograms[tier, latency, at],
    }
    return pl.DataFrame(columns)


FRAMES: dict[str, Callable[[Result], pl.DataFrame]] = {
    "cells": lambda result: result.cells,
    "histograms": histogram_frame,
    "series": lambda result: result.series,
}


def key(result: Result) -> list[pl.Expr]:
    """Columns that say which run a row is of: preset, policy, seed."""
    config = result.scenario
    return [pl.lit(config.preset).alias("preset"), pl.lit(config.policy.name).alias("policy"), pl.lit(config.seed).alias("seed")]
