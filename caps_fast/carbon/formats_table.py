"""Any table of times and carbon intensities: Electricity Maps' exports, hour-ending files of grid operators, research
data.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from caps_fast.carbon import columns
from caps_fast.carbon.columns import TimeColumn
from caps_fast.carbon.declared import Declared, option
from caps_fast.carbon.files import FIRST_ROW, Table
from caps_fast.carbon.frame import (
    SCHEMA,
    UNKNOWN,
    finish,
    number_rows,
    parse_times,
    parse_values,
    refuse_clock_change,
    usual_step,
)
from caps_fast.errors import InputError
from caps_fast.instants import INSTANT, check_zone
from caps_fast.words import G_PER_KWH, says_any, unit_of, words

_CLOCK_HINT = " (local times repeat an hour when clocks go back: give UTC, times with an offset, or carbon.time_zone)"
_IN_UTC = ("utc", "gmt", "z", "etc/utc", "+00:00", "0", "+0", "00:00")


def read_table(table: Table, path: str, declared: Declared) -> pl.DataFrame:
    """A table with one column of times and one of intensities, or one for each scope and kind; the unit is stated or
    declared.
    """
    return _read(table, path, declared, None)


def read_electricitymaps(table: Table, path: str, declared: Declared) -> pl.DataFrame:
    """Electricity Maps' exports, both header styles, and flattened answers: g/kWh where they do not say."""
    if not any(says_any(name, "carbon intensity") for name in table.frame.columns):
        raise InputError(f"{path}: no column of carbon intensity; expected one among {', '.join(table.frame.columns)}")
    return _read(table, path, declared, "g/kWh")


def _read(table: Table, path: str, declared: Declared, usual_unit: str | None) -> pl.DataFrame:
    issued_name = columns.issued_column(table, declared)
    found = columns.value_columns(table, declared)
    values = found if "value" in declared.columns else columns.observed(table, found, issued_name)
    told = [(columns.kind_of(name), columns.scope_of(name)) for name in values]
    if len(values) > 1 and (len(set(told)) < len(values) or (None, None) in told):
        raise InputError(
            f"{path}: columns {', '.join(values)} could each be the value; expected value=NAME in {option('columns')}"
        )
    taken = {*values, *found, *filter(None, [issued_name])}
    time = columns.time_column(table, declared, taken)
    valid_at, naive = instants(table, time, declared)
    _refuse_early(table, valid_at, [] if issued_name else columns.clerks(table, declared), declared)
    zone_name = columns.zone_column(table, declared)
    zones = table.frame[zone_name] if zone_name else pl.Series("zone", [declared.zone or UNKNOWN] * valid_at.len())
    if (zones == "").any():
        raise InputError(f"{path}: row {FIRST_ROW + zones.to_list().index('')}, {zone_name}: empty; expected a zone")
    issued_at = pl.Series([None] * valid_at.len(), dtype=INSTANT)
    if issued_name:
        issued_at = issue_times(table, issued_name, valid_at, declared)
    scopes, kinds, parts = columns.stated_scopes(table), columns.stated_kinds(table), []
    for name in values:
        frame = pl.DataFrame(
            {
                "zone": zones,
                "issued_at": issued_at,
                "valid_at": valid_at,
                "g_per_kwh": parse_values(
                    table.frame[name], path, name, FIRST_ROW, factor(table, name, declared, usual_unit)
                ),
                "kind": _together(kinds, columns.kind_of(name), declared.kind or "average", path, name),
                "scope": _together(scopes, columns.scope_of(name), UNKNOWN, path, name),
            }
        )
        parts.append(number_rows(frame.select(*SCHEMA), FIRST_ROW))
    declared.notes += columns.estimated_note(table)
    naive = naive and not time.utc
    frame = finish(pl.concat(parts), path, _CLOCK_HINT if naive else "")
    if naive:
        refuse_clock_change(frame["valid_at"], path)
    return frame


def _together(stated: pl.Series, by_name: str | None, otherwise: str, path: str, name: str) -> pl.Series:
    """What a column states for every row, or else the value column's name. Raises InputError if they differ."""
    if by_name is not None and (odd := stated != by_name).any():
        row = odd.arg_max() or 0
        raise InputError(
            f"{path}: row {FIRST_ROW + row}: {stated[row]}, but column {name} says {by_name}; expected the same"
        )
    return stated.fill_null(by_name or otherwise)


def instants(table: Table, time: TimeColumn, declared: Declared) -> tuple[pl.Series, bool]:
    """Start of every row's interval (UTC), and whether it depends on times without an offset or a zone.

    Raises InputError for local times of no known zone, and for ends of intervals that are not consecutive.
    """
    path, name = table.path, time.name
    zone = None if time.utc else time.zone or _time_zone(table, declared)
    if time.zone is not None and declared.time_zone not in (None, time.zone):
        raise InputError(
            f"time_zone {declared.time_zone!r}: column {name} of {path} is in {time.zone}; expected that, or none given"
        )
    if time.local and zone is None:
        raise InputError(
            f"{path}: column {name} is in local time; expected {option('time_zone')}, like America/Los_Angeles"
        )
    text, edge, hours = table.frame[name], time.edge, None
    if time.clock is not None:
        text, edge, hours = _with_clock(table, time)
    valid_at, naive = parse_times(text, path, name, FIRST_ROW, declared, zone)
    if hours is not None:
        valid_at = valid_at.to_frame("at").select(pl.col("at") + pl.duration(hours=pl.lit(hours))).to_series()
    if declared.interval is not None:
        if edge is not None and edge != declared.interval:
            raise InputError(
                f"interval {declared.interval!r}: column {time.clock or name} of {path} has {edge}s; expected "
                "that, or none given"
            )
        edge = declared.interval
    if edge == "end":
        step = usual_step(valid_at.unique().sort()) or (timedelta(hours=1) if "hour" in words(name) else None)
        if step is None:
            raise InputError(
                f"{path}: column {name} has the end of one interval alone; expected at least two rows, which show "
                "its length"
            )
        valid_at = valid_at - step
    if time.until is not None:
        _check_until(table, time.until, valid_at, declared)
    naive = naive and zone is None
    if naive and not time.utc:
        declared.notes.append(f"{path}: times without an offset taken as UTC ({option('time_zone')} says otherwise)")
    return valid_at.rename("valid_at"), naive


def factor(table: Table, name: str, declared: Declared, usual_unit: str | None) -> float:
    """Factor from a column's numbers to g/kWh. Raises InputError if its unit is not stated, or stated twice and
    differently.
    """
    stated = unit_of(name)
    cells = columns.column_of(table, "unit", "units", "carbon intensity unit", "carbon intensity units")
    if cells is not None:
        units = table.frame[cells].unique().sort().to_list()
        told = unit_of(units[0])
        if len(units) > 1 or told is None:
            raise InputError(
                f"{table.path}: column {cells}: {units[0]!r}{' and others' * (len(units) > 1)}; expected one of "
                f"{', '.join(G_PER_KWH)}"
            )
        if stated is not None and G_PER_KWH[stated] != G_PER_KWH[told]:
            raise InputError(f"{table.path}: column {cells} says {told}, column {name} {stated}; expected one unit")
        stated = told
    unit = declared.unit or stated or usual_unit
    if unit is None:
        raise InputError(
            f"{table.path}: the unit of column {name!r} is not stated; expected --unit, or --set carbon.unit=, "
            f"with one of {', '.join(G_PER_KWH)}"
        )
    if stated is not None and G_PER_KWH[stated] != G_PER_KWH[unit]:
        raise InputError(
            f"unit {unit!r}: column {name!r} of {table.path} is in {stated}; expected that unit, or none given"
        )
    return G_PER_KWH[unit]


def issue_times(table: Table, name: str, valid_at: pl.Series, declared: Declared) -> pl.Series:
    """Parsed issue times; an empty cell is null (valid_at stands in while parsing)."""
    text = table.frame[name]
    observed = text == ""
    shown = valid_at.dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    parsed, _ = parse_times(shown.zip_with(observed, text), table.path, name, FIRST_ROW, declared, declared.time_zone)
    return parsed.to_frame("t").select(pl.when(~observed).then("t")).to_series()


def _refuse_early(table: Table, valid_at: pl.Series, names: list[str], declared: Declared) -> None:
    """Raise InputError if a row was written before its time: it is a forecast of unknown issue time."""
    for name in names:
        written, _ = parse_times(table.frame[name], table.path, name, FIRST_ROW, declared, declared.time_zone)
        early = written < valid_at
        if early.any():
            row = FIRST_ROW + (early.arg_max() or 0)
            told = f"row {row} is of a later time than its {name}, as forecasts are"
            raise InputError(f"{table.path}: {told}; expected issued_at={name} in {option('columns')}, or time=NAME")


def _time_zone(table: Table, declared: Declared) -> str | None:
    """The zone of times without an offset: declared, or one that a column states for all rows."""
    name = columns.zone_of_times(table)
    if name is None or declared.time_zone is not None:
        return declared.time_zone
    zones = table.frame[name].unique().sort().to_list()
    if len(zones) == 1:
        if zones[0].lower() in _IN_UTC:
            return "UTC"
        try:
            check_zone(zones[0], name)
        except InputError:
            pass
        else:
            return str(zones[0])
    raise InputError(
        f"{table.path}: column {name} says {', '.join(map(repr, zones[:3]))}; expected {option('time_zone')} to "
        "say which zone that is"
    )


def _with_clock(table: Table, time: TimeColumn) -> tuple[pl.Series, str | None, pl.Series | None]:
    """Dates joined with the times of day of a second column, the edge of the interval, and whole hours to add."""
    assert time.clock is not None
    dates, clock = table.frame[time.name], table.frame[time.clock]
    if clock.str.contains(":").any():
        return dates + " " + clock, time.edge, None
    hours = clock.cast(pl.Int64, strict=False)
    if hours.null_count() or not hours.is_between(0, 25).all():
        raise InputError(f"{table.path}: column {time.clock}: expected an hour from 0 to 23 or 1 to 24 in every row")
    in_order = hours.unique().sort()
    lowest, highest = in_order[0], in_order[-1]
    edge = "end" if highest >= 24 and lowest >= 1 else "start" if lowest == 0 and time.edge is None else time.edge
    if edge is None:
        asked = f"column {time.clock} has hours {lowest} to {highest}: do they begin or end there?"
        raise InputError(f"{table.path}: {asked} expected {option('interval')}")
    return dates, edge, hours


def _check_until(table: Table, name: str, valid_at: pl.Series, declared: Declared) -> None:
    """Raise InputError if the ends are not those of consecutive intervals."""
    ends, _ = parse_times(table.frame[name], table.path, name, FIRST_ROW, declared, declared.time_zone)
    lengths = ends - valid_at
    step = usual_step(valid_at.unique().sort())
    wrong = lengths != (step if step is not None else lengths[0])
    if wrong.any():
        row = wrong.arg_max() or 0
        raise InputError(
            f"{table.path}: row {FIRST_ROW + row}, {name}: the interval is {lengths[row]} long, rows are {step} apart; "
            f"expected intervals without gaps, or time=NAME in {option('columns')}"
        )
