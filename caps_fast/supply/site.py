"""A site's load by sample of its grid: from a run, optionally repeated, or from a file that `supply` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from caps_fast.arrays import BUSY, J_PER_KWH
from caps_fast.carbon.monitor import monitors_of
from caps_fast.carbon.trace import carbon_trace
from caps_fast.clock import clock_of
from caps_fast.errors import InputError
from caps_fast.pack_kinds import replica_power_w
from caps_fast.parquet_check import Damaged
from caps_fast.polars_io import FAULTS, first_line, scan_parquet
from caps_fast.prices import prices_of, samples_of
from caps_fast.records import Array
from caps_fast.results import Result
from caps_fast.supply.dispatch import FLOWS

HOUR_S, DAY_S = 3600.0, 86400.0
LONGEST_DAYS = 3660
UNDATED = datetime(2024, 8, 5, tzinfo=UTC)
"""Default of t = 0: the Monday with which the built-in grid's week begins."""
COLUMNS = ("t_s", "hours", "load_kwh", "busy_kwh", "g_per_kwh", "price_per_kwh", "most_kw", "time")


@dataclass(frozen=True)
class Site:
    """The load of a supply. Samples are those of the grid, divided at whole hours if they are longer.

    region          its name
    start           date and time of t = 0, UTC
    edges_s         float64 (n + 1,), ascending
    load_kwh        float64 (n,): of all states of the replicas, PUE included
    busy_kwh        float64 (n,): the part of it of busy replicas, which can move
    g_per_kwh       float64 (n,): of the grid
    price_per_kwh   float64 (n,): of the grid's energy
    most_kw         power of all replicas with full batches, PUE included
    notes           lines for the user
    """

    region: str
    start: datetime
    edges_s: Array
    load_kwh: Array
    busy_kwh: Array
    g_per_kwh: Array
    price_per_kwh: Array
    most_kw: float
    notes: tuple[str, ...] = ()

    @cached_property
    def hours(self) -> Array:
        """Lengths of the samples, float64 (n,)."""
        return np.diff(self.edges_s) / HOUR_S

    @cached_property
    def years(self) -> float:
        """Total length."""
        return float(self.edges_s[-1] - self.edges_s[0]) / (365.25 * DAY_S)

    @cached_property
    def days(self) -> Array:
        """First samples of the days from t = 0 on, and n: int64 (n_days + 1,)."""
        day = np.floor(self.edges_s[:-1] / DAY_S)
        return np.concatenate([[0], np.flatnonzero(np.diff(day)) + 1, [len(day)]]).astype(np.int64)


def site_of(result: Result, region: str | None = None, days: float | None = None) -> Site:
    """The site of a run: one of its regions, by name if there are several.

    With `days`, the run's load, with its drain counted at its beginning, is repeated for that long, with the region's
    own grid and prices of that time. Raises InputError for an unknown region, and for days that the run does not fill.
    """
    config = result.scenario
    names = list(config.fleet.regions)
    if region not in names and (region is not None or len(names) > 1):
        raise InputError(f"region {region!r}: expected one of {', '.join(names)}")
    name = region or names[0]
    own, at = config.fleet.regions[name], names.index(name)
    end_s = max(result.outcome.end_s, config.horizon_s)
    until_s = end_s if days is None else _repeated_s(config.horizon_s, days)
    monitors = monitors_of(config)
    trace, start = monitors[at].trace, clock_of(config).start
    knots_s, most_w = np.array([0.0, end_s]), 0.0
    busy_j, load_j = np.zeros(2), np.zeros(2)  # up to each knot
    for pool, kind, (from_s, to_s, rows) in zip(
        config.fleet.pools, config.fleet.kind_of, samples_of(config, monitors, end_s), strict=True
    ):
        if pool.region == name:
            knots_s, energy_j = np.append(from_s[:1], to_s), result.outcome.slices[rows]["energy_j"]
            busy_j = _up_to(energy_j[:, BUSY]) + (busy_j if most_w else 0.0)
            load_j = _up_to(energy_j.sum(axis=1)) + (load_j if most_w else 0.0)
            most_w += pool.replicas * float(replica_power_w(kind, np.array([kind.max_batch]))[0])
    if days is not None:
        config = config.replace({"days": days})
        trace = carbon_trace(own.carbon, until_s, start)
    edges_s = _edges_s(trace.times_s, until_s)
    period_s = config.horizon_s if days is None else result.scenario.horizon_s

    def by_sample(sums_j: Array) -> Array:
        so_far_j = _so_far(edges_s, knots_s, sums_j, np.inf if days is None else period_s)
        return np.asarray(np.diff(so_far_j) * own.pue / J_PER_KWH)

    return Site(
        region=name,
        start=start or trace.start or UNDATED,
        edges_s=edges_s,
        load_kwh=by_sample(load_j),
        busy_kwh=by_sample(busy_j),
        g_per_kwh=trace.at(edges_s[:-1]),
        price_per_kwh=prices_of(own, config).mean(edges_s[:-1], edges_s[1:]),
        most_kw=most_w * own.pue / 1000.0,
        notes=tuple(dict.fromkeys([*result.notes, *trace.warnings])),
    )


def _repeated_s(horizon_s: float, days: float) -> float:
    if not horizon_s / DAY_S <= days <= LONGEST_DAYS:
        raise InputError(
            f"days {days:g}: expected at least the run's {horizon_s / DAY_S:g} and at most {LONGEST_DAYS:,}"
        )
    if horizon_s % DAY_S:
        raise InputError(f"days {horizon_s / DAY_S:g} of the run: its load can be repeated for whole days only")
    return days * DAY_S


def _up_to(energy_j: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(energy_j)])


def _so_far(at_s: Array, knots_s: Array, sums: Array, period_s: float) -> Array:
    """The integral from 0 to each time of a repeated curve given by its cumulative sums at knots, linear between them.

    What lies beyond the period falls into the next one, and so into the first.
    """
    if not np.isfinite(period_s):
        return np.asarray(np.interp(at_s, knots_s, sums))
    turns, rest_s = np.divmod(at_s, period_s)
    found = turns * sums[-1]
    for lap in range(int(knots_s[-1] // period_s) + 1):
        begun = np.interp(lap * period_s, knots_s, sums)
        found += np.interp(lap * period_s + rest_s, knots_s, sums) - begun
    return np.asarray(found)


def _edges_s(times_s: Array, until_s: float) -> Array:
    """Samples of the grid from 0 to the end, and whole hours between them if they are longer."""
    inner = times_s[(times_s > 0.0) & (times_s < until_s)]
    edges_s = np.concatenate([[0.0], inner, [until_s]])
    if np.diff(edges_s).max() > HOUR_S:
        edges_s = np.union1d(edges_s, np.arange(0.0, until_s, HOUR_S))
    return edges_s


def read_site(path: str | Path) -> Site:
    """The site in a Parquet file that `supply --out` wrote. Raises InputError for any other."""
    try:
        frame = scan_parquet(path).collect()
    except (*FAULTS, Damaged) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({first_line(error)})") from None
    if missing := [name for name in (*COLUMNS, "region", "rule") if name not in frame.columns]:
        raise InputError(f"{path}: no column {missing[0]}; expected a file that supply --out wrote")
    frame = frame.filter(pl.col("rule") == pl.col("rule").first())
    numbers = {name: frame[name].cast(pl.Float64, strict=False) for name in COLUMNS[:-1]}
    for name, values in numbers.items():
        good = values.is_finite().fill_null(False) & (True if name in ("price_per_kwh", "t_s") else values >= 0.0)
        if not good.all():
            row = int((~good).arg_max() or 0)
            raise InputError(
                f"{path}: row {row + 1}: {name} {frame[name][row]}: expected a finite number of at least 0"
            )
    if (
        frame.is_empty()
        or frame["time"].dtype != pl.Datetime("us", "UTC")
        or not (np.diff(numbers["t_s"].to_numpy()) > 0).all()
    ):
        raise InputError(
            f"{path}: expected samples in order, with t_s from 0 and time in UTC, as written by supply --out"
        )
    array = {name: values.to_numpy() for name, values in numbers.items()}
    end_s = array["t_s"][-1] + array["hours"][-1] * HOUR_S
    return Site(
        region=str(frame["region"][0]),
        start=frame["time"][0],
        edges_s=np.append(array["t_s"], end_s),
        load_kwh=array["load_kwh"],
        busy_kwh=array["busy_kwh"],
        g_per_kwh=array["g_per_kwh"],
        price_per_kwh=array["price_per_kwh"],
        most_kw=float(array["most_kw"][0]),
    )


def site_table(site: Site, rule: str, run_kwh: Array, solar_kwh: Array, wind_kwh: Array, flows: Array) -> pl.DataFrame:
    """One row per sample: the site, generation, and the flows of a rule (columns of FLOWS, in kWh)."""
    n = len(site.load_kwh)
    time = pl.Series([site.start]).cast(pl.Datetime("us", "UTC"))[0]
    microseconds = pl.Series((site.edges_s[:-1] * 1e6).round().astype(np.int64)).cast(pl.Duration("us"))
    return pl.DataFrame(
        {
            "rule": [rule] * n,
            "region": [site.region] * n,
            "t_s": site.edges_s[:-1],
            "hours": site.hours,
            "load_kwh": site.load_kwh,
            "busy_kwh": site.busy_kwh,
            "g_per_kwh": site.g_per_kwh,
            "price_per_kwh": site.price_per_kwh,
            "most_kw": np.full(n, site.most_kw),
            "run_kwh": run_kwh,
            "solar_kwh": solar_kwh,
            "wind_kwh": wind_kwh,
            **{f"{name}_kwh": flows[:, column] for column, name in enumerate(FLOWS)},
        }
    ).with_columns(time=pl.lit(time) + microseconds)
