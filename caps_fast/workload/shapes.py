"""Shapes of demand over the week: built in, from a table in a file, or from a request trace.

`office` and `global` are the hourly requests of two services in the Azure LLM inference traces of May 2024 (Azure
Public Dataset, CC BY 4.0; Stojkovic et al., DynamoLLM, HPCA 2025): the mean of Monday to Friday, Saturday and Sunday,
relative to the mean of the week. `office` is the code service on the clock of the US East coast, where its traffic
points (lowest at 4-5 h, highest at 14-16 h; where its users are is not published), 16.8 million requests; `global` the
conversation service in UTC, 27.3 million. `evening` is an assumption, since there is no public trace of a consumer
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
"""Default of t = 0: a Monday, the first day of the built-in grid."""

_DAYS = {  # percent of the mean: Monday to Friday, Saturday, Sunday; hours 0..23
    "office": (
        "51 42 36 31 28 29 31 46 85 146 208 228 216 246 272 278 261 190 138 103 86 82 75 62",
        "39 31 26 19 14 11 9 15 25 36 42 46 50 58 62 63 56 52 56 49 47 51 46 44",
        "38 31 24 15 12 12 13 14 21 27 36 43 46 47 54 56 63 68 61 61 66 67 66 57",
    ),
    "global": (
        "102 110 110 90 91 99 115 123 127 123 112 117 130 145 153 142 130 123 123 116 106 88 79 82",
        "58 62 64 54 52 55 57 62 66 57 63 69 76 77 84 87 82 77 68 65 71 65 57 55",
        "56 59 57 50 47 48 50 57 57 54 56 63 66 82 76 78 74 76 77 71 70 68 63 76",
    ),
    "evening": (
        "90 60 40 30 25 30 40 60 70 80 90 100 110 110 110 110 120 130 150 170 190 190 170 130",
        "99 66 44 33 28 33 44 66 77 88 99 110 121 121 121 121 132 143 165 187 209 209 187 143",
        "99 66 44 33 28 33 44 66 77 88 99 110 121 121 121 121 132 143 165 187 209 209 187 143",
    ),
}


@dataclass(frozen=True)
class Shape:
    """A rate over time that repeats: `factors`, float64 (n,), mean 1, each holds for `step_s`; t = 0 lies `phase_s`
    after the first one begins.
    """

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
    weekday, saturday, sunday = ([int(percent) / 100 for percent in day.split()] for day in _DAYS[name])
    return RateTable(factors=(*weekday * 5, *saturday, *sunday))


def shape_of(demand: Demand, table: RateTable | None, start: datetime | None) -> Shape:
    """A table aligned with the calendar. Raises InputError for an invalid time zone.

    `start` is the date and time of t = 0; None: Monday 00:00 UTC, in a week of August for zones with summer time. The
    zone's offset at t = 0 holds for the whole run. The built-in shape `global` is always in UTC.
    """
    check_zone(demand.profile_zone, "workload.profile_zone")
    if table is None:
        return FLAT
    factors = np.array(table.factors)
    local = local_time(start or BUILT_IN_WEEK, None if demand.rate_profile == "global" else demand.profile_zone)
    midnight = datetime(local.year, local.month, local.day)
    monday = midnight - timedelta(days=midnight.weekday())
    begins = {"start": local, "midnight": midnight, "monday": monday}[table.begins]
    return Shape(factors / factors.mean(), table.step_s, (local - begins).total_seconds())


def local_time(at: datetime, zone: str | None) -> datetime:
    """The clock of a time zone at an instant, without its zone."""
    series = pl.Series([at.astimezone(UTC).replace(tzinfo=None)]).dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    found: datetime = series.dt.convert_time_zone(zone or "UTC").dt.replace_time_zone(None)[0]
    return found


def hourly(arrivals_s: Array, span_s: float, first: datetime | None, zone: str | None, origin: str) -> RateTable:
    """Mean rate by hour of the week of a trace of seven days or more, or by hour of the day of a shorter one.

    `arrivals_s`, float64 (n,), are seconds from `first`, a date; None: Monday 00:00. Hours that the trace covers in
    part count by that part. Raises InputError if some hour of the day is not covered.
    """
    local = local_time(first or BUILT_IN_WEEK, zone)
    weekly = span_s >= WEEK_S - 3600.0
    hours = 168 if weekly else 24
    midnight = datetime(local.year, local.month, local.day)
    offset_s = (local - midnight).total_seconds() + (local.weekday() * DAY_S if weekly else 0.0)
    last = int((offset_s + span_s) // 3600)
    counts = np.bincount(((offset_s + arrivals_s) // 3600).astype(np.int64), minlength=last + 1)
    edges_s = np.clip(np.arange(last + 2) * 3600.0, offset_s, offset_s + span_s)
    covered_s = np.diff(edges_s)
    bins = np.arange(last + 1) % hours
    per_bin_s = np.bincount(bins, covered_s, hours)
    missing = np.flatnonzero(per_bin_s < 1.0)
    if len(missing):
        raise InputError(
            f"{origin}: spans {span_s / 3600:.3g} h and does not cover {len(missing)} hours of the "
            f"{'week' if weekly else 'day'}, the first at {int(missing[0]) % 24}:00: expected a trace of a "
            "day or more"
        )
    rates = np.bincount(bins, counts, hours) / per_bin_s
    return RateTable(factors=tuple(rates / rates.mean()), begins="monday" if weekly else "midnight")


def checked_table(factors: list[float], step_s: float, begins: str, origin: str) -> RateTable:
    """A table whose numbers come from a file. Raises InputError naming the file."""
    if not any(factors):
        raise InputError(f"{origin}: all rates are 0: expected at least one above 0")
    try:
        expect_whole(len(factors) * step_s, begins)
        return RateTable.model_validate({"factors": factors, "step_s": step_s, "begins": begins})
    except ValueError as error:
        text = re.sub(r"\s+", " ", str(error).split("Value error, ")[-1].split(" [type=")[0])
        raise InputError(f"{origin}: {text}") from None
