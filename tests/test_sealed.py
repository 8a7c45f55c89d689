"""Results carry a digest: what was damaged is refused, or computed anew."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from caps_fast.errors import InputError
from caps_fast.sealed import read_sealed, sealed
from caps_fast.sweep import read, sweep
from tiny_sweeps import SERIAL, content, plan_of

FRAME = pl.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]})


def test_a_sealed_file_is_parquet_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(sealed(FRAME))
    assert pl.read_parquet(path).equals(FRAME)
    arrow = pytest.importorskip("pyarrow.parquet")
    assert arrow.read_table(path).num_rows == 2
    assert read_sealed(path, required=True).equals(FRAME)


def test_every_flipped_bit_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    whole = sealed(FRAME)
    for at in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"x\.parquet: cannot be read"):
            read_sealed(path, required=True)


def test_a_table_of_others_needs_no_digest(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "x.parquet")
    assert read_sealed(tmp_path / "x.parquet").equals(FRAME)
    with pytest.raises(InputError, match="it has no digest"):
        read_sealed(tmp_path / "x.parquet", required=True)


def test_damaged_results_are_computed_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sweep(plan_of("4", seeds=1), tmp_path, SERIAL)
    whole = content(tmp_path)
    chance = random.Random(0)
    for _ in range(10):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (tmp_path / "runs.parquet").write_bytes(damaged)
        sweep(plan_of("4", seeds=1), tmp_path, SERIAL)
        assert content(tmp_path) == whole
        said = caplog.text
        caplog.clear()
        assert "put aside, its runs are computed again" in said
    (tmp_path / "runs.parquet").write_bytes(whole[:100] + b"\xff" + whole[101:])
    with pytest.raises(InputError, match="digest differs"):
        read(tmp_path)
