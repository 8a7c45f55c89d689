"""The one schema under all carbon formats, and the checks that every file passes.

    zone: str, issued_at: datetime[us, UTC] | null, valid_at: datetime[us, UTC], g_per_kwh: f64,
    kind: "average" | "marginal", scope: "direct" | "lifecycle" | "unknown"

Observed values have no issue time; a forecast has the time from which it could be seen.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from caps_fast.errors import InputError
from caps_fast.instants import INSTANT, YEARS, Unclear, read_times

if TYPE_CHECKING:
    from caps_fast.carbon.declared import Declared

SCHEMA: dict[str, Any] = {
    "zone": pl.String,
    "issued_at": INSTANT,
    "valid_at": INSTANT,
    "g_per_kwh": pl.Float64,
    "kind": pl.String,
    "scope": pl.String,
}
KINDS = ("average", "marginal")
SCOPES = ("direct", "lifecycle", "unknown")
UNKNOWN = "unknown"
MAX_G_PER_KWH = 5000.0
"""No grid reaches this value; above it a unit is wrong or a number damaged."""

MAX_FILLED = 10_000_000

CLOCK_CHANGE_MONTHS = (3, 4, 9, 10, 11)


class Selected(NamedTuple):
    """One series, sorted by time, with lines for the user."""

    frame: pl.DataFrame
    warnings: tuple[str, ...]


def number_rows(frame: pl.DataFrame, first: int) -> pl.DataFrame:
    """Add the column `row`, the row of the file that error messages name."""
    return frame.with_row_index("row", offset=first)


def parse_times(
    times: pl.Series, path: str, column: str, first_row: int, declared: Declared | None = None, zone: str | None = None
) -> tuple[pl.Series, bool]:
    """UTC instants from text (see `instants.read_times`), and whether any date came without an offset.

    Such a date is local to `zone`, or else in UTC. Raises InputError naming row and value.
    """
    try:
        found = read_times(times, zone, declared.time_format if declared else None)
    except Unclear as error:
        raise InputError(
            f"{path}: {column}: {error}; expected carbon.time_format (--carbon-time-format), like %d/%m/%Y %H:%M"
        ) from None
    bad = found.utc.is_null().arg_max()
    if found.utc.null_count() and bad is not None:
        expected = "a time like 2024-08-05 06:00:00, 2024-08-05T06:00Z or Unix seconds"
        if declared is not None and declared.time_format is not None:
            expected = f"a time in the format {declared.time_format}"
        raise InputError(f"{path}: row {first_row + bad}, {column}: {times[bad]!r}; expected {expected}")
    refuse_odd_years(found.utc, path, column, first_row)
    if declared is not None:
        declared.notes += [f"{path}: {note}" for note in found.notes if f"{path}: {note}" not in declared.notes]
    return found.utc.rename("valid_at"), found.naive


def refuse_odd_years(times: pl.Series, path: str, column: str, first_row: int) -> None:
    """Raise InputError naming the first row whose year is out of range; Python's dates have no year -1."""
    years = times.dt.year()
    odd = times.is_not_null() & ~years.is_between(*YEARS).fill_null(False)
    if odd.any():
        row = odd.arg_max() or 0
        raise InputError(
            f"{path}: row {first_row + row}, {column}: year {years[row]}; expected one from {YEARS[0]} to {YEARS[1]}"
        )


def parse_values(values: pl.Series, path: str, column: str, first_row: int, factor: float = 1.0) -> pl.Series:
    """Intensities in g/kWh from text or numbers in a unit of `factor` g/kWh; an empty cell is a missing sample (null).

    Raises InputError naming row and value for anything that is not a number, not finite, negative or above
    `MAX_G_PER_KWH`.
    """
    if values.dtype == pl.String:
        values = values.replace("", None)
    elif not (values.dtype.is_numeric() or values.dtype == pl.Null):
        raise InputError(f"{path}: column {column} is of type {values.dtype}; expected numbers")
    numbers = values.cast(pl.Float64, strict=False)
    for is_bad, expected in (
        (numbers.is_null() & values.is_not_null(), "a number"),
        (~numbers.is_finite(), "a finite number"),
        (numbers < 0, "a number of at least 0"),
        (numbers * factor > MAX_G_PER_KWH, f"at most {MAX_G_PER_KWH:g} g/kWh"),
    ):
        bad = is_bad.fill_null(False)
        if bad.any():
            row = bad.arg_max() or 0
            raise InputError(f"{path}: row {first_row + row}, {column}: {values[row]!r}; expected {expected}")
    return (numbers * factor).rename("g_per_kwh")


def finish(frame: pl.DataFrame, path: str, hint: str = "") -> pl.DataFrame:
    """Drop missing samples, reject duplicates, put columns and rows in order.

    `frame` has the schema's columns and `row`.
    """
    keys = ["zone", "kind", "scope", "issued_at", "valid_at"]
    frame = frame.with_columns(pl.col("issued_at").cast(INSTANT)).sort(*keys, "row", maintain_order=True)
    repeated = frame.filter(pl.struct(keys).is_first_distinct().not_()).sort("row")
    if repeated.height:
        row: int = repeated["row"][0]
        time: datetime = repeated["valid_at"][0]
        first = frame.join(repeated.head(1).select(keys), on=keys, nulls_equal=True, how="semi")["row"].to_list()[0]
        raise InputError(
            f"{path}: row {row}: time {time:%Y-%m-%d %H:%M:%S} UTC was in row {first} already; expected each time "
            f"once{hint}"
        )
    known = frame.filter(pl.col("g_per_kwh").is_not_null())
    if not known.height:
        raise InputError(f"{path}: every value is missing; expected carbon intensities")
    return known.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())


def refuse_clock_change(valid_at: pl.Series, path: str) -> None:
    """Raise InputError if times without an offset skip one hour early on a Sunday in a month of daylight-saving
    changes.
    """
    times = valid_at.unique().sort()
    step = usual_step(times)
    if step is None:
        return
    skipped = (
        pl.DataFrame({"t": times})
        .with_columns(gap=pl.col("t").diff())
        .filter(pl.col("gap") == step + timedelta(hours=1))
    )
    night = (
        pl.col("t").dt.weekday().eq(7)
        & pl.col("t").dt.hour().is_between(1, 4)
        & pl.col("t").dt.month().is_in(CLOCK_CHANGE_MONTHS)
    )
    suspects = skipped.filter(night)
    if suspects.height:
        raise InputError(
            f"{path}: an hour is missing before {suspects['t'][0]:%Y-%m-%d %H:%M}, as where clocks go forward; "
            "expected UTC, or times with an offset"
        )


def usual_step(times: pl.Series) -> timedelta | None:
    """The most frequent distance (a timedelta) between neighbouring sorted times; None for fewer than two."""
    if times.len() < 2:
        return None
    step: timedelta = times.diff().drop_nulls().mode().sort()[0]
    return step


def select_series(
    frame: pl.DataFrame, path: str, *, zone: str | None, kind: str, scope: str, forecasts: bool = False
) -> Selected:
    """The observed values (or the forecasts) of one zone, kind and scope.

    Values of an unknown scope are used, with a warning, if there are none of the given scope. Raises InputError naming
    the option to set if nothing is left, or several zones are.
    """
    what = "forecasts with an issue time" if forecasts else "observed values"
    rows = frame.filter(pl.col("issued_at").is_not_null() if forecasts else pl.col("issued_at").is_null())
    if not rows.height:
        raise InputError(f"{path}: holds no {what}; expected some")
    zones = rows["zone"].unique().sort().to_list()
    if zone is None and len(zones) > 1:
        raise InputError(f"{path}: holds zones {_listed(zones)}; expected carbon.zone to name one")
    if zone is not None and zone not in zones:
        if zones != [UNKNOWN]:
            raise InputError(f"{path}: zone {zone!r} is not among {_listed(zones)}; expected one of them")
        rows = rows.with_columns(zone=pl.lit(zone))
    rows = rows.filter(pl.col("zone") == (zone if zone is not None else zones[0]))
    of_kind = rows.filter(pl.col("kind") == kind)
    if not of_kind.height:
        raise InputError(
            f"{path}: holds {_listed(rows['kind'].unique().to_list())} intensity; expected {kind} (set carbon.kind "
            "to change that)"
        )
    of_scope = of_kind.filter(pl.col("scope") == scope)
    if of_scope.height:
        return Selected(of_scope.sort("issued_at", "valid_at"), ())
    unstated = of_kind.filter(pl.col("scope") == UNKNOWN)
    if not unstated.height:
        raise InputError(
            f"{path}: holds {_listed(of_kind['scope'].unique().to_list())} intensity; expected {scope} (set "
            "carbon.scope to change that)"
        )
    return Selected(
        unstated.sort("issued_at", "valid_at"),
        (f"{path}: does not state whether its intensity is direct or life-cycle; read as {scope}",),
    )


def _listed(names: list[str]) -> str:
    shown = sorted(names)[:8]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def find_gaps(times: pl.Series) -> pl.DataFrame:
    """Gaps in sorted times: columns `after`, `before` (the samples at their ends) and `missing` (samples between them
    at the usual step).
    """
    step = usual_step(times)
    frame = pl.DataFrame({"before": times}).with_columns(after=pl.col("before").shift())
    if step is None:
        return frame.clear().with_columns(missing=pl.lit(0, pl.Int64)).select("after", "before", "missing")
    spans = frame.with_columns(
        missing=(pl.col("before") - pl.col("after")).dt.total_microseconds() / pl.lit(step).dt.total_microseconds()
    )
    return spans.filter(pl.col("missing") > 1).select("after", "before", (pl.col("missing").ceil() - 1).cast(pl.Int64))


def fill_gaps(frame: pl.DataFrame, path: str, how: str) -> Selected:
    """A sorted series with its gaps filled (`previous`: the last sample holds, or `linear`) and a warning; with
    `no` a gap raises InputError.
    """
    gaps = find_gaps(frame["valid_at"])
    if not gaps.height:
        return Selected(frame, ())
    after, before, _ = gaps.row(0)
    first = f"the first from {after:%Y-%m-%d %H:%M} to {before:%Y-%m-%d %H:%M} UTC"
    told = f"{path}: {gaps['missing'].sum()} samples are missing in {gaps.height} gaps, {first}"
    if how == "no":
        raise InputError(f"{told}; expected none (set carbon.fill_gaps to previous or linear to fill them)")
    step = usual_step(frame["valid_at"])
    if gaps["missing"].sum() > MAX_FILLED:
        after, before, missing = gaps.row(gaps["missing"].arg_max() or 0)
        gap = f"{missing:,} of them from {after:%Y-%m-%d %H:%M} to {before:%Y-%m-%d %H:%M} UTC at a step of {step}"
        raise InputError(
            f"{path}: {gaps['missing'].sum():,} samples are missing, {gap}; expected at most {MAX_FILLED:,} to fill"
        )
    new = (
        gaps.with_columns(index=pl.int_ranges(1, pl.col("missing") + 1))
        .explode("index")
        .select(valid_at=pl.col("after") + pl.col("index") * pl.lit(step))
    )
    whole = pl.concat([frame, new.cast({"valid_at": INSTANT})], how="diagonal").sort("valid_at")
    constant = whole.with_columns(pl.col("zone", "kind", "scope").forward_fill())
    values = pl.col("g_per_kwh").forward_fill() if how == "previous" else pl.col("g_per_kwh").interpolate_by("valid_at")
    return Selected(constant.with_columns(values), (f"{told}; filled ({how})",))
