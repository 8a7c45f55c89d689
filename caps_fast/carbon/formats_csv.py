"""Readers of CSV formats; each turns a table of strings into the canonical schema."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from caps_fast.carbon.files import Table
from caps_fast.carbon.frame import (
    G_PER_KWH,
    INSTANT,
    KINDS,
    SCHEMA,
    SCOPES,
    UNKNOWN,
    finish,
    number_rows,
    parse_times,
    parse_values,
    refuse_clock_change,
    refuse_odd_years,
)
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.carbon.formats import Declared

logger = logging.getLogger(__name__)

FIRST_ROW = 2
TIME_NAMES = ("datetime", "timestamp", "point_time", "time", "date", "from")
VALUE_NAMES = ("value", "carbon", "co2", "moer")
VALUE_WORDS = ("intensity", "moer", "per_kwh", "per_mwh", "/kwh", "/mwh")
UNIT_PATTERNS = {"g/kWh": r"(?<![a-z])g.*kwh", "kg/MWh": r"(?<![a-z])kg.*mwh", "lb/MWh": r"(?<![a-z])lbs?.*mwh"}
MAX_BLOCK_HOURS = 240


def detect_csv(table: Table) -> str:
    """The name of the CSV format that a table's header shows; `plain` where it shows none."""
    names = set(table.frame.columns)
    if {"valid_at", "g_per_kwh"} <= names:
        return "common"
    if table.column("actual") and table.column("forecast"):
        return "carboncast"
    if table.column("carbon intensity", "(") and (_scope_column(table, "direct") or _scope_column(table, "lifecycle")):
        return "electricitymaps-csv"
    return "plain"


def _scope_column(table: Table, scope: str) -> str | None:
    if scope == "direct":
        return table.column("carbon intensity", "direct")
    return next(filter(None, (table.column("carbon intensity", word) for word in ("lca", "life cycle", "life-cycle", "lifecycle"))), None)


def read_electricitymaps(table: Table, path: str, declared: Declared) -> pl.DataFrame:
    """Electricity Maps' exports, both header styles; the direct and the life-cycle column become rows of their scope."""
    column = table.require("datetime")
    valid_at, _ = parse_times(table.frame[column], path, column, FIRST_ROW)
    zone = table.column("zone id") or table.column("zone key") or table.column("zone name") or table.column("zone")
    zones = table.frame[zone] if zone else pl.Series("zone", [declared.zone or UNKNOWN] * valid_at.len())
    if (zones == "").any():
        raise InputError(f"{path}: row {FIRST_ROW + zones.to_list().index('')}, {zone}: empty; expected a zone")
    parts = []
    for scope in ("direct", "lifecycle"):
        name = _scope_column(table, scope)
        if name:
            values = parse_values(table.frame[name], path, name, FIRST_ROW)
            parts.append(_frame(zones, valid_at, values, "average", scope))
    if not parts:
        raise InputError(f"{path}: no column of carbon intensity (direct) or (LCA); expected one among {', '.join(table.frame.columns)}")
    return finish(pl.concat(parts), path)


def read_carboncast(table: Table, path: str, declared: Declared) -> pl.DataFrame:
    """CarbonCast's files: blocks of forecasts one after another, each issued at its first hour, with the actual values beside them in every block."""
    column = table.column("utc") or table.require("time")
    valid_at, _ = parse_times(table.frame[column], path, column, FIRST_ROW)
    actual_name, forecast_name = table.require("actual"), table.require("forecast")
    scope = next((scope for scope in ("lifecycle", "direct") if scope in forecast_name.lower()), UNKNOWN)
    rows = number_rows(pl.DataFrame({"valid_at": valid_at}), FIRST_ROW).with_columns(
        actual=parse_values(table.frame[actual_name], path, actual_name, FIRST_ROW),
        forecast=parse_values(table.frame[forecast_name], path, forecast_name, FIRST_ROW),
        block=(pl.col("valid_at") <= pl.col("valid_at").shift()).fill_null(False).cum_sum(),
    )
    _check_blocks(rows, path)
    rows = _mend_repeated_blocks(rows, path)
    zone, kind = pl.lit(declared.zone or UNKNOWN), pl.lit(declared.kind or "average")
    rows = rows.with_columns(zone=zone, kind=kind, scope=pl.lit(scope), issued_at=pl.col("valid_at").first().over("block"))
    common = ["row", "zone", "kind", "scope", "valid_at"]
    observed = rows.sort("row").unique(["valid_at", "actual"], keep="first", maintain_order=True)
    frames = [
        observed.select(*common, issued_at=pl.lit(None, INSTANT), g_per_kwh="actual"),
        rows.select(*common, "issued_at", g_per_kwh="forecast"),
    ]
    return finish(pl.concat(frames, how="diagonal"), path, " (with one actual value)")


def _check_blocks(rows: pl.DataFrame, path: str) -> None:
    hour = pl.duration(hours=1)
    inside = rows.with_columns(step=pl.col("valid_at").diff().over("block")).filter(pl.col("step") != hour)
    if inside.height:
        raise InputError(f"{path}: row {inside['row'][0]}: {inside['step'][0]} after the row before; expected blocks of consecutive hours")
    sizes = rows.group_by("block", maintain_order=True).agg(pl.len(), pl.col("row").first())
    long = sizes.filter(pl.col("len") > MAX_BLOCK_HOURS)
    if long.height:
        raise InputError(f"{path}: row {long['row'][0]} begins a block of {long['len'][0]} hours; expected blocks of at most {MAX_BLOCK_HOURS}")


def _mend_repeated_blocks(rows: pl.DataFrame, path: str) -> pl.DataFrame:
    """Date a block one day later if it repeats the start of the block before and all actual values then agree (CISO's 2021 file has one such)."""
    starts = rows.group_by("block", maintain_order=True).agg(start=pl.col("valid_at").first(), row=pl.col("row").first())
    repeated = starts.filter(pl.col("start") == pl.col("start").shift())
    if not repeated.height:
        return rows
    late = pl.col("block").is_in(repeated["block"].implode())
    mended = rows.with_columns(pl.when(late).then(pl.col("valid_at") + pl.duration(days=1)).otherwise("valid_at").alias("valid_at"))
    if mended.select("valid_at", "actual").n_unique() > mended["valid_at"].n_unique():
        return rows
    for row, start in repeated.select("row", "start").rows():
        logger.warning(
            "%s: row %d begins a second block of %s; its actual values are those of a day later, and it is dated so", path, row, start.date()
        )
    return mended


def read_plain(table: Table, path: str, declared: Declared) -> pl.DataFrame:
    """Any table with a time and a value column; the unit is declared, or stands in the value column's name."""
    time, value = _time_column(table), _value_column(table)
    unit = _unit(value, path, declared.unit)
    valid_at, naive = parse_times(table.frame[time], path, time, FIRST_ROW)
    zone = table.column("zone")
    zones = table.frame[zone] if zone else pl.Series("zone", [declared.zone or UNKNOWN] * valid_at.len())
    values = parse_values(table.frame[value], path, value, FIRST_ROW, G_PER_KWH[unit])
    naive = naive and "utc" not in time.lower()
    frame = finish(_frame(zones, valid_at, values, declared.kind or "average", UNKNOWN), path, _CLOCK_HINT if naive else "")
    if naive:
        refuse_clock_change(frame["valid_at"], path)
    return frame


def _time_column(table: Table) -> str:
    exact = {name.lower(): name for name in reversed(table.frame.columns)}
    found = next((exact[name] for name in TIME_NAMES if name in exact), None) or next(filter(None, map(table.column, TIME_NAMES)), None)
    if found is None:
        raise InputError(f"{table.path}: no time column among {', '.join(table.frame.columns)}; expected columns like time, carbon_intensity")
    return found


def _value_column(table: Table) -> str:
    found = [name for name in table.frame.columns if name.lower() in VALUE_NAMES or any(word in name.lower() for word in VALUE_WORDS)]
    if len(found) != 1:
        told = f"columns {', '.join(found)} could each be the value" if found else f"no value column among {', '.join(table.frame.columns)}"
        raise InputError(f"{table.path}: {told}; expected one column like carbon_intensity")
    return found[0]


def _unit(column: str, path: str, declared: str | None) -> str:
    stated = next((unit for unit, pattern in UNIT_PATTERNS.items() if re.search(pattern, column.lower())), None)
    unit = declared or stated
    if unit is None:
        units = ", ".join(G_PER_KWH)
        raise InputError(f"{path}: the unit of column {column!r} is not stated; expected --unit, or --set carbon.unit=, with one of {units}")
    if stated is not None and G_PER_KWH[stated] != G_PER_KWH[unit]:
        raise InputError(f"unit {unit!r}: column {column!r} of {path} is in {stated}; expected that unit, or none given")
    return unit


_CLOCK_HINT = " (local times repeat an hour when clocks go back: give UTC, or times with an offset)"


def read_common_csv(table: Table, path: str, declared: Declared) -> pl.DataFrame:
    """The canonical schema itself, as CSV; `zone`, `issued_at`, `kind` and `scope` may be absent."""
    text = table.frame
    height = text.height
    valid_at, _ = parse_times(text["valid_at"], path, "valid_at", FIRST_ROW)
    frame = pl.DataFrame(
        {
            "zone": text["zone"] if "zone" in text.columns else pl.Series([declared.zone or UNKNOWN] * height),
            "issued_at": _issue_times(text, path),
            "valid_at": valid_at,
            "g_per_kwh": parse_values(text["g_per_kwh"], path, "g_per_kwh", FIRST_ROW),
            "kind": text["kind"] if "kind" in text.columns else pl.Series([declared.kind or "average"] * height),
            "scope": text["scope"] if "scope" in text.columns else pl.Series([UNKNOWN] * height),
        }
    )
    return read_common(frame, path)


def _issue_times(text: pl.DataFrame, path: str) -> pl.Series:
    """Parsed issue times; an empty cell is null (valid_at stands in while parsing)."""
    if "issued_at" not in text.columns:
        return pl.Series([None] * text.height, dtype=INSTANT)
    observed = text["issued_at"] == ""
    parsed, _ = parse_times(text["valid_at"].zip_with(observed, text["issued_at"]), path, "issued_at", FIRST_ROW)
    return parsed.to_frame("t").select(pl.when(~observed).then("t")).to_series()


def read_common(frame: pl.DataFrame, path: str) -> pl.DataFrame:
    """Check a frame that already has the canonical columns. Raises InputError naming column and value."""
    frame = frame.with_columns(_cast(frame[column], path) for column in SCHEMA if column != "g_per_kwh")
    for column, allowed in (("kind", KINDS), ("scope", SCOPES)):
        others = [value for value in frame[column].unique().to_list() if value not in allowed]
        if others:
            raise InputError(f"{path}: {column} {others[0]!r}; expected one of {', '.join(allowed)}")
    if frame["valid_at"].null_count() or frame["zone"].null_count():
        raise InputError(f"{path}: a zone or valid_at is missing; expected one in every row")
    values = parse_values(frame["g_per_kwh"], path, "g_per_kwh", FIRST_ROW)
    return finish(number_rows(frame.with_columns(values), FIRST_ROW), path)


def _cast(column: pl.Series, path: str) -> pl.Series:
    is_time = SCHEMA[column.name] == INSTANT
    try:
        typed = None if column.dtype.is_nested() else column.cast(SCHEMA[column.name])
    except pl.exceptions.PolarsError:
        typed = None
    if typed is None:
        raise InputError(f"{path}: column {column.name} is of type {column.dtype}; expected {'datetimes in UTC' if is_time else 'text'}")
    if is_time:
        refuse_odd_years(typed, path, column.name, FIRST_ROW)
    return typed


def _frame(zone: pl.Series, valid_at: pl.Series, values: pl.Series, kind: str, scope: str) -> pl.DataFrame:
    frame = pl.DataFrame({"zone": zone, "valid_at": valid_at, "g_per_kwh": values})
    return number_rows(frame.with_columns(issued_at=pl.lit(None, INSTANT), kind=pl.lit(kind), scope=pl.lit(scope)).select(*SCHEMA), FIRST_ROW)


CSV_READERS: dict[str, Callable[..., pl.DataFrame]] = {
    "electricitymaps-csv": read_electricitymaps,
    "carboncast": read_carboncast,
    "plain": read_plain,
    "common": read_common_csv,
}
