"""`reproduce`: run the experiments, test every claim, and write everything as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from caps_fast.files import expect_regular, whole
from caps_fast.reproduce.bill import headline
from caps_fast.reproduce.claims import claims
from caps_fast.reproduce.decompose import decomposition
from caps_fast.reproduce.details import details
from caps_fast.reproduce.evidence import Evidence
from caps_fast.reproduce.judge import judge
from caps_fast.reproduce.own_sizes import own_sizes
from caps_fast.reproduce.plan import Size, detailed, plan
from caps_fast.reproduce.predictor import predictor_rows
from caps_fast.reproduce.table import comparison
from caps_fast.sealed import sealed
from caps_fast.sweep import Workers, sweep

Frames = dict[str, pl.DataFrame]
TABLES = (
    "cells",
    "histograms",
    "series",
    "claims",
    "table1",
    "savings",
    "decomposition",
    "headline",
    "predictor",
    "own_sizes",
)


def reproduce(presets: Sequence[str], size: Size, out: Path, workers: Workers) -> Frames:
    """All tables of the comparison, also written to `out` as Parquet, one file each:

        runs            every run, one row each (the sweep's result, resumable)
        cells           accounts by carbon level, category and tier of Round Robin and CAPS, all seeds
        histograms      latencies by tier, series: timelines; all five policies on the first seed
        claims          the paper's claim, ours, verdict and reason; one row per claim and preset
        table1          Table 1, ours and the paper's
        savings         Figure 3a: saving of CAPS over Round Robin by cell, mean and interval over seeds
        decomposition   sources of savings, and the bounds
        headline        attributed and billed carbon, under other forecasts and rules of deferral
        predictor       MAE, MAPE, AUROC, latency
        own_sizes       every policy at its own best size, on the same requests

    Raises InputError if the folder cannot be written.
    """
    for name in TABLES:
        expect_regular(out / f"{name}.parquet")
    runs = sweep(plan(presets, size), out, workers).runs
    frames = details([group for name in presets for group in detailed(name, size)], workers.count)
    evidence = [Evidence(name, runs, frames["cells"]) for name in presets]
    frames["claims"] = pl.DataFrame(
        [judge(claim, each) for claim in claims() for each in evidence], infer_schema_length=None
    )
    frames["table1"] = comparison(runs)
    frames["savings"] = pl.concat([each.savings_with_intervals for each in evidence])
    frames["decomposition"] = pl.concat([decomposition(each) for each in evidence])
    frames["headline"] = pl.concat([headline(each) for each in evidence])
    frames["predictor"] = pl.concat([predictor_rows(name) for name in presets])
    frames["own_sizes"] = pl.concat([own_sizes(each, size, workers) for each in evidence])
    for name in TABLES:
        with whole(out / f"{name}.parquet", follow=False) as beside:
            beside.write_bytes(sealed(frames[name]))
    return {"runs": runs, **frames}
