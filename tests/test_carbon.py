"""Carbon files in every format, the traces made of them, and what is refused."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from caps_fast.carbon.formats import read_carbon
from caps_fast.carbon.frame import SCHEMA, fill_gaps, find_gaps
from caps_fast.carbon.trace import carbon_trace
from caps_fast.errors import InputError
from carbon_files import MAPS, NOON, config, write

LB_PER_MWH = 0.45359237

MAPS_NEW = """Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),\
Carbon intensity gCO₂eq/kWh (Life cycle),CFE%
2024-08-05 12:00:00,USA,CAISO,US-CAL-CISO,210.5,290.25,40.1
2024-08-05 13:00:00,USA,CAISO,US-CAL-CISO,205,280,41.9
"""
PLAIN = "time,carbon_intensity\n2024-08-05T14:00:00+02:00,210.5\n2024-08-05T14:05:00+02:00,205\n"
COMMON = """zone,issued_at,valid_at,g_per_kwh,kind,scope
X,,2024-08-05T12:00:00Z,210.5,average,direct
X,2024-08-05T11:00Z,2024-08-05T12:00Z,205,average,direct
"""


def history(**more: Any) -> dict[str, Any]:
    items = [
        {
            "datetime": "2024-08-05T12:00:00.000Z",
            "carbonIntensity": 210.5,
            "emissionFactorType": "direct",
            "isEstimated": False,
        }
    ]
    return {"zone": "DE", "history": items} | more


FORECAST = {
    "zone": "DE",
    "forecast": [{"datetime": "2024-08-05T12:00:00.000Z", "carbonIntensity": 205}],
    "updatedAt": "2024-08-05T11:30:00.000Z",
}
META = {"region": "CAISO_NORTH", "signal_type": "co2_moer", "units": "lbs_co2_per_mwh"}
WATTTIME = {
    "meta": META,
    "data": [
        {"point_time": "2024-08-05T12:00:00+00:00", "value": 1000.0},
        {"point_time": "2024-08-05T12:05:00+00:00", "value": 0},
    ],
}
UK = {
    "data": [
        {
            "from": "2024-08-05T12:00Z",
            "to": "2024-08-05T12:30Z",
            "intensity": {"forecast": 200, "actual": 210.5, "index": "moderate"},
        },
        {
            "from": "2024-08-05T12:30Z",
            "to": "2024-08-05T13:00Z",
            "intensity": {"forecast": 190, "actual": None, "index": "moderate"},
        },
        {
            "from": "2024-08-05T13:00Z",
            "to": "2024-08-05T13:30Z",
            "intensity": {"forecast": 180, "actual": None, "index": "low"},
        },
    ]
}


def carboncast(days: int, block_hours: int = 96, start: datetime = datetime(2021, 7, 1, tzinfo=UTC)) -> str:
    lines = [",UTC time,actual_carbon_intensity_lifecycle,forecasted_carbon_intensity_lifecycle"]
    for hour in (24 * day + lead for day in range(days) for lead in range(block_hours)):
        lines.append(
            f"{len(lines) - 1},{start + timedelta(hours=hour):%Y-%m-%d %H:%M:%S},{100 + hour % 24},"
            f"{101 + hour % 24 + hour / 1000}"
        )
    return "\n".join(lines) + "\n"


def rows(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    assert dict(frame.schema) == SCHEMA
    return frame.rows()


@pytest.mark.parametrize("text", [MAPS, MAPS_NEW, MAPS.replace("\n", "\r\n"), "\ufeff" + MAPS, MAPS.replace(",", ";")])
def test_electricity_maps_csv_gives_rows_of_both_scopes(tmp_path: Path, text: str) -> None:
    zone = "US-CAL-CISO"
    assert rows(read_carbon(write(tmp_path, text))) == [
        (zone, None, NOON, 210.5, "average", "direct"),
        (zone, None, NOON + timedelta(hours=1), 205.0, "average", "direct"),
        (zone, None, NOON, 290.25, "average", "lifecycle"),
        (zone, None, NOON + timedelta(hours=1), 280.0, "average", "lifecycle"),
    ]


def test_electricity_maps_json_history_and_forecast(tmp_path: Path) -> None:
    issued = datetime(2024, 8, 5, 11, 30, tzinfo=UTC)
    assert rows(read_carbon(write(tmp_path, [history(), FORECAST]))) == [
        ("DE", None, NOON, 210.5, "average", "direct"),
        ("DE", issued, NOON, 205.0, "average", "unknown"),
    ]
    assert read_carbon(write(tmp_path, {"zone": "DE", "data": history()["history"]}))["g_per_kwh"].to_list() == [210.5]
    with pytest.raises(InputError, match="updatedAt None; expected a time"):
        read_carbon(write(tmp_path, {key: value for key, value in FORECAST.items() if key != "updatedAt"}))


def test_watttime_is_marginal_and_in_pounds(tmp_path: Path) -> None:
    frame = read_carbon(write(tmp_path, WATTTIME))
    assert frame["kind"].unique().to_list() == ["marginal"]
    assert frame["g_per_kwh"].to_list() == [1000 * LB_PER_MWH, 0.0]
    assert frame["issued_at"].null_count() == 2
    forecast = WATTTIME | {"meta": META | {"generated_at": "2024-08-05T12:00:00+00:00"}}
    assert read_carbon(write(tmp_path, forecast))["issued_at"].to_list() == [NOON, NOON]
    later = WATTTIME | {"meta": META | {"generated_at": "2024-08-06T12:00:00+00:00"}}
    assert read_carbon(write(tmp_path, later))["issued_at"].null_count() == 2
    with pytest.raises(InputError, match="holds marginal intensity; expected average"):
        carbon_trace(config(write(tmp_path, WATTTIME)), 60.0)
    with pytest.raises(InputError, match="units 'kg'"):
        read_carbon(write(tmp_path, WATTTIME | {"meta": META | {"units": "kg"}}))


def test_uk_forecast_is_never_seen_before_the_first_open_period_ends(tmp_path: Path) -> None:
    frame = read_carbon(write(tmp_path, UK))
    hour = NOON + timedelta(hours=1)
    assert frame.select("issued_at", "valid_at", "g_per_kwh").rows() == [
        (None, NOON, 210.5),
        (hour, NOON + timedelta(minutes=30), 190.0),
        (hour, hour, 180.0),
    ]


def test_carboncast_blocks_are_issued_at_their_first_hour(tmp_path: Path) -> None:
    frame = read_carbon(write(tmp_path, carboncast(3)))
    assert frame.filter(pl.col("issued_at").is_null()).height == 96 + 48
    issues = (
        frame.drop_nulls("issued_at").group_by("issued_at", maintain_order=True).agg(pl.len(), pl.col("valid_at").min())
    )
    assert issues["len"].to_list() == [96, 96, 96]
    assert (issues["issued_at"] == issues["valid_at"]).all()
    with pytest.raises(InputError, match="expected blocks of at most 240"):
        read_carbon(write(tmp_path, carboncast(20, 24)))


def test_plain_files_need_a_unit_and_honour_offsets(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN)
    with pytest.raises(
        InputError,
        match=(
            r"unit of column 'carbon_intensity' is not stated; expected --unit, or --set carbon\.unit=, with one "
            r"of g/kWh, kg/kWh"
        ),
    ):
        read_carbon(path)
    assert rows(read_carbon(path, unit="kg/MWh", zone="DE", scope="direct"))[1] == (
        "DE",
        None,
        NOON + timedelta(minutes=5),
        205.0,
        "average",
        "direct",
    )
    assert read_carbon(path, unit="lb/MWh")["g_per_kwh"].to_list() == [210.5 * LB_PER_MWH, 205 * LB_PER_MWH]
    named = write(tmp_path, "timestamp,lbs_co2_per_mwh\n1722859200,1000\n")
    assert read_carbon(named)["g_per_kwh"].to_list() == [1000 * LB_PER_MWH]
    with pytest.raises(InputError, match=r"is in lb/MWh; expected that unit"):
        read_carbon(named, unit="g/kWh")
    with pytest.raises(InputError, match="could each be the value"):
        read_carbon(write(tmp_path, "time,intensity_avg,intensity_marginal\n2024-01-01,1,2\n"), unit="g/kWh")


def test_common_schema_round_trips_as_csv_and_parquet(tmp_path: Path) -> None:
    frame = read_carbon(write(tmp_path, COMMON))
    assert frame["issued_at"].to_list() == [None, NOON - timedelta(hours=1)]
    frame.write_csv(tmp_path / "a.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    frame.write_parquet(tmp_path / "a.parquet")
    assert read_carbon(tmp_path / "a.csv").equals(frame)
    assert read_carbon(tmp_path / "a.parquet").equals(frame)


def test_compressed_files_read_alike_and_cut_ones_are_refused(tmp_path: Path) -> None:
    raw = MAPS.encode()
    for packed in (gzip.compress(raw), zstandard.compress(raw)):
        assert read_carbon(write(tmp_path, packed)).equals(read_carbon(write(tmp_path, MAPS, "b")))
        with pytest.raises(InputError, match="is truncated"):
            read_carbon(write(tmp_path, packed[:-9]))


TIMES, VALUES = ("time", "Datetime", "valid_at"), ("direct)", "g_per_kwh", "forecasted")
WHOLE = {
    "maps": MAPS,
    "plain": PLAIN.replace("carbon_intensity", "g_per_kwh"),
    "common": COMMON,
    "carboncast": carboncast(2, 30),
}
WHOLE |= {
    name: json.dumps(data)
    for name, data in (("history", history()), ("forecast", FORECAST), ("watttime", WATTTIME), ("uk", UK))
}


def read_or_refuse(folder: Path, raw: bytes) -> pl.DataFrame | None:
    try:
        frame = read_carbon(write(folder, raw))
    except InputError as error:
        return None if "\n" not in str(error) else pytest.fail(f"more than a line: {error}")
    assert dict(frame.schema) == SCHEMA
    assert frame["g_per_kwh"].is_between(0, 5000).all()
    return frame


@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1))
def test_a_cut_file_is_refused_or_right_up_to_its_last_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    raw = WHOLE[name].encode()
    folder = tmp_path_factory.mktemp("cut")
    frame = read_or_refuse(folder, raw[: int(share * len(raw))])
    if frame is not None:
        whole = set(read_carbon(write(folder, raw)).rows())
        assert len(set(frame.rows()) - whole) <= 1  # a last number cut short is still a number


@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 10**6), st.binary(max_size=6), st.integers(0, 6))
def test_damaged_bytes_never_end_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, name: str, at: int, new: bytes, gone: int
) -> None:
    raw = WHOLE[name].encode()
    at %= len(raw)
    read_or_refuse(tmp_path_factory.mktemp("damaged"), raw[:at] + new + raw[at + gone :])


@given(st.sampled_from(["maps", "plain", "common", "carboncast"]), st.data())
def test_reordered_columns_read_alike_and_swapped_names_are_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    cells = [line.split(",") for line in WHOLE[name].splitlines()]
    order = data.draw(st.permutations(range(len(cells[0]))))
    folder = tmp_path_factory.mktemp("columns")
    moved = "\n".join(",".join(row[i] for i in order) for row in cells)
    assert read_carbon(write(folder, moved)).equals(read_carbon(write(folder, WHOLE[name])))
    time, value = (
        next(i for i, column in enumerate(cells[0]) if any(word in column for word in words))
        for words in (TIMES, VALUES)
    )
    cells[0][time], cells[0][value] = cells[0][value], cells[0][time]
    assert read_or_refuse(folder, "\n".join(map(",".join, cells)).encode()) is None


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "cp1252"])
def test_other_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    assert read_or_refuse(tmp_path, MAPS.replace("₂", "²").encode(encoding)) is None


def local_hours(first: str, hours: int, zone: str = "Europe/Berlin") -> list[str]:
    start = pl.Series([first]).str.to_datetime().dt.replace_time_zone("UTC")[0]
    times = pl.Series([start + timedelta(hours=hour) for hour in range(hours)]).dt.convert_time_zone(zone)
    return times.dt.to_string("%Y-%m-%dT%H:%M:%S%:z").to_list()


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("2024-03-30 12:00", "an hour is missing before 2024-03-31 03:00"),
        ("2024-10-26 12:00", "local times repeat an hour"),
    ],
)
def test_clock_changes_are_refused_without_offset_and_right_with_one(tmp_path: Path, first: str, message: str) -> None:
    times = local_hours(first, 48)
    with_offset = write(tmp_path, "time,value\n" + "".join(f"{time},{i}\n" for i, time in enumerate(times)))
    frame = read_carbon(with_offset, unit="g/kWh")
    assert (frame["valid_at"].diff().drop_nulls() == timedelta(hours=1)).all()
    assert frame["g_per_kwh"].to_list() == list(range(48))
    naive = write(tmp_path, "time,value\n" + "".join(f"{time[:19]},{i}\n" for i, time in enumerate(times)))
    with pytest.raises(InputError, match=message):
        read_carbon(naive, unit="g/kWh")


@pytest.mark.parametrize("minutes", [5, 15, 30, 60])
def test_gaps_are_reported_and_filled_only_when_asked(tmp_path: Path, minutes: int) -> None:
    times = [NOON + timedelta(minutes=minutes * i) for i in range(60)]
    kept = [(time, 10.0 * i) for i, time in enumerate(times) if i not in (7, 8, 30)]
    path = write(tmp_path, "time,g_per_kwh\n" + "".join(f"{time:%Y-%m-%dT%H:%M:%SZ},{value}\n" for time, value in kept))
    gaps = find_gaps(read_carbon(path)["valid_at"])
    assert gaps["missing"].to_list() == [2, 1]
    with pytest.raises(InputError, match="3 samples are missing in 2 gaps"):
        carbon_trace(config(path), 60.0)
    linear, previous = (carbon_trace(config(path, fill_gaps=how), 60.0) for how in ("linear", "previous"))
    assert linear.g_per_kwh == pytest.approx(10.0 * np.arange(60))
    assert previous.g_per_kwh[[7, 8, 30]].tolist() == [60.0, 60.0, 290.0]
    assert (previous.times_s == 60.0 * minutes * np.arange(60)).all()
    assert any("3 samples are missing" in line for line in previous.warnings)


def test_an_empty_cell_is_a_gap(tmp_path: Path) -> None:
    frame = read_carbon(
        write(
            tmp_path,
            "time,g_per_kwh\n2024-01-01 00:00,1\n2024-01-01 01:00,\n2024-01-01 02:00,3\n2024-01-01 "
            "03:00,3\n2024-01-01 04:00,3\n",
        )
    )
    assert fill_gaps(frame, "f", "linear").frame["g_per_kwh"].to_list() == [1, 2, 3, 3, 3]


def test_zones_kinds_and_scopes_are_never_mixed(tmp_path: Path) -> None:
    two = write(tmp_path, MAPS + MAPS.split("\n", 1)[1].replace("US-CAL-CISO", "DE"))
    with pytest.raises(InputError, match=r"holds zones DE, US-CAL-CISO; expected carbon\.zone to name one"):
        carbon_trace(config(two), 60.0)
    assert carbon_trace(config(two, zone="DE", scope="direct"), 60.0).g_per_kwh.tolist() == [210.5, 205.0]
    with pytest.raises(InputError, match="zone 'FR' is not among"):
        carbon_trace(config(two, zone="FR"), 60.0)
    plain = carbon_trace(config(write(tmp_path, PLAIN), unit="g/kWh"), 60.0)
    assert plain.scope == "unknown"
    assert any("read as lifecycle" in line for line in plain.warnings)
    with pytest.raises(InputError, match="holds direct intensity; expected lifecycle"):
        carbon_trace(config(write(tmp_path, UK)), 60.0)
