"""Single runs as the page that `report` makes of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from caps_fast.files import whole
from caps_fast.report.folder import Results
from caps_fast.report.page import page
from caps_fast.result_frames import FRAMES, key
from caps_fast.results import Result
from caps_fast.sweep.rows import row, table


def write_run_page(results: Sequence[Result], path: Path) -> None:
    """Write the page of runs on the same requests, each with a series recorded, whole or not at all. Raises InputError."""
    tables = {name: pl.concat([FRAMES[name](result).select(*key(result), pl.all()) for result in results]) for name in ("histograms", "series")}
    text = page(Results(results[0].scenario.preset, table([row(result) for result in results]), tables), {})
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")
