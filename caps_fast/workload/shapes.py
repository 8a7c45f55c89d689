"""Shapes of demand over the week: built in, from a table in a file, or from a request trace.

`office` and `global` are the hourly requests of two services in the Azure LLM inference traces of May 2024 (Azure Public Dataset, CC BY 4.0;
Stojkovic et al., DynamoLLM, HPCA 2025): the mean of Monday to Friday, Saturday and Sunday, relative to the mean of the week. `office` is the code
service on the clock of the US East coast, where its traffic points (lowest at 4-5 h, highest at 14-16 h; where its users are is not published),
16.8 million requests; `global` the conversation service in UTC, 27.3 million. `evening` is an assumption, for want of a public trace of a consumer
service with its zone: lowest before dawn, highest at 20-22 h, a tenth more on weekends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from caps_fast.demand import Demand, RateTable, expect_whole
from caps_fast.errors import InputError
from caps_fast.instants import check_zone
from caps_fast.records import Array

DAY_S, WEEK_S = 86400.0, 7 * 86400.0
BUILT_IN_WEEK = datetime(2024, 8, 5, tzinfo=UTC)
"""t = 0 where nothing says when it is: a Monday, the first day of the built-in grid."""

_DAYS = {  # Monday to Friday, Saturday, Sunday; hours 0..23
    "office": (
        "0.51 0.42 0.36 0.31 0.28 0.29 0.31 0.46 0.85 1.46 2.08 2.28 2.16 2.46 2.72 2.78 2.61 1.90 1.38 1.03 0.86 0.82 0.75 0.62",
        "0.39 0.31 0.26 0.19 0.14 0.11 0.09 0.15 0.25 0.36 0.42 0.46 0.50 0.58 0.62 0.63 0.56 0.52 0.56 0.49 0.47 0.51 0.46 0.44",
        "0.38 0.31 0.24 0.15 0.12 0.12 0.13 0.14 0.21 0.27 0.36 0.43 0.46 0.47 0.54 0.56 0.63 0.68 0.61 0.61 0.66 0.67 0.66 0.57",
    ),
    "global": (
        "1.02 1.10 1.10 0.90 0.91 0.99 1.15 1.23 1.27 1.23 1.12 1.17 1.30 1.45 1.53 1.42 1.30 1.23 1.23 1.16 1.06 0.88 0.79 0.82",
        "0.58 0.62 0.64 0.54 0.52 0.55 0.57 0.62 0.66 0.57 0.63 0.69 0.76 0.77 0.84 0.87 0.82 0.77 0.68 0.65 0.71 0.65 0.57 0.55",
        "0.56 0.59 0.57 0.50 0.47 0.48 0.50 0.57 0.57 0.54 0.56 0.63 0.66 0.82 0.76 0.78 0.74 0.76 0.77 0.71 0.70 0.68 0.63 0.76",
    ),
    "evening": (
        "0.90 0.60 0.40 0.30 0.25 0.30 0.40 0.60 0.70 0.80 0.90 1.00 1.10 1.10 1.10 1.10 1.20 1.30 1.50 1.70 1.90 1.90 1.70 1.30",
        "0.99 0.66 0.44 0.33 0.28 0.33 0.44 0.66 0.77 0.88 0.99 1.10 1.21 1.21 1.21 1.21 1.32 1.43 1.65 1.87 2.09 2.09 1.87 1.43",
        "0.99 0.66 0.44 0.33 0.28 0.33 0.44 0.66 0.77 0.88 0.99 1.10 1.21 1.21 1.21 1.21 1.32 1.43 1.65 1.87 2.09 2.09 1.87 1.43",
    ),
}


@dataclass(frozen=True)
class Shape:
    """A rate over time that repeats: `factors`, float64 (n,), mean 1, each holds for `step_s`; t = 0 lies `phase_s` after the first one begins."""

    factors: Array
    step_s: float
    phase_s: float = 0.0

    @property
    def period_s(self) -> float:
        return len(self.factors) * self.step_s


FLAT = Shape(np.ones(1), DAY_S)


def built_in(name: str) -> RateTable | None:
    """The built-in shape of that name; None for `flat` and other names."""
    if name not in _DAYS:
        return None
    weekday, saturday, sunday = ([float(factor) for factor in day.split()] for day in _DAYS[name])
    return RateTable(factors=(*weekday * 5, *saturday, *sunday))


def shape_of(demand: Demand, table: RateTable | None, start: datetime | None) -> Shape:
    """A table as it lies on the calendar. Raises InputError for a time zone that is none.

    `start` is the date and time of t = 0; None: Monday 00:00 UTC, of a week of August for zones with summer time. The zone's offset at t = 0 holds
    for the whole run. The built-in shape `global` is in UTC whatever the zone.
    """
    check_zone(demand.profile_zone, "workload.profile_zone")
    if table is None:
        return FLAT
    factors = np.array(table.factors)
    local = local_time(start or BUILT_IN_WEEK, None if demand.rate_profile == "global" else demand.profile_zone)
    midnight = datetime(local.year, local.month, local.day)
    begins = {"start": local, "midnight": midnight, "monday": midnight - timedelta(days=midnight.weekday())}[table.begins]
    return Shape(factors / factors.mean(), table.step_s, (local - begins).total_seconds())


def local_time(at: datetime, zone: str | None) -> datetime:
    """The clock of a time zone at an instant, without its zone."""
    series = pl.Series([at.astimezone(UTC).replace(tzinfo=None)]).dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    found: datetime = series.dt.convert_time_zone(zone or "UTC").dt.replace_time_zone(None)[0]
    return found


def hourly(arrivals_s: Array, span_s: float, first: datetime | None, zone: str | None, origin: str) -> RateTable:
    """Mean rate by hour of the week of a trace of seven days or more, or by hour of the day of a shorter one.

    `arrivals_s`, float64 (n,), are seconds from `first`, a date; None: Monday 00:00. Hours that the trace covers in part count by the part. Raises
    InputError where some hour of the day is not covered.
    """
    local = local_time(first or BUILT_IN_WEEK, zone)
    weekly = span_s >= WEEK_S - 3600.0
    hours = 168 if weekly else 24
    offset_s = ((local.weekday() * DAY_S if weekly else 0.0) + local.hour * 3600 + local.minute * 60 + local.second) % (hours * 3600)
    last = int((offset_s + span_s) // 3600)
    counts = np.bincount(((offset_s + arrivals_s) // 3600).astype(np.int64), minlength=last + 1)
    edges_s = np.clip(np.arange(last + 2) * 3600.0, offset_s, offset_s + span_s)
    covered_s = np.diff(edges_s)
    bins = np.arange(last + 1) % hours
    per_bin_s = np.bincount(bins, covered_s, hours)
    missing = np.flatnonzero(per_bin_s < 1.0)
    if len(missing):
        raise InputError(
            f"{origin}: spans {span_s / 3600:.3g} h and leaves {len(missing)} hours of the {'week' if weekly else 'day'} open, the first at "
            f"{int(missing[0]) % 24}:00: expected a trace of a whole day at least"
        )
    rates = np.bincount(bins, counts, hours) / per_bin_s
    return RateTable(factors=tuple(rates / rates.mean()), begins="monday" if weekly else "midnight")


def checked_table(factors: list[float], step_s: float, begins: str, origin: str) -> RateTable:
    """A table whose numbers come from a file. Raises InputError naming the file."""
    try:
        expect_whole(len(factors) * step_s, begins)
        return RateTable.model_validate({"factors": factors, "step_s": step_s, "begins": begins})
    except ValueError as error:
        text = re.sub(r"\s+", " ", str(error).split("Value error, ")[-1].split(" [type=")[0])
        raise InputError(f"{origin}: {text}") from None
