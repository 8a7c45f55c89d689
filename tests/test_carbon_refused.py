"""Bad carbon files: one clear line, never a traceback."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import zstandard

from caps_fast.carbon.formats import read_carbon
from caps_fast.carbon.frame import SCHEMA, fill_gaps
from caps_fast.errors import InputError

START = datetime(2024, 8, 5, tzinfo=UTC)
COMMON = pl.DataFrame(
    [("X", None, START + timedelta(hours=hour), 200.0 + hour, "average", "direct") for hour in range(30)],
    schema=SCHEMA,
    orient="row",
)


def refusal(path: Path, **options: str | None) -> str:
    with pytest.raises(InputError) as caught:
        read_carbon(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


BAD = {
    "": "empty; expected carbon data",
    "time,value\n": "no rows after the header",
    "a,b\n1,2\n": "no value column among a, b",
    "a,value\n1,2\n": "no time column among a, value",
    "time,a\n2024-01-01,2\n": "no value column among time, a",
    "time,value\n2024-01-01,2\n2024-01-02\n": "row 3 has 1 cells; expected 2",
    "time,value,value\n2024-01-01,2,2\n": "column 'value' appears twice",
    "time,value\n2024-01-01,nan\n": "row 2, value: 'nan'; expected a finite number",
    "time,value\n2024-01-01,1\n2024-01-02,-3\n": "row 3, value: '-3'; expected a number of at least 0",
    "time,value\n2024-01-01,ten\n": "row 2, value: 'ten'; expected a number",
    "time,value\n2024-01-01,1e300\n": "expected at most 5000 g/kWh",
    "time,value\n12,2024-01-01\n": "row 2, time: '12'; expected a time",
    "time,value\n2024-13-01,5\n": "row 2, time: '2024-13-01'; expected a time",
    "time,value\n2024-01-01,1\ntime,value\n": "row 3, time: 'time'; expected a time",
    "time,value\n2024-01-01,1\n2024-01-02,1\n2024-01-01,2\n": (
        "row 4: time 2024-01-01 00:00:00 UTC was in row 2 already"
    ),
    "time,value\n2024-01-01,\n": "every value is missing",
    '{"zone": "DE", "history": [{"datetime"': "not JSON or truncated",
    '{"some": 1}': "JSON in no known carbon format",
    '{"zone": "DE", "history": [{"datetime": "2024-01-01T00:00Z", "carbonIntensity": '
    "true}]}": "row 1, value: 'True'; expected a number",
    '{"zone": "DE", "history": [{"carbonIntensity": 2}]}': "row 1, time: None; expected a time",
    '{"zone": "\\ud800", "history": []}': r"zone '\ud800'; expected a name",
    '{"zone": "DE", "history": [{"datetime": "\\ud800"}]}': r"row 1, time: '\ud800'; expected a time",
    '{"zone": "DE", "history": [{"emissionFactorType": [5]}]}': (
        "row 1, emissionFactorType: [5]; expected direct or lifecycle"
    ),
    '{"zone": "DE", "history": [{"datetime": "2024-01-01T00:00Z", "carbonIntensity": '
    + 5001 * "1"
    + "}]}": "row 1, value: inf; expected a finite",
    '{"meta": {"signal_type": {}}, "data": []}': "signal_type {}; expected co2_moer or co2_aoer",
    "time,value\n2024-01-01,2\n-0001-01-01,2\n": "row 3, time: year -1; expected one from 1900 to 2200",
    "time,value\n2024-01-01T00:00+99:99,2\n": "row 2, time: '2024-01-01T00:00+99:99'; expected a time",
    "time,value\n2024-01-01T00:00-05:60,2\n": "row 2, time: '2024-01-01T00:00-05:60'; expected a time",
}


@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_bad_files_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "carbon").write_text(text)
    assert message in refusal(tmp_path / "carbon", unit="g/kWh" if text[:1] != "{" else None)


def test_every_frame_of_a_compressed_file_is_read_and_what_follows_is_refused(tmp_path: Path) -> None:
    COMMON.write_csv(tmp_path / "carbon.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    raw = (tmp_path / "carbon.csv").read_bytes()
    packed = zstandard.compress(raw[:200]) + zstandard.compress(raw[200:])
    path = tmp_path / "carbon.zst"
    path.write_bytes(packed)
    assert read_carbon(path).equals(COMMON)
    for damaged, message in (
        (packed + b"more", "damaged Zstandard data"),
        (packed[:-9], "Zstandard data is truncated"),
    ):
        path.write_bytes(damaged)
        assert message in refusal(path)


def test_parquet_with_a_flipped_bit_is_refused_or_read(tmp_path: Path) -> None:
    path, told = tmp_path / "carbon.parquet", []
    COMMON.write_parquet(path, compression="uncompressed")
    raw = path.read_bytes()
    for bit in random.Random(1).sample(range(8 * len(raw)), 1000):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert dict(read_carbon(path).schema) == SCHEMA
        except InputError as error:
            told.append(str(error))
    assert told
    assert not any("\n" in line for line in told)


@pytest.mark.parametrize("column", SCHEMA)
@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_parquet_with_a_nested_column_is_refused_by_its_name(tmp_path: Path, column: str, value: object) -> None:
    COMMON.with_columns(pl.Series(column, [value] * len(COMMON))).write_parquet(tmp_path / "carbon.parquet")
    assert f"column {column} is of type" in refusal(tmp_path / "carbon.parquet")


def test_parquet_with_a_year_that_python_does_not_know(tmp_path: Path) -> None:
    COMMON.with_columns(issued_at=pl.lit(-(10**17)).cast(pl.Datetime("us", "UTC"))).write_parquet(
        tmp_path / "carbon.parquet"
    )
    assert "row 2, issued_at: year -1199; expected one from 1900 to 2200" in refusal(tmp_path / "carbon.parquet")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == f"{tmp_path / 'pipe'}: not a regular file; expected a carbon file"
    assert "Is a directory" in refusal(tmp_path)


def test_a_gap_of_a_century_is_not_filled() -> None:
    times = pl.Series([START, START + timedelta(minutes=1), START + timedelta(days=36525)])
    frame = COMMON.head(3).with_columns(times.cast(SCHEMA["valid_at"]).alias("valid_at"))
    with pytest.raises(
        InputError,
        match="52,595,998 of them from 2024-08-05 00:01 to 2124-08-06 00:00 UTC at a step of 0:01:00; expected at most",
    ):
        fill_gaps(frame, "carbon.csv", "previous")
