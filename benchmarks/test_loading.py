"""Loading ten million requests: Parquet under 3 s, CSV under 10 s, under 1 GB of memory, each in a fresh process.

Run with `python -m pytest benchmarks/test_loading.py -s`; it needs about 1 GB of temporary disk.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from .measure import PEAK_MEMORY, in_child

REQUESTS = 10_000_000
MEMORY_BYTES = 1e9
MEASURE = """
import json, sys, time
from caps_fast.traces import read_requests
started = time.perf_counter()
frame = read_requests(sys.argv[1]).frame
seconds = time.perf_counter() - started
check = {"rows": len(frame), "last_s": frame["arrival_s"][-1], "tokens": frame["input_tokens"].sum()}
print(json.dumps({"seconds": seconds, "cpu_s": time.process_time(), **check}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[dict[str, Path], pl.DataFrame]:
    """The same trace as Parquet, as CSV with seconds and as CSV with dates."""
    folder = tmp_path_factory.mktemp("loading")
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "arrival_s": np.cumsum(rng.exponential(0.06, REQUESTS)).round(6),
            "input_tokens": rng.integers(8, 8192, REQUESTS, np.int32),
            "output_tokens": rng.integers(1, 1024, REQUESTS, np.int32),
        }
    )
    date = (pl.datetime(2024, 5, 10) + pl.duration(microseconds=(pl.col("arrival_s") * 1e6).round())).dt.strftime(
        "%Y-%m-%d %H:%M:%S%.6f+00:00"
    )
    frame.write_parquet(folder / "t.parquet")
    frame.write_csv(folder / "seconds.csv")
    frame.select(TIMESTAMP=date, ContextTokens="input_tokens", GeneratedTokens="output_tokens").write_csv(
        folder / "dates.csv"
    )
    return {
        "parquet": folder / "t.parquet",
        "csv": folder / "seconds.csv",
        "csv with dates": folder / "dates.csv",
    }, frame


@pytest.mark.parametrize(("kind", "limit_s"), [("parquet", 3), ("csv", 10), ("csv with dates", 10)])
def test_ten_million_requests(files, kind, limit_s):
    paths, frame = files
    said, peak = in_child(MEASURE + PEAK_MEMORY, str(paths[kind])).splitlines()
    measured, peak_bytes = json.loads(said), int(peak)
    print(f"\n{kind}: {measured['seconds']:.2f} s ({measured['cpu_s']:.2f} s of CPU), peak {peak_bytes / 1e6:,.0f} MB")
    assert measured["rows"] == REQUESTS
    assert measured["tokens"] == frame["input_tokens"].sum()
    assert measured["last_s"] == pytest.approx(frame["arrival_s"][-1] - frame["arrival_s"][0], abs=1e-5)
    assert measured["seconds"] < limit_s
    assert peak_bytes < MEMORY_BYTES
