"""Detection of a carbon table's CSV format, and readers of formats with forecasts; `formats_table` reads all others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from caps_fast.carbon import columns
from caps_fast.carbon.files import FIRST_ROW, Table
from caps_fast.carbon.formats_table import factor, instants, issue_times, read_electricitymaps, read_table
from caps_fast.carbon.frame import (
    KINDS,
    SCHEMA,
    SCOPES,
    UNKNOWN,
    finish,
    number_rows,
    parse_times,
    parse_values,
    refuse_odd_years,
)
from caps_fast.errors import InputError
from caps_fast.instants import INSTANT, looks_like_time
from caps_fast.words import other_unit, says_any, words

if TYPE_CHECKING:
    from caps_fast.carbon.declared import Declared

logger = logging.getLogger(__name__)

MAX_BLOCK_HOURS = 240
ACTUAL = ("actual", "observed")
UK_LEVELS = {"very low", "low", "moderate", "high", "very high"}
FLATTENED = {("is", "estimated"), ("emission", "factor", "type"), ("estimation", "method")}


def detect_csv(table: Table) -> str:
    """The name of the CSV format that a table's header shows; `plain` if it shows none."""
    names = set(table.frame.columns)
    if {"valid_at", "g_per_kwh"} <= names:
        return "common"
    if _uk_columns(table) is not None:
        return "uk-csv"
    if _beside(table) is not None:
        return "carboncast"
    spoken = {words(name.rpartition(".")[2]) for name in names}
    is_export = any(says_any(name, "carbon intensity") and "(" in name and columns.scope_of(name) for name in names)
    if is_export or (any("carbonIntensity" in name for name in names) and not FLATTENED.isdisjoint(spoken)):
        return "electricitymaps-csv"
    return "plain"


def _uk_columns(table: Table) -> tuple[str, str] | None:
    """The forecast and the actual column of a table of UK Carbon Intensity; none if neither they nor the index show
    that format.
    """
    by_words = {words(name): name for name in table.frame.columns}
    long = by_words.get(("intensity", "forecast")), by_words.get(("intensity", "actual"))
    if long[0] and long[1]:
        return long[0], long[1]
    short, index = (by_words.get(("forecast",)), by_words.get(("actual",))), by_words.get(("index",))
    levels = set(table.frame[index].str.to_lowercase().unique()) - {""} if index else set()
    return (short[0], short[1]) if short[0] and short[1] and levels and levels <= UK_LEVELS else None


def _beside(table: Table) -> tuple[str, str] | None:
    """The actual and the forecast column of a carbon intensity, as in CarbonCast's files: both names contain carbon."""
    carbon = [name for name in table.frame.columns if says_any(name, "carbon") and not other_unit(name)]
    actual, forecast = ([name for name in carbon if says_any(name, *said)] for said in (ACTUAL, columns.FORECAST))
    return (actual[0], forecast[0]) if len(actual) == len(forecast) == 1 else None


def read_uk_csv(table: Table, path: str, declared: Declared) -> pl.DataFrame:
    """UK Carbon Intensity as CSV, half-hourly: `actual` is observed; where it is empty, `forecast` is used as in the
    JSON format.
    """
    found = _uk_columns(table)
    if found is None:
        raise InputError(
            f"{path}: no columns intensity.forecast and intensity.actual; expected them among "
            f"{', '.join(table.frame.columns)}"
        )
    columns.refuse_unused(table, "uk-csv")
    time = columns.time_column(table, declared, set(found))
    valid_at, _ = instants(table, time._replace(utc=True), declared)
    forecast, actual = (
        parse_values(table.frame[name], path, name, FIRST_ROW, factor(table, name, declared, "g/kWh")) for name in found
    )
    pending = actual.is_null()
    half_hour = timedelta(minutes=30)
    known_by = pl.lit((valid_at.filter(pending).min() or valid_at[0]) + half_hour, INSTANT)  # type: ignore[operator]
    frame = pl.DataFrame({"valid_at": valid_at, "forecast": forecast, "g_per_kwh": actual}).with_columns(
        zone=pl.lit(declared.zone or "GB"),
        kind=pl.lit("average"),
        scope=pl.lit("direct"),
        issued_at=pl.when(pl.col("g_per_kwh").is_null()).then(known_by),
        g_per_kwh=pl.coalesce("g_per_kwh", "forecast"),
    )
    return finish(number_rows(frame.select(*SCHEMA), FIRST_ROW), path)


def read_carboncast(table: Table, path: str, declared: Declared) -> pl.DataFrame:
    """CarbonCast's files: consecutive blocks of forecasts, each issued at its first hour, with the actual values in
    every block.
    """
    found = _beside(table)
    if found is None:
        raise InputError(
            f"{path}: no columns of actual and forecasted carbon intensity; expected them among "
            f"{', '.join(table.frame.columns)}"
        )
    columns.refuse_unused(table, "carboncast")
    actual_name, forecast_name = found
    valid_at, _ = instants(table, columns.time_column(table, declared, set(found)), declared)
    scope = columns.scope_of(forecast_name) or UNKNOWN
    rows = number_rows(pl.DataFrame({"valid_at": valid_at}), FIRST_ROW).with_columns(
        actual=parse_values(
            table.frame[actual_name], path, actual_name, FIRST_ROW, factor(table, actual_name, declared, "g/kWh")
        ),
        forecast=parse_values(
            table.frame[forecast_name], path, forecast_name, FIRST_ROW, factor(table, forecast_name, declared, "g/kWh")
        ),
        block=(pl.col("valid_at") <= pl.col("valid_at").shift()).fill_null(False).cum_sum(),
    )
    _check_blocks(rows, path)
    rows = _mend_repeated_blocks(rows, path)
    zone, kind = pl.lit(declared.zone or UNKNOWN), pl.lit(declared.kind or "average")
    rows = rows.with_columns(
        zone=zone, kind=kind, scope=pl.lit(scope), issued_at=pl.col("valid_at").first().over("block")
    )
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
        raise InputError(
            f"{path}: row {inside['row'][0]}: {inside['step'][0]} after the row before; expected blocks of "
            "consecutive hours"
        )
    sizes = rows.group_by("block", maintain_order=True).agg(pl.len(), pl.col("row").first())
    long = sizes.filter(pl.col("len") > MAX_BLOCK_HOURS)
    if long.height:
        raise InputError(
            f"{path}: row {long['row'][0]} begins a block of {long['len'][0]} hours; expected blocks of at most "
            f"{MAX_BLOCK_HOURS}"
        )


def _mend_repeated_blocks(rows: pl.DataFrame, path: str) -> pl.DataFrame:
    """Date a block one day later if it repeats the start of the block before and all actual values then agree (as in
    CISO's 2021 file).
    """
    starts = rows.group_by("block", maintain_order=True).agg(
        start=pl.col("valid_at").first(), row=pl.col("row").first()
    )
    repeated = starts.filter(pl.col("start") == pl.col("start").shift())
    if not repeated.height:
        return rows
    late = pl.col("block").is_in(repeated["block"].implode())
    mended = rows.with_columns(
        pl.when(late).then(pl.col("valid_at") + pl.duration(days=1)).otherwise("valid_at").alias("valid_at")
    )
    if mended.select("valid_at", "actual").n_unique() > mended["valid_at"].n_unique():
        return rows
    for row, start in repeated.select("row", "start").rows():
        logger.warning(
            "%s: row %d begins a second block of %s; its actual values are those of a day later, so it is dated a day "
            "later",
            path,
            row,
            start.date(),
        )
    return mended


def read_common_csv(table: Table, path: str, declared: Declared) -> pl.DataFrame:
    """The canonical schema itself, as CSV; `zone`, `issued_at`, `kind` and `scope` may be absent."""
    text = table.frame
    height = text.height
    _refuse_unknown_times(table)
    valid_at, _ = parse_times(text["valid_at"], path, "valid_at", FIRST_ROW, declared, declared.time_zone)
    issued_at = pl.Series([None] * height, dtype=INSTANT)
    if "issued_at" in text.columns:
        issued_at = issue_times(table, "issued_at", valid_at, declared)
    frame = pl.DataFrame(
        {
            "zone": text["zone"] if "zone" in text.columns else pl.Series([declared.zone or UNKNOWN] * height),
            "issued_at": issued_at,
            "valid_at": valid_at,
            "g_per_kwh": parse_values(text["g_per_kwh"], path, "g_per_kwh", FIRST_ROW),
            "kind": text["kind"] if "kind" in text.columns else pl.Series([declared.kind or "average"] * height),
            "scope": text["scope"] if "scope" in text.columns else pl.Series([UNKNOWN] * height),
        }
    )
    return read_common(frame, path)


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
        raise InputError(
            f"{path}: column {column.name} is of type {column.dtype}; expected "
            f"{'datetimes in UTC' if is_time else 'text'}"
        )
    if is_time:
        refuse_odd_years(typed, path, column.name, FIRST_ROW)
    return typed


def _refuse_unknown_times(table: Table) -> None:
    """Raise InputError if a table in the canonical schema has another column of times."""
    for name in table.frame.columns:
        if name not in SCHEMA and looks_like_time(columns.cell(table, name)):
            raise InputError(
                f"{table.path}: column {name}: not a column of times of the common schema; expected only "
                f"{', '.join(SCHEMA)}"
            )


CSV_READERS: dict[str, Callable[..., pl.DataFrame]] = {
    "electricitymaps-csv": read_electricitymaps,
    "carboncast": read_carboncast,
    "uk-csv": read_uk_csv,
    "plain": read_table,
    "common": read_common_csv,
}
