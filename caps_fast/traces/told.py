"""What a trace's other columns state about its times, and implausible times: used, noted, or rejected with the option
that resolves it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from caps_fast.errors import InputError
from caps_fast.instants import looks_like_time
from caps_fast.traces.formats import Format, listed, option, same
from caps_fast.traces.tables import Table
from caps_fast.words import clock_of_name, says_any, words

TIME_WORDS = {"time", "date", "datetime", "stamp", "ts", "arrival", "arrived", "created", "epoch", "clock", "when"}
TIME_WORDS |= {"submitted", "submission", "received", "queued", "enqueued", "started"}
DURATIONS: tuple[str, ...] = (
    "elapsed",
    "time to",
    "time per",
    "latency",
    "duration",
    "delay",
    "deadline",
    "ttft",
    "tpot",
    "e2e",
    "itl",
    "timeout",
)
DURATIONS += tuple(
    f"{what} time"
    for what in (
        "response",
        "processing",
        "service",
        "queue",
        "execution",
        "inference",
        "prefill",
        "decode",
        "wait",
        "think",
    )
)
ZONES = ("time zone", "tz", "tz name", "utc offset", "gmt offset")
CROWD, MOMENT_S = 1000, 60.0  # this many requests in such a short span indicate a wrong unit
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH_S = (1e9, 4.2e9)  # from 2001 to 2103


def refuse_unused_times(table: Table, form: Format, names: Mapping[str, str], settled: bool) -> None:
    """Raise InputError if a column looks like a time and is not used, unless the caller has `settled` which one is."""
    if settled:
        return
    values = table.first_values()
    for name in table.schema:
        if (
            name in names.values()
            or same([name], "")
            or any(same([name], other) for other in form.others)
            or says_any(name, *ZONES)
        ):
            continue
        if _is_time(name, values.get(name), table.schema[name]):
            beside = f" in addition to {listed([names['time']])}" if "time" in names else ""
            raise InputError(
                f"{table.path}: column {listed([name])} looks like a time{beside}: expected time=NAME in the "
                f"column map ({option('columns')}) to say "
                f"which column has the arrivals, with {option('time_unit')}, or time=- for lengths only"
            )


def dated(table: Table) -> list[str]:
    """The columns whose first value is a date."""
    values = table.first_values()
    return [
        name
        for name, kind in table.schema.items()
        if isinstance(kind, pl.Datetime) or (isinstance(values.get(name), str) and looks_like_time(values[name]))
    ]


def _is_time(name: str, value: Any, kind: pl.DataType) -> bool:
    own = words(name)
    if isinstance(kind, pl.Datetime | pl.Date) or (isinstance(value, str) and looks_like_time(value)):
        return True
    return (not TIME_WORDS.isdisjoint(own) or own[-1:] == ("at",)) and not says_any(name, *DURATIONS)


def zone_of(table: Table, names: Mapping[str, str]) -> str | None:
    """The time zone that a column states for all rows, None if no column does. Raises InputError if rows differ or it
    is invalid.
    """
    name = next(
        (
            name
            for name in table.schema
            if name not in names.values() and any(words(name) == words(zone) for zone in ZONES)
        ),
        None,
    )
    if name is None:
        return None
    zones = table.collect(pl.col(name).cast(pl.String).unique()).to_series().drop_nulls().to_list()
    if len(zones) == 1:
        if zones[0].strip().lower() in {"utc", "gmt", "z", "etc/utc", "+00:00", "0"}:
            return "UTC"
        if "/" in zones[0]:
            return str(zones[0].strip())
    shown = ", ".join(repr(zone) for zone in sorted(zones)[:3])
    raise InputError(
        f"{table.path}: column {listed([name])} says {shown}: expected the time zone of the dates in "
        f"{option('time_zone')}"
    )


def refuse_local(path: str, name: str, first: object, zone: str | None) -> None:
    """Raise InputError if a column of dates states local time and no time zone is stated."""
    offset = isinstance(first, str) and re.search(r":\d\d.*(Z|[+-]\d\d(:?\d\d)?)$", first.strip())
    if zone is None and not offset and clock_of_name(name) not in (None, "UTC"):
        raise InputError(
            f"{path}: column {listed([name])} is in local time: expected its time zone in {option('time_zone')}"
        )


def is_digits(value: object) -> bool:
    """Whether a value is a date of digits only, such as 2024080500, and not a count of seconds."""
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(\d\d)?(?:\d\d){0,2}", str(value).strip()) if value is not None else None
    if found is None or len(str(value).strip()) < 10:
        return False
    year, month, day, hour = (int(part or 0) for part in found.groups())
    return 1990 <= year <= 2100 and 1 <= month <= 12 and 1 <= day <= 31 and hour <= 23


def epoch(first: float, unit: str) -> datetime | None:
    """The date of a Unix time; None if the number is too small to be one."""
    seconds = first / _PER_SECOND[unit]
    return datetime.fromtimestamp(seconds, UTC) if _EPOCH_S[0] <= seconds < _EPOCH_S[1] else None


def refuse_wrong_unit(path: str, name: str, first: float, unit: str) -> None:
    """Raise InputError if a number is a Unix time in another unit than the one it is read in."""
    other = next((other for other in _PER_SECOND if other != unit and epoch(first, other) is not None), None)
    if first >= 1e11 and epoch(first, unit) is None and other is not None:
        raise InputError(
            f"{path}: {name} {first:.0f} is a Unix time in {other}, not in {unit}: expected its unit in "
            f"{option('time_unit')}"
        )


def doubts(
    requests: int, span_s: float, starts_at: datetime | None, unit: str, names: Collection[str]
) -> Iterator[str]:
    """Implausible times of a trace, and columns that a map could use."""
    if requests >= CROWD and span_s < MOMENT_S:
        yield f"{requests:,} requests in {span_s:.3g} s: is the unit of time really {unit}?"
    if starts_at is not None and starts_at.replace(tzinfo=starts_at.tzinfo or UTC) > datetime.now(UTC):
        yield f"dated in the future, from {starts_at:%Y-%m-%d %H:%M}"
    for name in names:
        if words(name) in {("class",), ("slo", "class"), ("service", "class"), ("priority",)}:
            yield f"column {name} is not used; tier={name} in {option('columns')} and {option('tiers')} map it to tiers"
