"""What the columns of a carbon table mean, by the words of their names and their content. An unclear table is rejected
with the option that resolves it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import polars as pl

from caps_fast.carbon.declared import Declared, option
from caps_fast.carbon.files import FIRST_ROW, Table
from caps_fast.errors import InputError
from caps_fast.moments import looks_like_time
from caps_fast.words import clock_of_name, other_unit, says_any, unit_of, words

VALUE_NAMES = ("value", "carbon", "co2")
VALUE_PHRASES = ("intensity", "moer", "aoer", "emission factor", "emissions factor", "emission rate", "emissions rate")
NO_VALUE: tuple[str, ...] = (
    "index",
    "level",
    "type",
    "method",
    "source",
    "category",
    "estimated",
    "estimation",
    "quality",
    "flag",
)
NO_VALUE += ("percentage", "percent", "percentile", "unit", "units", "name")
FORECAST = ("forecast", "forecasted", "predicted", "prediction")
ZONE_NAMES = (
    "zone id",
    "zone key",
    "zone code",
    "zone name",
    "zone",
    "region",
    "balancing authority",
    "ba code",
    "ba",
    "country",
    "area",
    "grid",
)
TIME_WORDS = {
    "time",
    "date",
    "datetime",
    "stamp",
    "ts",
    "utc",
    "gmt",
    "start",
    "end",
    "begin",
    "from",
    "to",
    "period",
    "interval",
    "hour",
    "at",
}
CLERKS = ("updated", "created", "generated", "published", "retrieved", "modified", "downloaded", "fetched", "ingested")
ISSUED = (
    "issued at",
    "issued",
    "issue time",
    "issue date time",
    "issue date",
    "forecast issued at",
    "forecast issue time",
)
END = {"end", "ending", "ends", "until", "to", "he"}
START = {"start", "starting", "starts", "begin", "beginning", "from"}
TRUE = ("true", "1", "yes", "y", "t", "estimated")


class TimeColumn(NamedTuple):
    """The columns of times. `clock` is a second column with the time of day or the hour; `until` has the ends of the
    intervals, `zone` is the one that the name states.
    """

    name: str
    edge: str | None
    clock: str | None = None
    until: str | None = None
    local: bool = False
    utc: bool = False
    zone: str | None = None


def value_columns(table: Table, declared: Declared) -> list[str]:
    """The columns of carbon intensity. Raises InputError if there is none."""
    if "value" in declared.columns:
        return [named(table, declared, "value")]
    columns = table.frame.columns
    found = [name for name in columns if _is_value(name)]
    if not found:
        others = ", ".join(columns[:20])
        told = f"no value column among {others}: none is a carbon intensity"
        raise InputError(f"{table.path}: {told}; expected one, or value=NAME in {option('columns')}")
    return found


def observed(table: Table, found: list[str], issued: str | None) -> list[str]:
    """The columns to read among these. Raises InputError for a forecast without an issue time."""
    kept = [name for name in found if not says_any(name, *FORECAST)]
    if issued is None and not kept:
        told = f"{found[0]} is a forecast without an issue time"
        raise InputError(f"{table.path}: {told}; expected a column issued_at, or value=NAME in {option('columns')}")
    return found if issued is not None else kept


def _is_value(name: str) -> bool:
    if other_unit(name) or says_any(name, *NO_VALUE):
        return False
    return bool(unit_of(name)) or name.lower() in VALUE_NAMES or says_any(name, *VALUE_PHRASES)


def kind_of(name: str) -> str | None:
    """The kind that a column's name states."""
    if says_any(name, "marginal", "moer"):
        return "marginal"
    return "average" if says_any(name, "average", "aoer") else None


def scope_of(name: str) -> str | None:
    """The scope that a column's name states."""
    if says_any(name, "life cycle", "lifecycle", "lca"):
        return "lifecycle"
    return "direct" if says_any(name, "direct") else None


def column_of(table: Table, *phrases: str) -> str | None:
    """The first column whose whole name, except for a prefix such as `data.`, is one of these phrases, in the order of
    the phrases.
    """
    for phrase in phrases:
        for name in table.frame.columns:
            if words(name) == words(phrase) or words(name.rpartition(".")[2]) == words(phrase):
                return name
    return None


def named(table: Table, declared: Declared, ours: str) -> str:
    """The column that the caller names. Raises InputError if the file has no column of that name."""
    wanted = declared.columns[ours]
    for name in table.frame.columns:
        if name.strip().lower() == wanted.strip().lower():
            return name
    raise InputError(
        f"{table.path}: no column {wanted!r} for {ours}; expected one of {', '.join(table.frame.columns[:20])}"
    )


def zone_column(table: Table, declared: Declared) -> str | None:
    """The column of the grid's zone, by its whole name."""
    return named(table, declared, "zone") if "zone" in declared.columns else column_of(table, *ZONE_NAMES)


def zone_of_times(table: Table) -> str | None:
    """The column with the time zone of the times."""
    return column_of(table, "time zone", "tz", "tz name", "utc offset", "gmt offset", "offset")


def issued_column(table: Table, declared: Declared) -> str | None:
    """The column of issue times, by its whole name."""
    if "issued_at" in declared.columns:
        return named(table, declared, "issued_at")
    return column_of(table, *ISSUED)


def time_column(table: Table, declared: Declared, taken: set[str]) -> TimeColumn:
    """The column of times among those not `taken`.

    Raises InputError if there is none, or if several are possible.
    """
    if "time" in declared.columns:
        return _described(table, named(table, declared, "time"))
    columns = [name for name in table.frame.columns if name not in taken and name != zone_of_times(table)]
    columns = [name for name in columns if not says_any(name, *CLERKS)]
    dated = {
        name for name in columns if looks_like_time(cell(table, name)) or re.fullmatch(r"\d{8}", cell(table, name))
    }
    clocks = [name for name in columns if dated - {name} and _is_clock(table, name)]
    found = [name for name in columns if name not in clocks and _is_time(table, name)]
    if not found:
        shown = ", ".join(table.frame.columns[:20])
        expected = f"expected columns like time, carbon_intensity, or time=NAME in {option('columns')}"
        raise InputError(f"{table.path}: no time column among {shown}; {expected}")
    told = [_described(table, name) for name in found]
    for preferred in ([one for one in told if clock_of_name(one.name) == "UTC"], [one for one in told if one.utc]):
        if preferred:
            told = preferred
            break
    edges = {one.edge for one in told}
    if len(told) == 2 and edges == {"start", "end"}:
        first, last = sorted(told, key=lambda one: one.edge != "start")
        told = [first._replace(until=last.name)]
    if len(told) > 1:
        names = ", ".join(one.name for one in told)
        raise InputError(
            f"{table.path}: columns {names} could each be the time; expected time=NAME in {option('columns')}"
        )
    if clocks and re.fullmatch(r"[\d/.-]{6,10}", cell(table, told[0].name)):
        if len(clocks) > 1:
            names = ", ".join(clocks)
            raise InputError(
                f"{table.path}: columns {names} could each be the hour of {told[0].name}; expected one of them"
            )
        own = _described(table, clocks[0])
        return told[0]._replace(
            clock=clocks[0], edge=own.edge or told[0].edge, local=told[0].local or own.local, utc=told[0].utc or own.utc
        )
    return told[0]


def cell(table: Table, name: str) -> str:
    """The first cell of a column that is not empty."""
    return next((text for text in table.frame[name].head(1000).to_list() if text), "")


def _is_time(table: Table, name: str) -> bool:
    own = words(name)
    return (not TIME_WORDS.isdisjoint(own) and not other_unit(name)) or (looks_like_time(cell(table, name)))


def _is_clock(table: Table, name: str) -> bool:
    """Whether a column has only times of day or hours, with the date in another column."""
    own = words(name)
    if {"hour", "hr", "he", "time", "period"}.isdisjoint(own):
        return False
    return bool(re.fullmatch(r"\d{1,2}(:\d\d){1,2}|\d{1,2}", cell(table, name)))


def _described(table: Table, name: str) -> TimeColumn:
    own = set(words(name))
    edge = "end" if own & END else "start" if own & START else None
    clock = clock_of_name(name)
    utc = clock == "UTC" or bool(re.search(r":\d\d.*(Z|[+-]\d\d:?\d\d)$", cell(table, name)))
    return TimeColumn(
        name, edge, local=clock == "local", utc=utc, zone=clock if clock not in ("UTC", "local") else None
    )


def stated_scopes(table: Table) -> pl.Series:
    """The scope of every row, null where no column states it.

    Raises InputError for an unknown word.
    """
    known = {"direct": "direct"} | dict.fromkeys(("lifecycle", "life cycle", "life-cycle", "lca"), "lifecycle")
    return _known(table, ("emission factor type", "scope"), known)


def stated_kinds(table: Table) -> pl.Series:
    """The kind of every row, null where no column states it.

    Raises InputError for an unknown word.
    """
    marginal, average = ("marginal", "moer", "co2_moer"), ("average", "aoer", "co2_aoer")
    return _known(
        table,
        ("kind", "signal type", "signal"),
        dict.fromkeys(marginal, "marginal") | dict.fromkeys(average, "average"),
    )


def _known(table: Table, phrases: tuple[str, ...], known: dict[str, str]) -> pl.Series:
    """What the columns of these names state, row by row.

    Raises InputError for unknown words, and if two columns differ.
    """
    said = pl.Series([None] * table.frame.height, dtype=pl.String)
    for name in filter(None, (column_of(table, phrase) for phrase in phrases)):
        lower = table.frame[name].str.to_lowercase()
        read = lower.replace_strict(known, default=None, return_dtype=pl.String)
        odd = (read.is_null() & ~lower.is_in(["", "unknown"])) | (read != said).fill_null(False)
        if odd.any():
            row = odd.arg_max() or 0
            expected = said[row] or ", ".join(dict.fromkeys(known.values()))
            raise InputError(
                f"{table.path}: row {row + FIRST_ROW}, {name}: {table.frame[name][row]!r}; expected {expected}"
            )
        said = read.zip_with(read.is_not_null(), said)
    return said


def refuse_unused(table: Table, format: str) -> None:
    """Raise InputError if a column states what the file's format fixes."""
    odd = column_of(table, *ISSUED, "emission factor type", "scope", "kind", "signal type", "signal")
    if odd is not None:
        raise InputError(
            f"{table.path}: column {odd}: format {format} has no such column; expected the format's own columns"
        )


def clerks(table: Table, declared: Declared) -> list[str]:
    """Columns with the time at which a row was written, unless the caller names the columns of times."""
    settled = not {"time", "issued_at"}.isdisjoint(declared.columns)
    return (
        []
        if settled
        else [name for name in table.frame.columns if says_any(name, *CLERKS) and looks_like_time(cell(table, name))]
    )


def estimated_note(table: Table) -> list[str]:
    """A line with the number of samples that the file marks as estimated, if any."""
    name = column_of(table, "is estimated", "estimated", "data estimated")
    if name is None:
        return []
    count = int(table.frame[name].str.to_lowercase().is_in(TRUE).sum())
    return [f"{count:,} of {table.frame.height:,} samples are estimated ({name})"] if count else []
