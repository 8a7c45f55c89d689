"""`inspect`: what it says of traces and carbon files, in text, JSON and pictures."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from caps_fast import cli
from caps_fast.cli.inspect import parse_columns, register
from caps_fast.errors import InputError
from caps_fast.files import whole
from caps_fast.traces import read_requests
from caps_fast.traces.describe import describe, rate_over_time

SHARED = Path(__file__).parents[2] / "shared" / "data"
real = pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not at hand")


def run(*arguments: object) -> str:
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["inspect", *(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def write_trace(folder: Path, **columns: object) -> Path:
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.exponential(2.0, 1000)) - 1.0
    arrivals[500:] += 600.0
    lengths = np.resize([10, 255, 256, 2047, 2048], 1000)
    frame = pl.DataFrame(
        {
            "arrival_s": arrivals,
            "input_tokens": lengths,
            "output_tokens": np.resize([5, 100, 100, 100], 1000),
            **columns,
        }
    )
    frame.write_csv(folder / "trace.csv")
    return folder / "trace.csv"


def write_carbon(folder: Path, hours: int = 96, dropped: tuple[int, ...] = ()) -> Path:
    start = pl.datetime(2024, 8, 5, time_zone="UTC")
    frame = pl.select(at=start + pl.duration(hours=pl.int_range(hours))).with_columns(
        g=200 + 10 * pl.col("at").dt.hour().cast(pl.Int32)
    )
    frame = frame.with_row_index().filter(~pl.col("index").is_in(dropped)).drop("index")
    frame.select(time=pl.col("at").dt.to_string("iso:strict"), carbon_intensity="g").write_csv(folder / "carbon.csv")
    return folder / "carbon.csv"


def test_a_trace_is_described(tmp_path):
    tiers = {
        "tier": np.resize(["gold", "silver", "bronze", "bronze"], 1000),
        "tenant": np.resize(["a", "b"], 1000),
        "turns": np.resize([1, 3], 1000),
    }
    told = json.loads(run(write_trace(tmp_path, **tiers), "--json"))
    assert told["kind"] == "requests"
    assert told["requests"] == 1000
    assert told["categories"] == {"short": 0.4, "long": 0.4, "agentic": 0.2}
    assert told["tiers"] == {"bronze": 0.5, "gold": 0.25, "silver": 0.25}
    assert told["tenants"] == 2
    assert told["turns"]["mean"] == 2
    assert told["output_tokens"] == {"mean": 76.25, "p50": 100, "p95": 100, "max": 100}
    assert told["gaps"]["count"] == 1
    assert told["gaps"]["longest_s"] == pytest.approx(600, abs=20)
    assert "75% of requests have exactly the longest output, 100 tokens: cut off there?" in told["oddities"]


def test_rates_add_up_to_the_requests(tmp_path):
    arrivals = read_requests(write_trace(tmp_path)).frame["arrival_s"].to_numpy()
    starts_s, rates, width_s = rate_over_time(arrivals)
    assert len(starts_s) <= 97
    assert rates[:-1].sum() * width_s == pytest.approx((arrivals < starts_s[-1]).sum())
    assert rates[-1] * (arrivals[-1] - starts_s[-1]) == pytest.approx((arrivals >= starts_s[-1]).sum())


@pytest.mark.parametrize("times", [[0.0], [3.0, 3.0, 3.0], [0.0, 1e-3], [0.0, 86400.0 * 3000]])
def test_odd_little_traces_can_be_described_and_drawn(tmp_path, times):
    pl.DataFrame({"arrival_s": times, "input_tokens": 7, "output_tokens": 1}).write_csv(tmp_path / "t.csv")
    json.dumps(describe(read_requests(tmp_path / "t.csv")), allow_nan=False)
    assert "requests" in run(tmp_path / "t.csv", "--picture", tmp_path / "t.svg")
    assert (tmp_path / "t.svg").read_text().startswith("<?xml")


def test_bursts_are_an_oddity(tmp_path):
    pl.DataFrame(
        {"timestamp": [0, 0, 0, 3000, 3000, 6000, 6000], "input_length": 5, "output_length": 2, "hash_ids": "[]"}
    ).write_csv(tmp_path / "t.csv")
    text = run(tmp_path / "t.csv")
    assert "format mooncake" in text
    assert "distinct times are 3 s apart" in text


def test_a_column_map_and_a_picture(tmp_path):
    pl.DataFrame({"t": [0, 1000, 2500], "p": [5, 6, 7], "g": [1, 2, 3]}).write_csv(tmp_path / "t.csv")
    picture = tmp_path / "t.png"
    text = run(
        tmp_path / "t.csv",
        "--columns",
        "time=t,input_tokens=p,output_tokens=g",
        "--time-unit",
        "ms",
        "--picture",
        picture,
    )
    assert "span           2.5 s" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="--columns: 'time': expected NAME=VALUE"):
        parse_columns("time")


def test_carbon_is_described(tmp_path):
    path = write_carbon(tmp_path, dropped=(30, 31, 60))
    told = json.loads(run(path, "--unit", "g/kWh", "--json"))
    series = told["series"][0]
    assert series["step_s"] == 3600
    assert series["gaps"]["count"] == 2
    assert series["gaps"]["missing"] == 3
    assert series["gaps"]["longest"]["missing"] == 2
    assert series["hour_of_day_utc"] == [200 + 10 * hour for hour in range(24)]
    assert series["g_per_kwh"]["min"] == 200
    text = run(path, "--unit", "g/kWh", "--picture", tmp_path / "c.png")
    assert "2, 3 samples missing" in text
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@real
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "requests/AzureLLMInferenceTrace_conv.csv",
            ["format azure", "19,366", "58 min 22 s", "mean 5.53/s", "p50 1,020", "short 13.4%"],
        ),
        (
            "carbon/US-CAL-CISO_2024_hourly.csv",
            ["zone US-CAL-CISO: observed, average, scope direct", "scope lifecycle", "8,784 every 1 h"],
        ),
        ("carbon/CISO_carboncast_lifecycle_2021H2.csv", ["forecast, average, scope lifecycle", "181 times"]),
    ],
)
def test_real_files(tmp_path, name, wanted):
    text = run(SHARED / name, "--picture", tmp_path / "p.png")
    for part in wanted:
        assert part in text
    assert (tmp_path / "p.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("content", "options", "wanted"),
    [
        ("a,b\n1,2\n", (), "not a request trace by its columns (caps-fast, azure"),
        ("", (), "as a carbon file"),
        ("a,b\n1,2\n", ("--as", "requests"), "columns a, b: expected those of caps-fast"),
        ("a,b\n1,2\n", ("--time-unit", "s", "--zone", "DE"), "expected one sort"),
        ("arrival_s,input_tokens,output_tokens\n0,1,x\n", (), "row 1: output_tokens 'x'"),
        ("arrival_s,input_tokens,output_tokens\n0,1,1\n", ("--picture", "out.txt"), "expected a name ending in .png"),
    ],
)
def test_refusals(tmp_path, content, options, wanted):
    (tmp_path / "f.csv").write_text(content)
    with pytest.raises(InputError) as caught:
        run(tmp_path / "f.csv", *options)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_goes_to_a_regular_file_or_where_a_link_leads(tmp_path):
    trace, picture = write_trace(tmp_path), tmp_path / "picture.png"
    picture.symlink_to(tmp_path / "real.png")
    run(trace, "--picture", picture)
    assert picture.is_symlink()
    assert (tmp_path / "real.png").read_bytes().startswith(b"\x89PNG")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: not a regular file; expected a file to write"):
        run(trace, "--picture", tmp_path / "pipe.png")
    assert (tmp_path / "pipe.png").is_fifo()


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_folder_is_no_file_to_write(path):
    with pytest.raises(InputError, match="not a regular file; expected a file to write"), whole(Path(path)):
        raise AssertionError


def test_a_full_disk_is_told_alike_whoever_finds_it(tmp_path):
    for error in (OSError(28, os.strerror(28)), pl.exceptions.ComputeError("No space left on device (os error 28)")):
        with (
            pytest.raises(InputError, match=r"f\.parquet: cannot be written \(No space left on device\); expected"),
            whole(tmp_path / "f.parquet"),
        ):
            raise error


def test_a_damaged_row_of_a_trace_is_told_as_such(tmp_path):
    rows = [
        '{"timestamp": 0.5, "input_length": 1, "output_length": 2}',
        '{"timestamp": 0.6, "input_le',
        '{"timestamp": 0.7}',
    ]
    (tmp_path / "trace.jsonl").write_text("\n".join(rows))
    with pytest.raises(
        InputError, match=r"trace\.jsonl: row 2: '\{\"timestamp\": 0\.6, \"input_le' is not JSON or truncated"
    ):
        run(tmp_path / "trace.jsonl")


def test_the_program_exits_with_2_and_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "f.csv").write_text("arrival_s,input_tokens,output_tokens\n0,1,-1\n")
    monkeypatch.setattr(cli, "MODULES", ("inspect", "profiles"))
    monkeypatch.setattr(sys, "argv", ["caps-fast", "inspect", str(tmp_path / "f.csv")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "row 1: output_tokens '-1'" in said.err
