"""Layouts of carbon files: each is read to the same instants and intensities as the ones it was written from, or
refused with what settles it.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caps_fast.carbon.declared import Declared
from caps_fast.carbon.formats import read_carbon, read_with_notes
from caps_fast.errors import InputError
from caps_fast.words import unit_of
from carbon_layouts import HOURS, LAYOUTS, TIMES, G

lenient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, text: str) -> Path:
    (folder / "carbon.dat").write_text(text, encoding="utf-8")
    return folder / "carbon.dat"


def assert_as_written(frame: pl.DataFrame, kind: str, scope: str) -> None:
    seen = frame.filter(pl.col("issued_at").is_null())
    assert seen["valid_at"].to_list() == TIMES
    assert seen["g_per_kwh"].to_list() == pytest.approx(G, rel=1e-9)
    assert seen["g_per_kwh"].mean() == pytest.approx(sum(G) / HOURS)
    assert (seen["kind"] == kind).all()
    assert (seen["scope"] == scope).all()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    text, options, kind, scope = LAYOUTS[name]
    assert_as_written(read_carbon(write(tmp_path, text), **options), kind, scope)


NEAR = {  # text, what is said
    "a price": ("time,unit rate (GBp/kWh)\n2024-08-05,15\n", "no value column among time, unit rate (GBp/kWh)"),
    "loads": ("time,Forecasted Load,Actual Load\n2024-08-05 00:00,790,800\n", "none is a carbon intensity"),
    "an energy": ("time,generation_mwh\n2024-08-05,3\n", "none is a carbon intensity"),
    "emissions, no intensity": ("time,CO2 emissions (t)\n2024-08-05,3\n", "none is a carbon intensity"),
    "another gas": ("time,NOx lb/MWh\n2024-08-05,3\n", "none is a carbon intensity"),
    "tons of which kind": ("time,carbon intensity (tons/MWh)\n2024-08-05,0.3\n", "none is a carbon intensity"),
    "a share": ("time,Carbon-free energy percentage (CFE%)\n2024-08-05,3\n", "none is a carbon intensity"),
    "forecast and actual of nothing": ("datetime,forecast,actual\n2024-08-05,3,4\n", "none is a carbon intensity"),
    "local time": (
        "Local time,gCO2/kWh\n2024-08-05 01:00,3\n",
        "is in local time; expected carbon.time_zone (--carbon-time-zone)",
    ),
    "an odd zone in the name": (
        "Time (UTC+5:30),gCO2/kWh\n2024-08-05 01:00,3\n",
        "is in local time; expected carbon.time_zone",
    ),
    "pacific time": ("Time (PST),gCO2/kWh\n2024-08-05 01:00,3\n", "expected carbon.time_zone (--carbon-time-zone)"),
    "zones that nobody knows": (
        "time,tz,gCO2/kWh\n2024-08-05 01:00,Mars,3\n",
        "column tz says 'Mars'; expected carbon.time_zone",
    ),
    "two times": (
        "time,measured_at,gCO2/kWh\n2024-08-05 01:00,2024-08-05 02:00,3\n",
        "could each be the time; expected time=NAME",
    ),
    "written early": (
        "time,created_at,gCO2/kWh\n2024-08-05 01:00,2024-08-04 01:00,3\n",
        "is of a later time than its created_at, as forecasts are",
    ),
    "two values": (
        "time,a gCO2/kWh,b gCO2/kWh\n2024-08-05 01:00,3,4\n",
        "could each be the value; expected value=NAME in carbon.columns",
    ),
    "a forecast alone": (
        "time,carbon_intensity_forecast_g_per_kwh\n2024-08-05 01:00,3\n",
        "is a forecast without an issue time",
    ),
    "two units": (
        "time,g_per_kwh,unit\n2024-08-05 01:00,3,kg/kWh\n",
        "column unit says kg/kWh, column g_per_kwh g/kWh",
    ),
    "ends that are none": (
        "start,end,gCO2/kWh\n2024-08-05 01:00,2024-08-05 03:00,3\n2024-08-05 02:00,2024-08-05 03:00,3\n",
        "the interval is 2:00:00 long",
    ),
    "day or month": (
        "time,g_per_kwh\n05/08/2024 01:00,3\n",
        "may be day first or month first; expected carbon.time_format",
    ),
    "hours of which edge": (
        "date,hour,g_per_kwh\n2024-08-05,3,4\n2024-08-05,4,4\n",
        "do they begin or end there? expected carbon.interval",
    ),
    "an unknown scope": (
        "time,carbonIntensity,emissionFactorType\n2024-08-05,3,indirect\n",
        "row 2, emissionFactorType: 'indirect'",
    ),
    "a unit of money": (
        '[{"zone": "DE", "carbonIntensity": 3, "datetime": "2024-08-05T00:00Z", "unit": "EUR/MWh"}]',
        "unit 'EUR/MWh'; expected gCO2eq/kWh",
    ),
}


@pytest.mark.parametrize("name", NEAR)
def test_what_nobody_can_know_is_refused_with_what_settles_it(tmp_path: Path, name: str) -> None:
    text, wanted = NEAR[name]
    with pytest.raises(InputError) as caught:
        read_carbon(write(tmp_path, text))
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"interval": "middle"}, "interval 'middle': expected one of start, end"),
        ({"time_zone": "Mars/Base"}, "time_zone 'Mars/Base': expected a time zone like"),
        ({"columns": {"when": "time"}}, "columns 'when': expected one of time, value, zone, issued_at"),
        ({"columns": {"time": "when"}}, "no column 'when' for time"),
        ({"time_format": "%Q"}, "expected a time in the format %Q"),
        ({"unit": "kg/kWh"}, "is in g/kWh; expected that unit"),
    ],
)
def test_what_is_declared_wrongly_is_told(tmp_path: Path, options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(InputError, match=re.escape(wanted)):
        read_carbon(write(tmp_path, "time,g_per_kwh\n2024-08-05,3\n"), **options)


def notes(folder: Path, text: str, **options: Any) -> str:
    return " | ".join(read_with_notes(write(folder, text), None, Declared(**options)).warnings)


def test_what_is_assumed_and_what_is_hardly_plausible_is_said(tmp_path: Path) -> None:
    assert "taken as UTC" in notes(tmp_path, "time,g_per_kwh\n2024-08-05,3\n")
    assert "1 of 2 samples are estimated" in notes(
        tmp_path, "time,g_per_kwh,estimated\n2024-08-05,3,true\n2024-08-06,3,false\n"
    )
    assert "no intensity reaches 5 g/kWh in 365 days" in notes(
        tmp_path, "time,g_per_kwh\n2023-01-01T00:00Z,0.3\n2024-01-01T00:00Z,0.4\n"
    )
    assert "dated in the future, up to 2150-01-01" in notes(tmp_path, "time,g_per_kwh\n2150-01-01T00:00Z,30\n")
    assert "2024080500 read as YmdH" in notes(tmp_path, "time,g_per_kwh\n2024080500,30\n")
    assert notes(tmp_path, "time,g_per_kwh\n2024-01-01T00:00Z,30\n") == ""


@pytest.mark.parametrize(
    ("name", "unit"),
    [("gCO₂eq/kWh", "g/kWh"), ("kgCO2_per_MWh", "kg/MWh"), ("mTCO2/MWh", "t/MWh"), ("metric tons CO2 per MWh", "t/MWh")]
    + [("CO2 Emissions Intensity (lbs/kWh)", "lb/kWh"), ("pounds per MWh", "lb/MWh"), ("gCO2 kWh-1", "g/kWh")]
    + [
        (name, None)
        for name in (
            "GBp/kWh",
            "EUR/MWh",
            "MWh",
            "g/h",
            "tons/MWh",
            "carbon price (EUR/tCO2)",
            "SO2 kg/MWh",
            "gas_kwh",
            "p/kWh",
        )
    ],
)
def test_units_are_told_by_whole_words(name: str, unit: str | None) -> None:
    assert unit_of(name) == unit


# --- columns permuted, renamed and added: the answer stays, or the file is refused ------------------------------------

EXTRA = (
    "load_mw",
    "price EUR/MWh",
    "timezone",
    "measured_at",
    "Zone name",
    "index",
    "estimated",
    "kind",
    "scope",
    "unit",
    "issued_at",
    "note",
)
EXTRA += (
    "actual",
    "forecast",
    "carbon_intensity",
    "value",
    "end",
    "MOER lbs/MWh",
    "region",
    "hour",
    "updatedAt",
    "NOx lb/MWh",
    "intensity (%)",
    "utc",
)
CELLS = ("", "3", "true", "UTC", "DE", "average", "direct", "2024-08-05T00:00:00Z", "g/kWh", "0.5", "America/New_York")
TABLES = [name for name, (text, *_) in LAYOUTS.items() if text[0] not in "[{" and "told" not in name]


@lenient
@given(name=st.sampled_from(TABLES), seed=st.integers(0, 10**6))
def test_permuted_columns_change_nothing(tmp_path: Path, name: str, seed: int) -> None:
    text, options, kind, scope = LAYOUTS[name]
    separator = max(",;\t", key=text.partition("\n")[0].count)
    lines = [line.split(separator) for line in text.splitlines()]
    order = random.Random(seed).sample(range(len(lines[0])), len(lines[0]))
    shuffled = "\n".join(separator.join(line[at] for at in order) for line in lines)
    assert_as_written(read_carbon(write(tmp_path, shuffled), **options), kind, scope)


@lenient
@given(name=st.sampled_from(TABLES), extra=st.sampled_from(EXTRA), cell=st.sampled_from(CELLS), front=st.booleans())
def test_a_column_more_changes_nothing_that_it_does_not_say(
    tmp_path: Path, name: str, extra: str, cell: str, front: bool
) -> None:
    text, options, kind, scope = LAYOUTS[name]
    separator = max(",;\t", key=text.partition("\n")[0].count)
    lines = text.splitlines()
    added = [extra] + [cell] * (len(lines) - 1)
    wider = "\n".join(
        separator.join((new, line) if front else (line, new)) for line, new in zip(lines, added, strict=True)
    )
    try:
        frame = read_carbon(write(tmp_path, wider), **options)
    except InputError:
        return
    if extra == "timezone" and cell == "America/New_York":
        return  # it says something else of times without an offset
    if (extra, cell) in {("kind", "average"), ("scope", "direct")}:
        kind, scope = (cell if extra == "kind" else kind), (cell if extra == "scope" else scope)
    if extra == "issued_at" and cell:
        assert frame["issued_at"].null_count() == 0
        return
    seen = frame.filter((pl.col("kind") == kind) & ((pl.col("scope") == scope) | (extra == "MOER lbs/MWh")))
    assert_as_written(seen, kind, scope)


@lenient
@given(name=st.sampled_from(TABLES), at=st.integers(0, 9), new=st.sampled_from(("x", "column 7", "Wert", "foo_bar")))
def test_a_renamed_column_is_refused_or_changes_nothing(tmp_path: Path, name: str, at: int, new: str) -> None:
    text, options, *_ = LAYOUTS[name]
    header, _, body = text.partition("\n")
    separator = max(",;\t", key=header.count)
    names = header.split(separator)
    if any(word in names[at % len(names)].lower() for word in ("end", "utc-7")):
        return  # nothing else says that its times are ends, or where they are local
    names[at % len(names)] = new
    try:
        frame = read_carbon(write(tmp_path, separator.join(names) + "\n" + body), **options)
    except InputError:
        return
    seen = frame.filter(pl.col("issued_at").is_null())
    assert seen["g_per_kwh"].to_list() == pytest.approx(G, rel=1e-9)
    assert seen["valid_at"].to_list() == TIMES
