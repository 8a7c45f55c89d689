"""What a results folder holds: the tables of `reproduce`, or the runs of any sweep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from caps_fast.errors import InputError
from caps_fast.metrics import metric_of
from caps_fast.sealed import read_sealed
from caps_fast.sweep.rows import PARAMETERS

NEEDED = ("policy", "rate_rps", "seed", "slo_attainment", "carbon_g_per_1k_tokens", "ttft_after_release_p95_s")
TABLES = {
    "claims": ("text", "unit", "paper", "test", "preset", "ours", "low", "high", "verdict", "why"),
    "table1": ("preset", "policy", "seeds", "days"),
    "savings": ("preset", "level", "category", "tier", "saving"),
    "decomposition": ("preset", "policy", "part", "saving", "low", "high"),
    "headline": ("preset", "name", "saving", "bill_saving"),
    "predictor": ("preset", "figure", "unit", "paper", "ours"),
    "series": ("preset", "policy", "seed", "t_s", "gamma_g_per_kwh", "pool", "role", "power_w", "residents", "waiting", "open"),
    "histograms": ("preset", "policy", "seed", "latency", "tier", "from_s", "to_s", "requests"),
}
TEXT = {name for name, kind in PARAMETERS.items() if kind == pl.String} | {
    *("text", "unit", "test", "verdict", "why", "level", "category", "tier", "part", "name", "figure", "latency", "role"),
}


@dataclass(frozen=True)
class Results:
    """Runs (one a row) and whatever other tables are there, by name."""

    name: str
    runs: pl.DataFrame
    tables: dict[str, pl.DataFrame]


def read_folder(folder: str | Path) -> Results:
    """Read `runs.parquet` (or else every Parquet file with the columns of runs) and the tables of `reproduce` that are there.

    Raises InputError where there are no runs, or a file cannot be read, lacks columns or has other types in them.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder with the results of a sweep or of reproduce")
    files = (
        [root / "runs.parquet"] if (root / "runs.parquet").is_file() else sorted(path for path in root.rglob("*.parquet") if path.stem not in TABLES)
    )
    frames = []
    for path in files:
        frame = read_sealed(path)
        if set(NEEDED) <= set(frame.columns):
            _expect_types(path, frame, [name for name in frame.columns if name in PARAMETERS or metric_of(name)])
            frames.append(frame)
    if not frames:
        raise InputError(f"{root}: no runs; expected runs.parquet with the columns {', '.join(NEEDED)}")
    runs = pl.concat(frames, how="diagonal_relaxed")
    if runs.is_empty():
        raise InputError(f"{root}: runs.parquet has no rows; expected the runs of a sweep")
    if "preset" not in runs.columns:
        runs = runs.with_columns(pl.lit("runs").alias("preset"))
    tables = {}
    for name, columns in TABLES.items():
        path = root / f"{name}.parquet"
        if path.is_file():
            tables[name] = read_sealed(path)
            if lacking := [column for column in columns if column not in tables[name].columns]:
                raise InputError(f"{path}: column {lacking[0]} is missing; expected a table of reproduce")
            _expect_types(path, tables[name], columns)
    return Results(root.resolve().name, runs, tables)


def _expect_types(path: Path, frame: pl.DataFrame, columns: Iterable[str]) -> None:
    """Raise InputError where a column is not of the type that it has in our files."""
    for name in columns:
        kind = frame.schema[name]
        if name in TEXT:
            wanted, fits = "text", kind == pl.String
        elif name == "open":
            wanted, fits = "true or false", kind == pl.Boolean
        else:
            wanted, fits = "numbers", kind.is_numeric()
        if not fits:
            raise InputError(f"{path}: column {name} is of type {kind}: expected {wanted}")
        if name == "policy" and (empty := frame[name].is_null()).any():
            raise InputError(f"{path}: row {empty.arg_max() + 1}: column policy is empty: expected a policy's name")  # type: ignore[operator]
