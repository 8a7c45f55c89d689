"""The price of energy over time: a constant, a table by hour of the day, or a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import polars as pl

from caps_fast.arrays import J_PER_KWH
from caps_fast.carbon.monitor import Monitor
from caps_fast.clock import clock_of
from caps_fast.errors import InputError
from caps_fast.grid_section import MOST_PRICE, Region
from caps_fast.instants import looks_like_time, read_times
from caps_fast.parquet_check import Damaged
from caps_fast.polars_io import FAULTS, first_line, scan_csv
from caps_fast.records import Array
from caps_fast.scenario import Scenario, file_hash

COLUMNS = ("time", "price_per_kwh")
HOUR_S, DAY_S = 3600.0, 86400.0
KEPT = 16  # cached files


@dataclass(frozen=True)
class Prices:
    """A price that holds from each of its times to the next; the last holds without end, the first also before it.

    times_s     float64 (n,), ascending, from the run's t = 0
    per_kwh     float64 (n,)
    """

    times_s: Array
    per_kwh: Array

    def mean(self, from_s: Array, to_s: Array) -> Array:
        """Mean price from `from_s` to `to_s` (float64, same shape); the price at `from_s` if they are equal."""
        length_s = to_s - from_s
        at = np.maximum(np.searchsorted(self.times_s, from_s, side="right") - 1, 0)
        whole = self._integral(to_s) - self._integral(from_s)
        return np.where(length_s > 0.0, whole / np.where(length_s > 0.0, length_s, 1.0), self.per_kwh[at])

    def _integral(self, to_s: Array) -> Array:
        """From the first of the times, before which it is negative."""
        sums = np.concatenate([[0.0], np.cumsum(self.per_kwh[:-1] * np.diff(self.times_s))])
        at = np.maximum(np.searchsorted(self.times_s, to_s, side="right") - 1, 0)
        whole: Array = sums[at] + self.per_kwh[at] * (to_s - self.times_s[at])
        return whole


def prices_of(region: Region, config: Scenario) -> Prices:
    """The prices of a region in a run. Raises InputError for a file without prices."""
    if region.price_file is not None:
        return _read(region.price_file, file_hash(region.price_file), clock_of(config).start)
    if region.price_by_hour is not None:
        start = clock_of(config).start
        began_s = (
            0.0 if start is None else (start - start.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
        )
        days = int((config.horizon_s + config.drain_h * HOUR_S) // DAY_S) + 2
        return Prices(np.arange(24 * days) * HOUR_S - began_s, np.tile(np.array(region.price_by_hour), days))
    return Prices(np.zeros(1), np.full(1, region.price_per_kwh))


@lru_cache(KEPT)
def _read(path: str, content: str, start: datetime | None) -> Prices:
    return read_prices(path, start)


def read_prices(path: str, start: datetime | None) -> Prices:
    """Prices from a CSV file with the columns `time` (a date and time, UTC unless it has an offset, or seconds from
    t = 0) and `price_per_kwh`.

    `start` is the date and time of t = 0; without one, the first of the file's dates is. Raises InputError naming the
    file and the row.
    """
    try:
        frame = scan_csv(path).collect()
    except (*FAULTS, Damaged) as error:
        raise InputError(f"{path}: cannot be read as CSV ({first_line(error)})") from None
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise InputError(
            f"{path}: no column {missing[0]}: expected {' and '.join(COLUMNS)}; it has {', '.join(frame.columns)[:200]}"
        )
    if frame.is_empty():
        raise InputError(f"{path}: no rows: expected prices")
    per_kwh = _numbers(frame["price_per_kwh"], path, "a finite number")
    usual = pl.Series(np.abs(per_kwh) <= MOST_PRICE)
    _expect_all(usual, frame["price_per_kwh"], path, f"a price from {-MOST_PRICE:,.0f} to {MOST_PRICE:,.0f}")
    if looks_like_time(frame["time"][0]):
        at = read_times(frame["time"]).utc
        _expect_all(at.is_not_null(), frame["time"], path, "a date and time")
        begins = at[0] if start is None else start.astimezone(UTC)
        times_s = (at - begins).dt.total_microseconds().to_numpy() / 1e6
    else:
        times_s = _numbers(frame["time"], path, "a date and time, or seconds from t = 0")
    falls = np.flatnonzero(np.diff(times_s) <= 0.0)
    if len(falls):
        row = int(falls[0]) + 2
        raise InputError(
            f"{path}: row {row}: time {frame['time'][row - 1]}: expected a later time than in the row before"
        )
    return Prices(times_s, per_kwh)


def energy_cost(config: Scenario, monitors: Sequence[Monitor], slices: Array, end_s: float) -> Array:
    """Cost of the energy of each pool, PUE included: float64 (n_pools,), in the currency of the prices.

    `slices` is energy by sample of the region's grid, pool by pool; within a sample it is assumed constant, up to the
    end of the run.
    """
    cost = np.zeros(len(config.fleet.pools))
    for p, (pool, (from_s, to_s, rows)) in enumerate(
        zip(config.fleet.pools, samples_of(config, monitors, end_s), strict=True)
    ):
        region, energy_j = config.fleet.regions[pool.region], slices[rows]["energy_j"].sum(axis=1)
        cost[p] = region.pue * float(prices_of(region, config).mean(from_s, to_s) @ energy_j) / J_PER_KWH
    return cost


def samples_of(config: Scenario, monitors: Sequence[Monitor], end_s: float) -> Iterator[tuple[Array, Array, slice]]:
    """For every pool in turn, the samples of its region's grid in the run: start and end of each, float64 (n,) each, up
    to the end of the run, and its rows of `Result.slices`.
    """
    names, until_s, at = list(config.fleet.regions), config.horizon_s + config.drain_h * HOUR_S, 0
    for pool in config.fleet.pools:
        times_s = monitors[names.index(pool.region)].trace.times_s
        first, last = (max(int(np.searchsorted(times_s, t_s, side="right")) - 1, 0) for t_s in (0.0, until_s))
        from_s = np.maximum(times_s[first : last + 1], 0.0)
        to_s = np.append(from_s[1:], np.inf).clip(max=np.maximum(from_s, max(end_s, config.horizon_s)))
        yield from_s, to_s, slice(at, at + last - first + 1)
        at += last - first + 1


def _numbers(cells: pl.Series, path: str, expected: str) -> Array:
    found = cells.str.strip_chars().cast(pl.Float64, strict=False)
    _expect_all(found.is_finite().fill_null(False), cells, path, expected)
    return found.to_numpy()


def _expect_all(good: pl.Series, cells: pl.Series, path: str, expected: str) -> None:
    if not good.all():
        row = int((~good).arg_max() or 0)
        raise InputError(f"{path}: row {row + 1}: {cells.name} {cells[row]!r}: expected {expected}")
