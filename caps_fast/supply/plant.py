"""On-site generation by sample: a size with the built-in weather, or a file of power or capacity factors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import polars as pl

from caps_fast.carbon import columns
from caps_fast.carbon.alignment import meeting, repeated
from caps_fast.carbon.declared import Declared
from caps_fast.carbon.files import FIRST_ROW, Table, decode, read_bytes, read_table
from caps_fast.carbon.formats_table import instants
from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.supply.assumptions import Assumptions
from caps_fast.supply.site import Site
from caps_fast.supply.weather import sun, wind
from caps_fast.words import says_any, words

KW = {"kw": 1.0, "mw": 1e3, "gw": 1e6}
MOST_KW = 1e9
TABLE = "a table of times and power (CSV), or a size as 20MW"
SIZE = re.compile(r"(?i)([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?) ?([kmg]w)?(h?)")
Kind = Literal["solar", "wind"]


@dataclass(frozen=True)
class Plant:
    """A solar or wind plant.

    kw          its size
    factors     float64 (n,): mean output over each sample of the site, as a share of the size
    source      where the factors come from
    notes       lines for the user
    """

    kw: float
    factors: Array
    source: str
    notes: tuple[str, ...] = ()


def size_kw(text: str, origin: str, energy: bool = False) -> float:
    """kW from `20`, `20MW` or `20000kW` (with `energy`, kWh from MWh likewise). Raises InputError."""
    match = SIZE.fullmatch(text.strip())
    unit = "MWh" if energy else "MW"
    if not match or (match[2] and bool(match[3]) != energy) or (match[3] and not match[2]):
        raise InputError(f"{origin} {text!r}: expected a size in {unit}, as 20, 20{unit} or 500k{unit[1:]}")
    found = float(match[1]) * KW[(match[2] or "mw").lower()]
    if not 0.0 <= found <= MOST_KW:
        raise InputError(f"{origin} {text!r}: expected 0 to {MOST_KW / 1e3:,.0f} {unit}")
    return found


def plant_of(kind: Kind, text: str | None, site: Site, given: Assumptions) -> Plant:
    """The plant that an option names: a size, a file of power, or a file of capacity factors with a size, FILE@SIZE.

    A file of power with a size is scaled so that its highest sample is the size. Raises InputError.
    """
    path, kw = named(kind, text)
    if path is not None:
        return read_plant(path, site, kw)
    year = sun(given) if kind == "solar" else wind(given)
    began = datetime(site.start.year, 1, 1, tzinfo=UTC)
    factors = year.means(site.edges_s + (site.start - began).total_seconds())
    return Plant(kw or 0.0, factors, f"built-in {'sun' if kind == 'solar' else 'wind'}")


def named(kind: Kind, text: str | None) -> tuple[str | None, float | None]:
    """The file and the size (kW) that an option names. Raises InputError for an invalid size, and for a file that
    cannot be read or lacks its columns.
    """
    if text is None or SIZE.fullmatch(text.strip()):
        return None, 0.0 if text is None else size_kw(text, f"--{kind}")
    path, sign, size = text.rpartition("@")
    if not sign or not SIZE.fullmatch(size.strip()):
        path, size = text, ""
    _value_column(_table(path))
    return path, size_kw(size, f"--{kind}") if size else None


def read_plant(path: str, site: Site, kw: float | None = None) -> Plant:
    """A plant from a CSV file of times and power (MW, kW), or capacity factors, as carbon files are read.

    Each sample holds until the next. The file is aligned with the site like a carbon file; one that ends earlier is
    repeated. Raises InputError naming the file and the row.
    """
    table = _table(path)
    name, unit_kw = _value_column(table)
    declared = Declared()
    valid_at, _ = instants(table, columns.time_column(table, declared, {name}), declared)
    power = f"a power of at least 0, at most {MOST_KW / 1e3:,.0f} MW"
    expected, most = ("a capacity factor from 0 to 1", 1.0) if unit_kw is None else (power, MOST_KW / unit_kw)
    values = _values(table, name, expected, most)
    order = np.argsort(valid_at.to_numpy(), kind="stable")
    valid_at, values = valid_at[order.tolist()], values[order]
    step_s = _step_s(valid_at, order, path)
    if kw is None and unit_kw is None:
        raise InputError(
            f"{path}: column {name} has capacity factors; expected the plant's size with it, as {path}@20MW"
        )
    highest = float(values.max())
    if unit_kw is not None and highest == 0.0:
        raise InputError(f"{path}: column {name} is 0 throughout; expected power above 0 somewhere")
    factors = values if unit_kw is None else values / highest
    size = kw if kw is not None else highest * (unit_kw or 0.0)
    first, last = valid_at[0], valid_at[-1]
    until_s = float(site.edges_s[-1])
    start, how = meeting(site.start, first, last, timedelta(seconds=until_s))
    if start > last:
        raise InputError(f"{path}: has no {site.start:%H:%M} UTC, at which the run begins; expected at least a day")
    times_s = (valid_at - start).dt.total_microseconds().to_numpy().astype(np.float64) / 1e6
    notes = [*declared.notes, f"{path}: t = 0 is {start:%a %Y-%m-%d %H:%M} UTC ({how})"]
    if times_s[-1] + step_s < until_s:
        times_s, factors, cycle = repeated(times_s, factors, step_s, until_s)
        if not cycle:
            raise InputError(
                f"{path}: ends at {last:%Y-%m-%d %H:%M} UTC and has no whole day to repeat; expected at least a day"
            )
        notes.append(f"{path}: ends at {last:%Y-%m-%d %H:%M} UTC, before the run's end; its last {cycle} is repeated")
    sums = np.concatenate([[0.0], np.cumsum(factors)]) * step_s
    so_far = np.interp(site.edges_s, np.append(times_s, times_s[-1] + step_s), sums)
    return Plant(size, np.clip(np.diff(so_far) / np.diff(site.edges_s), 0.0, 1.0), path, tuple(notes))


def _table(path: str) -> Table:
    return read_table(decode(read_bytes(path, TABLE), path, TABLE), path, TABLE)


def _value_column(table: Table) -> tuple[str, float | None]:
    """The column of output and the kW of its unit; None for capacity factors.

    Raises InputError if none or several match.
    """
    found: dict[str, float | None] = {}
    for name in table.frame.columns:
        unit = re.search(r"(?<![a-z])[kmg]w(?![a-z])", name.lower())
        if says_any(name, "capacity factor", "cf") or "factor" in words(name):
            found[name] = None
        elif unit:
            found[name] = KW[unit[0]]
    if len(found) != 1:
        shown = ", ".join(list(found) or table.frame.columns[:20])
        which = f"columns {shown} could each be the output" if found else f"no column of output among {shown}"
        raise InputError(f"{table.path}: {which}; expected one in MW or kW, or capacity_factor")
    return next(iter(found.items()))


def _values(table: Table, name: str, expected: str, most: float) -> Array:
    cells = table.frame[name]
    numbers = cells.cast(pl.Float64, strict=False)
    good = (numbers.is_finite() & (numbers >= 0.0) & (numbers <= most)).fill_null(False)
    if not good.all():
        row = int((~good).arg_max() or 0)
        raise InputError(f"{table.path}: row {FIRST_ROW + row}, {name}: {cells[row]!r}; expected {expected}")
    return numbers.to_numpy()


def _step_s(valid_at: pl.Series, order: Array, path: str) -> float:
    """The distance between samples. Raises InputError if it is not constant."""
    steps = valid_at.diff().drop_nulls()
    if steps.is_empty():
        raise InputError(f"{path}: one row; expected at least two, which show the length of a sample")
    step: Any = steps.mode().min()
    odd = steps != step
    if odd.any():
        row = int(odd.arg_max() or 0) + 1
        raise InputError(
            f"{path}: row {FIRST_ROW + int(order[row])}: {steps[row - 1]} after the sample before; expected "
            f"{step}, as elsewhere"
        )
    return float(step.total_seconds())
