"""The input of a page: the tables of `reproduce`, the runs of any sweep, or runs in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from caps_fast.books import SEEN_STATES
from caps_fast.errors import InputError
from caps_fast.metrics import metric_of
from caps_fast.report.regions import moves_of
from caps_fast.sealed import read_sealed
from caps_fast.sweep import rows
from caps_fast.sweep.rows import PARAMETERS

if TYPE_CHECKING:
    from caps_fast.results import Result

NEEDED = ("policy", "rate_rps", "seed", "slo_attainment", "carbon_g_per_1k_tokens", "ttft_after_release_p95_s")
TABLES = {
    "claims": ("text", "unit", "paper", "test", "preset", "ours", "low", "high", "verdict", "why"),
    "table1": ("preset", "policy", "seeds", "days"),
    "savings": ("preset", "level", "category", "tier", "saving"),
    "decomposition": ("preset", "policy", "part", "saving", "low", "high"),
    "headline": ("preset", "name", "saving", "bill_saving"),
    "predictor": ("preset", "figure", "unit", "paper", "ours"),
    "own_sizes": ("preset", "target", "policy", "replicas", "slo_attainment", "bill_kg"),
    "series": (
        "preset",
        "policy",
        "seed",
        "t_s",
        "gamma_g_per_kwh",
        "pool",
        "role",
        "power_w",
        "residents",
        "waiting",
        "open",
    ),
    "histograms": ("preset", "policy", "seed", "latency", "tier", "from_s", "to_s", "requests"),
    "moves": ("preset", "policy", "seed", "origin", "region", "requests"),  # and any numbers, means per request
}
TEXT = {name for name, kind in PARAMETERS.items() if kind == pl.String} | {
    *(
        "text",
        "unit",
        "test",
        "verdict",
        "why",
        "level",
        "category",
        "tier",
        "part",
        "name",
        "figure",
        "latency",
        "role",
        "region",
        "origin",
    ),
}


@dataclass(frozen=True)
class Results:
    """Runs (one per row) and the other tables that exist, by name."""

    name: str
    runs: pl.DataFrame
    tables: dict[str, pl.DataFrame]


def read_folder(folder: str | Path) -> Results:
    """Read `runs.parquet` (or else every Parquet file with the columns of runs) and the tables of `reproduce` that
    exist.

    Raises InputError if there are no runs, or if a file cannot be read, lacks columns or has other types.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root.absolute()}: no such folder; expected one with the results of a sweep or of reproduce")
    files = (
        [root / "runs.parquet"]
        if (root / "runs.parquet").is_file()
        else sorted(path for path in root.rglob("*.parquet") if path.stem not in TABLES)
    )
    frames = []
    for path in files:
        frame = read_sealed(path)
        if set(NEEDED) <= set(frame.columns):
            _expect_types(str(path), frame, [name for name in frame.columns if name in PARAMETERS or metric_of(name)])
            frames.append(frame)
    if not frames:
        raise InputError(f"{root}: no runs; expected runs.parquet with the columns {', '.join(NEEDED)}")
    runs = pl.concat(frames, how="diagonal_relaxed")
    if runs.is_empty():
        raise InputError(f"{root}: runs.parquet has no rows; expected the runs of a sweep")
    tables = {}
    for name in TABLES:
        path = root / f"{name}.parquet"
        if path.is_file():
            tables[name] = read_sealed(path)
            _expect_table(str(path), tables[name], name)
    return _results(root.resolve().name, runs, tables)


def results_of(
    found: Result | Sequence[Result] | pl.DataFrame | Mapping[str, pl.DataFrame], name: str = "results"
) -> Results:
    """One run or several, a frame of runs, or frames by name: `runs` and any of TABLES.

    Raises InputError if there are no runs, or if a frame lacks columns or has other types.
    """
    if isinstance(found, pl.DataFrame):
        found = {"runs": found}
    if not isinstance(found, Mapping):
        found = _frames_of([found] if not isinstance(found, Sequence) else found)
    runs = found.get("runs")
    if runs is None or runs.is_empty():
        raise InputError("report: no runs: expected a frame `runs` with a row per run")
    if missing := [column for column in NEEDED if column not in runs.columns]:
        raise InputError(f"runs: column {missing[0]} is missing; expected {', '.join(NEEDED)}")
    _expect_types("runs", runs, [column for column in runs.columns if column in PARAMETERS or metric_of(column)])
    tables = {table: frame for table, frame in found.items() if table != "runs"}
    for table, frame in tables.items():
        if table not in TABLES:
            raise InputError(f"report: frame {table!r}: expected one of runs, {', '.join(TABLES)}")
        _expect_table(table, frame, table)
    return _results(name, runs, tables)


def _frames_of(results: Sequence[Result]) -> dict[str, pl.DataFrame]:
    """Frames of runs in memory: their rows, latencies, and recorded series."""
    if not results:
        raise InputError("report: no runs; expected at least one")
    frames = {"runs": rows.table([rows.row(result, by_pool=True) for result in results])}
    several = {
        "histograms": [_keyed(result, result.histograms) for result in results if result.histograms.height],
        "series": [_keyed(result, result.series) for result in results if result.has_series],
    }
    several["moves"] = [_keyed(result, moves) for result in results if (moves := moves_of(result)) is not None]
    return frames | {name: pl.concat(parts, how="diagonal_relaxed") for name, parts in several.items() if parts}


def _keyed(result: Result, frame: pl.DataFrame) -> pl.DataFrame:
    config = result.scenario
    policy = with_scaling(config.policy.name, config.policy.scaling)
    return frame.select(
        pl.lit(config.preset).alias("preset"),
        pl.lit(policy).alias("policy"),
        pl.lit(config.seed).alias("seed"),
        pl.all(),
    )


def with_scaling(policy: str, scaling: str | None) -> str:
    """A policy's name with that of its scale rule, if any: together they are a different policy."""
    return policy if scaling in {None, "none"} else f"{policy} + {scaling}"


def _results(name: str, runs: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> Results:
    """Results whose runs have a preset, and policies with their scale rule."""
    if "preset" not in runs.columns:
        runs = runs.with_columns(pl.lit("runs").alias("preset"))
    scaling = "policy.scaling"
    if scaling in runs.columns and runs.schema[scaling] == pl.String:
        scaled = (
            pl.col(scaling).is_not_null()
            & (pl.col(scaling) != "none")
            & ~pl.col("policy").str.contains(" + ", literal=True)
        )
        runs = runs.with_columns(
            pl.when(scaled).then(pl.format("{} + {}", "policy", scaling)).otherwise("policy").alias("policy")
        )
    return Results(name, runs, tables)


def _expect_table(origin: str, frame: pl.DataFrame, name: str) -> None:
    """Raise InputError if one of TABLES lacks a column or has other types."""
    columns = TABLES[name]
    if lacking := [column for column in columns if column not in frame.columns]:
        raise InputError(f"{origin}: column {lacking[0]} is missing; expected a table of reproduce")
    optional = [column for column in (*SEEN_STATES, "region", "name") if column in frame.columns and name == "series"]
    _expect_types(origin, frame, dict.fromkeys((*columns, *optional)))


def _expect_types(origin: str, frame: pl.DataFrame, columns: Iterable[str]) -> None:
    """Raise InputError if a column does not have the type of our files."""
    for name in columns:
        kind = frame.schema[name]
        if name in TEXT:
            wanted, fits = "text", kind == pl.String
        elif name == "open":
            wanted, fits = "true or false", kind == pl.Boolean
        else:
            wanted, fits = "numbers", kind.is_numeric()
        if not fits:
            raise InputError(f"{origin}: column {name} is of type {kind}: expected {wanted}")
        if name == "policy" and (empty := frame[name].is_null()).any():
            raise InputError(f"{origin}: row {empty.arg_max() + 1}: column policy is empty: expected a policy's name")  # type: ignore[operator]
