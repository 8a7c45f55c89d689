"""One run as a row: parameters, metrics, and every other field of its scenario under its dotted name. The same columns and types for every run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
from pydantic import BaseModel

from caps_fast import arrays
from caps_fast.errors import InputError
from caps_fast.results import Result, parameters
from caps_fast.scenario import Scenario, file_hash, preset
from caps_fast.sections import TIERS

PACKAGE = Path(__file__).parent.parent
ABOVE = ("sweep", "calibrate", "reproduce", "report", "cli")  # parts of the program that no run's numbers depend on
AS_PARAMETERS = (
    *("preset", "seed", "days", "cluster.split", "workload.rate_rps"),
    *("policy.name", "policy.alpha", "policy.beta", "policy.lambda"),
)
PARAMETERS: dict[str, Any] = {
    **{"policy": pl.String, "rate_rps": pl.Float64, "seed": pl.Int64, "split": pl.String},
    **{"alpha": pl.Float64, "beta": pl.Float64, "lambda": pl.Float64, "days": pl.Float64},
    **{"preset": pl.String, "scenario_hash": pl.String, "version": pl.String},
}
BESIDE = ("input_hashes", "notes")  # texts that no run is told apart by
COUNTS = ("requests", "output_tokens", "preemptions", "unfinished")


def row(result: Result) -> dict[str, Any]:
    """A run's row: its parameters, its metrics, its other scenario fields, its input files' hashes and its notes (lists and tables as JSON)."""
    config = result.scenario
    hashes = {"input_hashes": json.dumps({path: file_hash(path) for path in config.input_files}), "notes": json.dumps(result.notes)}
    return parameters(config) | result.metrics | fields(config) | hashes


def fields(config: Scenario) -> dict[str, Any]:
    """The scenario fields that are no parameter columns, by dotted name; lists and tables as JSON."""
    leaves = _leaves(config.model_dump(mode="json"), field_types())
    return {path: json.dumps(value) if isinstance(value, list | dict) else value for path, value in leaves}


def table(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the types that they have in every file, whatever the values at hand."""
    known = PARAMETERS | field_types() | dict.fromkeys(BESIDE, pl.String) | dict.fromkeys(COUNTS, pl.Int64)
    names = dict.fromkeys(name for one in sorted(rows, key=len, reverse=True) for name in one)
    return pl.DataFrame(rows, schema={name: known.get(name, pl.Float64) for name in names}, orient="row")


def content(frame: pl.DataFrame) -> pl.DataFrame:
    """What runs themselves say: parameters, metrics and fields, without the names that a plan gave them."""
    known = {*PARAMETERS, *field_types(), *BESIDE}
    return frame.select(name for name, dtype in frame.schema.items() if name in known or dtype.is_numeric())


def column_order(frames: Sequence[pl.DataFrame]) -> list[str]:
    """Columns of all frames: as in the widest one, then the rest by name."""
    widest = max(frames, key=lambda frame: frame.width).columns
    return widest + sorted({name for frame in frames for name in frame.columns}.difference(widest))


@cache
def field_types() -> dict[str, Any]:
    """Polars types of the scenario fields that are no parameter columns, by dotted name."""
    return dict(_typed(Scenario, ""))


@cache
def metric_names() -> tuple[str, ...]:
    """Names of the metric columns: those of a run without requests."""
    config = preset("paper")
    accounts, pools = arrays.zeros(arrays.Cell, 27), arrays.zeros(arrays.Pool, len(config.cluster.pools))
    histograms = np.zeros((len(TIERS), len(arrays.HISTOGRAMS), arrays.HISTOGRAM_BINS), np.int64)
    samples = arrays.zeros(arrays.Sample, 0, len(pools))
    return tuple(Result(config, 0.0, 0, 0, 0, accounts, pools, histograms, 0.0, 0.0, samples, None, ()).metrics)


def expect_metric(name: str) -> None:
    """Raises InputError for a name that is no metric column."""
    if name not in metric_names():
        raise InputError(f"metric {name!r}: expected one of {', '.join(metric_names())}")


@cache
def code_hash() -> str:
    """Hash of the sources behind a run's numbers (16 hex digits): results of different ones are never mixed.

    Presets and profiles are no part of it: they end up in scenarios.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0].removesuffix(".py") not in ABOVE:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _leaves(data: dict[str, Any], types: dict[str, Any], prefix: str = "") -> Any:
    for key, value in data.items():
        path = f"{prefix}{key}"
        if path in types:
            yield path, value
        elif isinstance(value, dict):
            yield from _leaves(value, types, f"{path}.")


def _typed(model: type[BaseModel], prefix: str) -> Any:
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _typed(field.annotation, f"{path}.")
        elif path not in AS_PARAMETERS:
            yield path, _polars_type(field.annotation)


def _polars_type(annotation: Any) -> Any:
    """Of a field's annotation, optional or constrained: a number's, or text for all else."""
    found = {annotation, *get_args(annotation)} | {part for arg in get_args(annotation) for part in get_args(arg)}
    for kind, polars_type in ((float, pl.Float64), (int, pl.Int64)):
        if kind in found and not any(getattr(part, "__origin__", part) in {tuple, dict} for part in found):
            return polars_type
    return pl.String
