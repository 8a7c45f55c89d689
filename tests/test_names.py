"""Names are names: what would be a pattern, a home or a URL to a library is the file of that very name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from caps_fast.errors import InputError
from caps_fast.files import whole
from caps_fast.profiles.measurements import read_measurements
from caps_fast.report.folder import read_folder
from caps_fast.sweep import read, sweep
from caps_fast.sweep.drive import local_folder
from caps_fast.traces import read_requests
from tiny_sweeps import SERIAL, content, plan_of

ODD = ("t[1]", "t*", "t?", "[!a]", "{a,b}", "~", "~root", "$HOME", "a b%20", "s3:", "**", "]t[", "#;&|'\"")
DECOYS = ("t1", "ta", "a", "b", "t")


def as_csv(frame: pl.DataFrame, path: Path) -> None:
    path.write_text(frame.write_csv())


def as_jsonl(frame: pl.DataFrame, path: Path) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in frame.to_dicts()))


def as_parquet(frame: pl.DataFrame, path: Path) -> None:
    with path.open("wb") as stream:
        frame.write_parquet(stream)


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet])
@pytest.mark.parametrize("odd", ODD)
def test_a_trace_of_an_odd_name_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[pl.DataFrame, Path], None], odd: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, tokens in ((odd, 7), *((decoy, 9) for decoy in DECOYS)):
        Path(name).mkdir()
        frame = pl.DataFrame({"arrival_s": [0.0], "input_tokens": [tokens], "output_tokens": [1]})
        write(frame, Path(name, "trace"))
        write(frame, Path(f"{name}.trace"))
    for path in (f"{odd}.trace", f"{odd}/trace"):
        assert read_requests(path).frame["input_tokens"].to_list() == [7]


@pytest.mark.parametrize("odd", ODD)
def test_measurements_of_an_odd_name_are_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name, step_s in ((odd, 1), *((decoy, 2) for decoy in DECOYS)):
        Path(f"{name}.csv").write_text(f"batch,step_s\n1,{step_s}\n")
    assert read_measurements(f"{odd}.csv", {}).frame["step_s"].to_list() == [1.0]


@pytest.mark.parametrize("odd", ODD)
def test_a_sweep_into_a_folder_of_an_odd_name_keeps_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep(plan_of("4", seeds=1), "t1", SERIAL)
    runs = sweep(plan_of(), odd, SERIAL).runs
    before = content(Path(odd))
    assert sweep(plan_of(), odd, SERIAL).runs.equals(runs)
    assert content(Path(odd)) == before
    assert read(odd).equals(runs)
    assert read(f"{odd}/runs.parquet").equals(runs)
    assert read_folder(odd).runs.height == runs.height
    assert not list(tmp_path.rglob("*.unreadable"))


def test_what_is_written_goes_to_the_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~").mkdir()
    for name in ("~/x[1].parquet", "~x*.parquet"):
        with whole(Path(name)) as beside:
            pl.DataFrame({"a": [1]}).write_parquet(os.fspath(beside))
        assert Path(tmp_path, name).is_file()


@pytest.mark.parametrize(
    "url", ["s3://../../x", "s3://bucket/../../x", "file://./x", "s3://bucket//x", "s3://", "http://x/y"]
)
def test_a_store_s_url_leads_nowhere_else(url: str) -> None:
    with pytest.raises(InputError, match="expected a folder, or a bucket and a path"):
        local_folder(url)
