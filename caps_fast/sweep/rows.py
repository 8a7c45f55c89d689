"""One run as a row: parameters, metrics, and every other field of its scenario under its dotted name.

The same columns and types for every run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import polars as pl
from pydantic import BaseModel

from caps_fast.grid_section import Region
from caps_fast.metrics import POOL, metric_of
from caps_fast.outcome import parameters
from caps_fast.replica_section import Kind
from caps_fast.results import Result
from caps_fast.scenario import Scenario, file_hash
from caps_fast.sections import Pool

PACKAGE = Path(__file__).parent.parent
ABOVE = (
    "sweep",
    "calibrate",
    "sizing",
    "reproduce",
    "report",
    "cli",
)  # parts of the program that do not affect a run's numbers
AS_PARAMETERS = (
    *("preset", "seed", "days", "cluster.split", "workload.rate_rps"),
    *("policy.name", "policy.alpha", "policy.beta", "policy.lambda"),
)
ECHO = (
    "fleet",
    "input_hashes",
    "notes",
)  # as JSON: the whole fleet, the content of the files that the scenario names, the notes
NAMED: dict[str, type[BaseModel]] = {"pools": Pool, "gpus": Kind, "regions": Region}
PARAMETERS: dict[str, Any] = {
    **{"policy": pl.String, "rate_rps": pl.Float64, "seed": pl.Int64, "split": pl.String},
    **{"alpha": pl.Float64, "beta": pl.Float64, "lambda": pl.Float64, "days": pl.Float64},
    **{"preset": pl.String, "scenario_hash": pl.String, "version": pl.String},
}


def row(result: Result, by_pool: bool = False) -> dict[str, Any]:
    """A run's row: its parameters, its metrics, its other scenario fields and ECHO (lists and tables as JSON); with
    `by_pool`, the metrics of every pool too.
    """
    config = result.scenario
    hashes = {path: file_hash(path) for path in config.input_files}
    echo = {
        "fleet": json.dumps(config.fleet.describe()),
        "input_hashes": json.dumps(hashes),
        "notes": json.dumps(result.notes),
    }
    return (
        parameters(config) | result.metrics | fields(config) | echo | (result.outcome.pool_columns() if by_pool else {})
    )


def fields(config: Scenario) -> dict[str, Any]:
    """The scenario fields that are not parameter columns, by dotted name; lists and tables as JSON."""
    data = config.model_dump(mode="json")
    leaves = dict(_leaves(data, field_types()))
    for group, model in NAMED.items():
        held = data[group] or {}
        named = held.items() if isinstance(held, dict) else [(one["name"], one) for one in held]
        for name, one in named:
            leaves |= _leaves(one, dict(_typed(model, f"{group}.{name}.")), f"{group}.{name}.")
    return {path: json.dumps(value) if isinstance(value, list | dict) else value for path, value in leaves.items()}


def table(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the types of every result file, whatever the values."""
    known = PARAMETERS | dict.fromkeys(ECHO, pl.String)
    names = dict.fromkeys(name for one in sorted(rows, key=len, reverse=True) for name in one)
    return pl.DataFrame(
        rows, schema={name: known.get(name) or type_of(name) or _metric_type(name) for name in names}, orient="row"
    )


def content(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of runs themselves: parameters, metrics and fields, without the names of a plan."""
    known = {*PARAMETERS, *ECHO}
    return frame.select(
        name for name, dtype in frame.schema.items() if name in known or type_of(name) or dtype.is_numeric()
    )


def column_order(frames: Sequence[pl.DataFrame]) -> list[str]:
    """Columns of all frames: as in the widest one, then the rest by name; those of pools, which differ between
    clusters, last by name.
    """
    widest = [name for name in max(frames, key=lambda frame: frame.width).columns if not name.startswith(POOL)]
    return widest + sorted(
        {name for frame in frames for name in frame.columns}.difference(widest),
        key=lambda name: (name.startswith(POOL), name),
    )


@cache
def field_types() -> dict[str, Any]:
    """Polars types of the fields of every scenario that are not parameter columns, by dotted name."""
    return {path: kind for path, kind in _typed(Scenario, "") if path not in NAMED}


@cache
def type_of(name: str) -> Any:
    """Polars type of a column that holds a field of a scenario, those of named pools, kinds and regions included;
    None for another column.
    """
    group, _, field = name.partition(".")
    if group in NAMED and "." in field:
        return dict(_typed(NAMED[group], "")).get(field.partition(".")[2])
    return field_types().get(name)


@cache
def code_hash() -> str:
    """Hash of the sources that determine a run's numbers (16 hex digits): results of different sources are never mixed.

    Presets and profiles are excluded, since scenarios contain them.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0].removesuffix(".py") not in ABOVE:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _metric_type(name: str) -> Any:
    metric = metric_of(name)
    return pl.Int64 if metric is not None and metric.kind is int else pl.Float64


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
        kind = next((part for part in (field.annotation, *get_args(field.annotation)) if _is_section(part)), None)
        if kind:
            yield from _typed(kind, f"{path}.")
        elif path not in AS_PARAMETERS:
            yield path, _polars_type(field.annotation)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _polars_type(annotation: Any) -> Any:
    """The type for a field's annotation, optional or constrained: a number's, or text for all else."""
    found = {annotation, *get_args(annotation)} | {part for arg in get_args(annotation) for part in get_args(arg)}
    for kind, polars_type in ((float, pl.Float64), (int, pl.Int64)):
        if kind in found and not any(getattr(part, "__origin__", part) in {tuple, dict} for part in found):
            return polars_type
    return pl.String
