"""Rates over time from files: `hour, mon, ..., sun` or `time, rate` in CSV, and the shape of a request trace."""

from __future__ import annotations

import csv
import io
import math
from datetime import datetime
from functools import lru_cache

import numpy as np

from caps_fast.clock import Facts, facts_of, read_trace
from caps_fast.demand import LEAST_STEP_S, MOST_FACTOR, MOST_STEPS, NAMED, Demand, RateTable
from caps_fast.documents import read_bytes
from caps_fast.errors import InputError
from caps_fast.instants import looks_like_time, parse_utc
from caps_fast.scenario import file_hash
from caps_fast.sections import Workload
from caps_fast.workload.shapes import DAY_S, WEEK_S, built_in, checked_table, hourly, local_time

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_BYTES = 1 << 26
EXPECTED = "expected a table of hour, mon, tue, wed, thu, fri, sat, sun with 24 rows, or of time, rate"
TOLERANCE = 1e-6  # of a step
KEPT = 16


def table_of(demand: Demand, workload: Workload) -> RateTable | None:
    """The table of a workload's demand; None if the rate is constant.

    Raises InputError for a bad file.
    """
    if demand.profile_from is not None:
        path, zone = demand.profile_from, demand.profile_zone
        return _of_trace(path, file_hash(path), facts_of(workload), zone)
    if demand.rate_profile not in NAMED:
        path = str(demand.rate_profile)
        try:
            content = file_hash(path)
        except InputError as error:
            names = ", ".join(name for name in NAMED if name)
            raise InputError(f"{error}: expected one of {names}, or {EXPECTED.removeprefix('expected ')}") from None
        return _read(path, content, demand.profile_zone)
    return demand.rate_table or built_in(demand.rate_profile or "flat")


@lru_cache(KEPT)
def _of_trace(path: str, content: str, facts: Facts, zone: str | None) -> RateTable:
    trace = read_trace(path, content, facts)
    if not trace.timed:
        raise InputError(f"{trace.path}: has no arrival times: expected a trace with times for workload.profile_from")
    arrivals_s = trace.frame["arrival_s"].to_numpy()
    return hourly(arrivals_s, float(arrivals_s[-1]), trace.starts_at, zone, trace.path)


@lru_cache(KEPT)
def _read(path: str, content: str, zone: str | None) -> RateTable:
    rows = _rows(path)
    names = [name.strip().lower() for name in rows[0]]
    if names == ["hour", *DAYS]:
        return _week(path, rows[1:])
    if names == ["time", "rate"]:
        return _timeline(path, rows[1:], zone)
    raise InputError(f"{path}: columns {', '.join(rows[0])[:100]}: {EXPECTED}")


def _rows(path: str) -> list[list[str]]:
    """Rows that are not blank, with at least one below the header. Raises InputError."""
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {EXPECTED}") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a rate profile ({error}); {EXPECTED}") from None
    if len(rows) < 2:
        raise InputError(f"{path}: has no rows: {EXPECTED}")
    if len(rows) - 1 > MOST_STEPS:
        raise InputError(f"{path}: {len(rows) - 1:,} rows: expected at most {MOST_STEPS:,}")
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(rows[0]):
            raise InputError(f"{path}: row {number} has {len(row)} cells: expected {len(rows[0])}")
    return rows


def _week(path: str, rows: list[list[str]]) -> RateTable:
    hours = [_number(path, number, "hour", row[0]) for number, row in enumerate(rows, 1)]
    if hours != list(range(24)):
        wrong = next((number for number, hour in enumerate(hours) if hour != number), len(hours))
        found = f"hour {hours[wrong]:g}" if wrong < len(hours) else "no row"
        raise InputError(f"{path}: row {wrong + 1}: {found}: expected hour {wrong}, of hours 0 to 23 without gaps")
    days = [[_rate(path, number, day, row[at]) for number, row in enumerate(rows, 1)] for at, day in enumerate(DAYS, 1)]
    return checked_table([rate for day in days for rate in day], 3600.0, "monday", path)


def _timeline(path: str, rows: list[list[str]], zone: str | None) -> RateTable:
    """Rates at equal steps. Seconds count from t = 0; dates must cover whole weeks or days."""
    dated = looks_like_time(rows[0][0])
    first = parse_utc(rows[0][0].strip(), f"{path}: row 1: time") if dated else None
    times_s = np.array([_time_s(path, number, row[0], first) for number, row in enumerate(rows, 1)])
    rates = [_rate(path, number, "rate", row[1]) for number, row in enumerate(rows, 1)]
    if len(times_s) < 2:
        raise InputError(f"{path}: one row: expected at least two, whose distance is the duration of a rate")
    step_s = float(times_s[1] - times_s[0])
    if step_s < LEAST_STEP_S:
        told = f"time {rows[1][0]!r} comes {step_s:g} s after row 1"
        raise InputError(f"{path}: row 2: {told}: expected at least {LEAST_STEP_S:g} s")
    uneven = np.flatnonzero(np.abs(np.diff(times_s) - step_s) > TOLERANCE * step_s)
    if len(uneven):
        at = int(uneven[0]) + 1
        gap_s = float(times_s[at] - times_s[at - 1])
        told = f"time {rows[at][0]!r} comes {gap_s:g} s after the row before"
        raise InputError(f"{path}: row {at + 1}: {told}: expected {step_s:g} s, without gaps")
    if first is None:
        if times_s[0] != 0:
            raise InputError(f"{path}: row 1: time {rows[0][0]!r}: expected 0, as seconds count from t = 0")
        return checked_table(rates, step_s, "start", path)
    weekly = len(rates) * step_s >= WEEK_S
    turned = _turned(rates, step_s, local_time(first, zone), weekly, path)
    return checked_table(turned, step_s, "monday" if weekly else "midnight", path)


def _turned(rates: list[float], step_s: float, first: datetime, weekly: bool, path: str) -> list[float]:
    """The rates, rotated to begin on a Monday, or at midnight. Raises InputError if no row begins then."""
    midnight = datetime(first.year, first.month, first.day)
    since_s = (first - midnight).total_seconds() + (first.weekday() * DAY_S if weekly else 0.0)
    steps = since_s / step_s
    if abs(steps - round(steps)) > 1e-6:
        raise InputError(f"{path}: row 1: {first} local time: expected whole steps of {step_s:g} s from midnight")
    return [float(rate) for rate in np.roll(rates, round(steps))]


def _time_s(path: str, number: int, cell: str, first: datetime | None) -> float:
    if first is None:
        return _number(path, number, "time", cell)
    return (parse_utc(cell.strip(), f"{path}: row {number}: time") - first).total_seconds()


def _number(path: str, number: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: row {number}: {column} {cell!r}: expected a number")
    return value


def _rate(path: str, number: int, column: str, cell: str) -> float:
    value = _number(path, number, column, cell)
    if not 0 <= value <= MOST_FACTOR:
        raise InputError(f"{path}: row {number}: {column} {cell!r}: expected 0 or more, at most {MOST_FACTOR:g}")
    return value
