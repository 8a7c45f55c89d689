"""Dates and times in text, whole columns at a time: the form of a column, and its instants in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from caps_fast.errors import InputError

INSTANT = pl.Datetime("us", "UTC")
OFFSET = r"(Z|z|UTC|GMT|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)$"
_ISO = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_CLOCKS = ("%H:%M:%S%.f", "%I:%M:%S %p", "%I:%M %p", "%H:%M", "")
_COMPACT = {14: "%Y%m%d%H%M%S", 12: "%Y%m%d%H%M", 10: "%Y%m%d%H", 8: "%Y%m%d"}
UNIX = ((1e8, 1e10, 1e6), (1e11, 1e13, 1e3), (1e14, 1e16, 1.0))
"""Unix times by their size: from, below, microseconds per unit (seconds, milliseconds, microseconds)."""


@dataclass(frozen=True)
class Times:
    """A column's instants.

    utc     INSTANT, null where a cell is not a time
    naive   whether some cell had a date and no offset; it was read as local to the given zone, or else as UTC
    notes   assumptions about their form
    """

    utc: pl.Series
    naive: bool
    notes: tuple[str, ...] = ()


class Unclear(ValueError):
    """Ambiguous times."""


def read_times(text: pl.Series, time_zone: str | None = None, time_format: str | None = None) -> Times:
    """Instants from text: ISO dates, dates with slashes or dots, digits such as 2024080500, Unix times, or a format of
    strptime.

    A date without an offset is local to `time_zone`, or else in UTC. Raises Unclear if day and month are ambiguous.
    """
    cells = text.cast(pl.String).str.strip_chars()
    split = pl.DataFrame({"text": cells}).select(
        offset=pl.when(pl.col("text").str.contains(":")).then(
            pl.col("text").str.extract(r"\d(?: ?[AaPp][Mm])? ?" + OFFSET, 1)
        ),
        bare=pl.col("text").str.replace(r"(:\d{2}.*?)" + OFFSET, "$1").str.strip_chars(),
    )
    offset, bare = split["offset"], split["bare"].str.replace("T", " ", literal=True)
    notes: list[str] = []
    if time_format is not None:
        local = _as_told(cells, time_format)
        if local.dtype == INSTANT or getattr(local.dtype, "time_zone", None):
            return Times(local.dt.convert_time_zone("UTC"), False)
        offset = pl.Series([None] * len(cells), dtype=pl.String)
    else:
        local = _dates(bare, notes)
    shifted = _without_offset(local, offset)
    naive = bool((offset.is_null() & local.is_not_null()).any())
    if time_zone is not None and naive:
        shifted = shifted.zip_with(offset.is_not_null(), localised(local, time_zone).alias("at"))
    if time_format is None and shifted.null_count():
        shifted = shifted.to_frame("at").select(pl.coalesce("at", _unix(cells))).to_series()
    return Times(shifted.alias("at"), naive, tuple(notes))


def check_zone(time_zone: str | None, origin: str) -> None:
    """Raise InputError for an unknown time zone."""
    if time_zone is None:
        return
    try:
        pl.select(pl.datetime(2024, 1, 1).dt.replace_time_zone(time_zone))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        raise InputError(
            f"{origin} {time_zone!r}: expected a time zone like America/Los_Angeles, Europe/Berlin or UTC"
        ) from None


YEARS = (1900, 2200)


def parse_utc(text: str, origin: str) -> datetime:
    """A date or time, UTC unless it has an offset. Raises InputError naming `origin`."""
    try:
        value = datetime.fromisoformat(text)
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(f"{origin} {text!r}: expected a date or time like 2024-08-05 or 2024-08-05T06:00Z") from None
    if not YEARS[0] <= value.year <= YEARS[1]:
        raise InputError(f"{origin} {text!r}: expected a year from {YEARS[0]} to {YEARS[1]}")
    return value


def is_date(text: str) -> bool:
    """Whether the text has a date and no time of day."""
    return bool(re.fullmatch(r"\d{4}-?\d\d-?\d\d", text.strip()))


def looks_like_time(cell: str | None) -> bool:
    """Whether a cell reads as a date with or without a time of day."""
    return bool(cell and re.match(r"\d{4}-\d\d-\d\d|\d{1,2}[/.]\d{1,2}[/.]\d{4}|\d{4}/\d{1,2}/\d{1,2}", cell.strip()))


def _as_told(cells: pl.Series, time_format: str) -> pl.Series:
    """Raises InputError for an invalid format."""
    lacks_minutes = re.search("%[HI]", time_format) and "%M" not in time_format  # which Polars requires with an hour
    text, form = (cells + " 00", f"{time_format} %M") if lacks_minutes else (cells, time_format)
    try:
        return text.str.to_datetime(form, time_unit="us", strict=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        raise InputError(
            f"time_format {time_format!r}: expected a format of strptime with a date, like %d/%m/%Y %H:%M"
        ) from None


def _dates(bare: pl.Series, notes: list[str]) -> pl.Series:
    """Local times without offsets (Datetime[us]), null where a cell has none of the forms."""
    first = next((cell for cell in bare.head(1000).to_list() if cell), "")
    if re.fullmatch(r"\d{8}|\d{10}|\d{12}|\d{14}", first):
        found = _compact(bare, len(first))
        if found is not None:
            notes.append(f"times such as {first} read as {_COMPACT[len(first)].replace('%', '')}")
            return found
    if shape := re.match(r"(\d{1,4})([/.])(\d{1,2})[/.](\d{1,4})", first):
        date = "%Y{0}%m{0}%d".format(shape[2]) if len(shape[1]) == 4 else _order(bare, shape[2], notes)
        return _first_that_fits(
            bare, [f"{date} {clock}".strip() for clock in _CLOCKS] + [f"{date}, {clock}" for clock in _CLOCKS[:-1]]
        )
    return _first_that_fits(bare, _ISO)


def _first_that_fits(bare: pl.Series, formats: tuple[str, ...] | list[str]) -> pl.Series:
    read = [pl.col("bare").str.to_datetime(form, time_unit="us", strict=False) for form in formats]
    return bare.to_frame("bare").select(pl.coalesce(read)).to_series()


def _compact(bare: pl.Series, digits: int) -> pl.Series | None:
    """Dates of digits only, if all cells are; otherwise None, since they are Unix times or not times."""
    if not (bare.str.contains(rf"^\d{{{digits}}}$") | bare.is_null() | (bare == "")).all():
        return None
    padded = bare + "0" * (14 - digits) if digits > 8 else bare + "000000"
    parsed = padded.str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False)
    known = parsed.drop_nulls()
    certain = len(known) == int((bare.fill_null("") != "").sum()) and known.dt.year().is_between(1990, 2100).all()
    return parsed if certain else None


def _order(bare: pl.Series, separator: str, notes: list[str]) -> str:
    """Day first or month first, by the column's values. Raises Unclear if both are possible."""
    parts = bare.str.extract_groups(r"^(\d{1,2})[/.](\d{1,2})[/.]").struct.unnest().cast(pl.Int64, strict=False)
    first, second = (parts.select(pl.all().max()).row(0)[index] or 0 for index in (0, 1))
    month_first, day_first = f"%m{separator}%d{separator}%Y", f"%d{separator}%m{separator}%Y"
    twelve_hours = bool(bare.head(100).str.contains(r"(?i)[ap]m$").any())
    if first > 12 or separator == ".":
        return day_first
    if second <= 12 and not twelve_hours:
        raise Unclear(f"{next(cell for cell in bare.to_list() if cell)!r} may be day first or month first")
    if second <= 12:
        notes.append("dates read as month/day/year, as times with AM and PM are written")
    return month_first


def _without_offset(local: pl.Series, offset: pl.Series) -> pl.Series:
    """UTC; a cell without an offset counts as UTC."""
    sign = pl.when(pl.col("offset").str.starts_with("-")).then(-1).otherwise(1)
    hours = pl.col("offset").str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = pl.col("offset").str.slice(3).str.strip_prefix(":").cast(pl.Int64, strict=False).fill_null(0)
    shift = pl.duration(minutes=(sign * (hours * 60 + minutes)).fill_null(0))
    return (
        pl.DataFrame({"at": local, "offset": offset})
        .select((pl.col("at") - shift).dt.replace_time_zone("UTC"))
        .to_series()
    )


def localised(local: pl.Series, time_zone: str) -> pl.Series:
    """UTC of local times without a zone; null where clocks skip an hour, summer time and then winter time where they
    repeat one.
    """
    frame = local.to_frame("at")
    again = ~pl.struct("at").is_first_distinct()
    which = pl.when(again).then(pl.lit("latest")).otherwise(pl.lit("earliest"))
    zoned = pl.col("at").dt.replace_time_zone(time_zone, ambiguous=which, non_existent="null")
    return frame.select(zoned.dt.convert_time_zone("UTC")).to_series()


def _unix(cells: pl.Series) -> pl.Series:
    number = cells.cast(pl.Float64, strict=False).to_frame("n")
    ticks = pl.coalesce(
        pl.when(pl.col("n").is_between(low, below, closed="left")).then(
            (pl.col("n") * scale).cast(pl.Int64, strict=False)
        )
        for low, below, scale in UNIX
    )
    return number.select(pl.from_epoch(ticks, time_unit="us").dt.replace_time_zone("UTC")).to_series()
