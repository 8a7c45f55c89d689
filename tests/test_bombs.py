"""Files that stand for more than memory or disks hold: refused in one line that names them, in little memory, and
nothing is left behind.
"""

from __future__ import annotations

import gzip
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard

from caps_fast import parquet_check
from caps_fast.carbon import files as carbon_files
from caps_fast.carbon.formats import read_carbon
from caps_fast.choose import make_policy
from caps_fast.documents import read_arrays, read_json
from caps_fast.errors import InputError
from caps_fast.polars_io import MOST_HEADER_BYTES
from caps_fast.predictor.store import load
from caps_fast.profiles.measurements import read_measurements
from caps_fast.scenario import preset
from caps_fast.sealed import read_sealed
from caps_fast.traces import opening, read_requests

WIDE = {
    "commas": "a," * 100_000 + "a\n",
    "a million columns": ",".join(f"c{number}" for number in range(1_000_000)) + "\n1\n",
    "no end": "a" * 2 * MOST_HEADER_BYTES,
}
HEADER = b"arrival_s,input_tokens,output_tokens\n"
MIB = 1 << 20


def zst(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary copies go."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


@pytest.mark.parametrize("pack", [zst, gzip.compress])
def test_a_small_trace_of_much_content(
    tmp_path: Path, room: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "bomb.csv.zst"
    path.write_bytes(pack(HEADER + b"0,1,1\n" * MIB))
    assert read_requests(path).frame.height == MIB
    monkeypatch.setattr(opening, "FREE_BYTES", MIB)
    monkeypatch.setattr(opening, "UNPACKED_A_BYTE", 1)
    with pytest.raises(InputError, match=r"bomb\.csv\.zst: decompresses to more than 1,048,576 bytes"):
        read_requests(path)
    assert list(room.iterdir()) == []


def test_many_frames_count_together(tmp_path: Path, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zst"
    path.write_bytes(zst(HEADER) + zst(b"0,1,1\n" * 100_000) * 5)
    monkeypatch.setattr(opening, "FREE_BYTES", MIB)
    monkeypatch.setattr(opening, "UNPACKED_A_BYTE", 1)
    with pytest.raises(InputError, match="decompresses to more than"):
        read_requests(path)


def test_no_more_than_there_is_room_for(tmp_path: Path, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zst"
    path.write_bytes(zst(HEADER + b"0,1,1\n" * MIB))
    monkeypatch.setattr("shutil.disk_usage", lambda _: os.terminal_size((0, 0)) and type("Usage", (), {"free": MIB})())
    with pytest.raises(InputError, match="decompresses to more than"):
        read_requests(path)


def test_a_full_disk_while_unpacking_names_the_file(
    tmp_path: Path, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(HEADER + b"0,1,1\n"))
    monkeypatch.setattr(opening, "unpack", full)
    with pytest.raises(InputError, match=r"t\.csv\.gz: cannot be unpacked in .*temporary \(No space left on device\)"):
        read_requests(path)


def test_nothing_is_left_of_a_killed_process(tmp_path: Path, room: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(HEADER + b"0,1,1\n"))
    code = """
import os, sys
from caps_fast.traces.opening import plain
with plain(sys.argv[1]) as content:
    print(open(content).read())
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-uc", code, str(path)],
        env={**os.environ, "TMPDIR": str(room)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == -9
    assert done.stdout.startswith("arrival_s")
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("pack", [zst, gzip.compress, bytes])
def test_carbon_files_of_much_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "carbon.csv"
    path.write_bytes(pack(b"datetime,g/kWh\n" + b"2024-01-01,100\n" * MIB))
    monkeypatch.setattr(carbon_files, "MOST_BYTES", MIB)
    with pytest.raises(InputError, match=r"carbon\.csv: .*(more|larger) than 1,048,576 bytes"):
        read_carbon(path)


def test_a_small_carbon_file_unpacks_to_little(tmp_path: Path) -> None:
    path = tmp_path / "carbon.csv.zst"
    path.write_bytes(zst(b"datetime,g/kWh\n" + b"2024-01-01,100\n" * 2 * MIB))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"carbon\.csv\.zst: decompresses to more than 16,777,216 bytes"):
        read_carbon(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 500 * 1024


def test_a_window_of_zstandard_is_bounded(tmp_path: Path) -> None:
    """The largest expansion that the format knows: blocks of one repeated byte."""
    block = (131_071 << 3 | 1 << 1).to_bytes(3, "little") + b"0"
    path = tmp_path / "blocks.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd\x00\x58" + block * 20_000 + b"\x01\x00\x00")
    with pytest.raises(InputError, match="decompresses to more than 16,777,216 bytes"):
        read_carbon(path)


@pytest.mark.parametrize(
    "read",
    [read_requests, read_carbon, lambda path: read_measurements(path, {})],
    ids=["trace", "carbon", "measurements"],
)
@pytest.mark.parametrize("header", WIDE.values(), ids=WIDE)
def test_headers_of_a_million_columns(tmp_path: Path, read: Callable[[Path], object], header: str) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(header)
    start_s = time.monotonic()
    with pytest.raises(InputError, match=r"wide\.csv: ") as refused:
        read(path)
    assert time.monotonic() - start_s < 5
    assert len(str(refused.value)) < 500


def test_lines_of_a_million_keys(tmp_path: Path) -> None:
    path = tmp_path / "wide.jsonl"
    path.write_text("{" + ", ".join(f'"k{number}": 1' for number in range(100_000)) + "}\n")
    with pytest.raises(InputError, match=r"wide\.jsonl: row 1: more than 10,000 keys"):
        read_requests(path)
    path.write_text('{"a": "' + "x" * (1 << 24))
    with pytest.raises(InputError, match=r"wide\.jsonl: row 1: .* is longer than 16,777,216 characters"):
        read_requests(path)


def parquet_of(rows: int) -> bytes:
    buffer = io.BytesIO()
    zeros = pl.zeros(rows, pl.Int32, eager=True)
    pl.DataFrame(
        {"arrival_s": zeros.cast(pl.Float64), "input_tokens": zeros + 1, "output_tokens": zeros + 1}
    ).write_parquet(buffer)
    return buffer.getvalue()


READERS = {"trace": read_requests, "carbon": read_carbon, "results": read_sealed}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_parquet_of_absurd_sizes(
    tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(parquet_of(2_000_000))
    with pytest.raises(InputError, match=r"t\.parquet: .*2,000,000 rows in [\d,]+ bytes: expected at most 1,000,000"):
        read(path)
    path.write_bytes(parquet_of(500_000))
    monkeypatch.setattr(parquet_check, "_FREE_BYTES", 0)
    monkeypatch.setattr(parquet_check, "_UNPACKED_A_BYTE", 0)
    with pytest.raises(InputError, match=r"t\.parquet: .*bytes decompress to [\d,]+: expected at most 0"):
        read(path)
    monkeypatch.setattr(parquet_check, "MOST_COLUMNS", 2)
    with pytest.raises(InputError, match=r"t\.parquet: .*more than 2 columns"):
        read(path)


def test_a_parquet_file_without_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    path.touch()
    with pytest.raises(parquet_check.Damaged, match="the file is empty"):
        parquet_check.check_file(str(path))


def test_models_of_absurd_sizes(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez_compressed(path, header=np.zeros(1 << 27))
    assert path.stat().st_size < 2 * MIB
    with pytest.raises(InputError, match=r"model\.npz: not a model"):
        load(path)


def test_parquet_nested_deep(tmp_path: Path) -> None:
    kind, value = pl.List(pl.Int64), [1]
    for _ in range(10):
        kind, value = pl.List(kind), [value]  # type: ignore[list-item]
    path = tmp_path / "deep.parquet"
    pl.DataFrame({"a": pl.Series([value], dtype=kind)}).write_parquet(path)
    for read in READERS.values():
        with pytest.raises(InputError, match=r"deep\.parquet: .*nested too deep"):
            read(path)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    """Where a file may come from others, or is read more than once."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    model, policy = {"predictor.model": str(path)}, {"policy.name": f"{path}.py"}
    (tmp_path / "pipe.py").symlink_to(path)
    readers: dict[str, Callable[[], object]] = {
        "trace": lambda: read_requests(path),
        "carbon": lambda: read_carbon(path),
        "measurements": lambda: read_measurements(path, {}),
        "results": lambda: read_sealed(path),
        "model": lambda: load(path),
        "hash": lambda: preset("paper").replace(model).hash,
        "policy": lambda: make_policy(preset("paper").replace(policy)),
        "manifest": lambda: read_json(path),
        "checkpoint": lambda: read_arrays(path, 1),
    }
    for name, read in readers.items():
        with pytest.raises((InputError, OSError), match="not a regular file"):
            print(name, read())
