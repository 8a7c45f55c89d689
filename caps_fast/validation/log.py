"""A request log of an engine: arrival, lengths, TTFT and E2E of each request."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from caps_fast.documents import MOST_JSON_BYTES, parse_json, read_bytes
from caps_fast.errors import InputError
from caps_fast.parquet_check import Damaged
from caps_fast.polars_io import FAULTS, first_line, scan_csv
from caps_fast.records import Array
from caps_fast.section import MOST_TOKENS
from caps_fast.validation.layouts import COLUMNS, requests_of

LEAST = {"input_tokens": 1.0, "output_tokens": 1.0, "ttft_s": 0.0, "e2e_s": 0.0}
ROUNDING_S = 1e-6  # by which a log's E2E may be below its TTFT
MOST_S = 86400.0 * 3660  # longest run that is simulated
MOST_DIGITS = 20  # digits of a whole number in a log; times in nanoseconds have 19
EPOCH_S = 1e9  # arrivals from here on are Unix times


@dataclass(frozen=True)
class RequestLog:
    """Requests in order of arrival, the first at 0; those that failed are left out.

    arrival_s      float64 (n,), seconds after the first
    input_tokens   int64 (n,)
    output_tokens  int64 (n,), at least 1
    ttft_s, e2e_s  float64 (n,), seconds from arrival, as measured by the log's client or server
    began_s        time of the first arrival on the log's own clock
    notes          lines for the user
    """

    path: str
    arrival_s: Array
    input_tokens: Array
    output_tokens: Array
    ttft_s: Array
    e2e_s: Array
    began_s: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def dated(self) -> bool:
        """Whether its times are Unix times, in seconds since 1970."""
        return self.began_s >= EPOCH_S


def is_log(columns: list[str]) -> bool:
    """Whether a CSV file of these columns is a request log."""
    return {*COLUMNS} <= {name.strip() for name in columns}


def read_log(path: str | Path, benchmark: int | None = None) -> RequestLog:
    """Read a log: CSV with our columns, GuideLLM's or vLLM's JSON, AIPerf's JSONL, distinguished by their content.

    `benchmark` (from 1) chooses one if a file has several. Raises InputError naming the file, the row and the
    column.
    """
    path = str(path)
    try:
        with_json = _first_byte(path) in (b"{", b"[")
        content = read_bytes(path, MOST_JSON_BYTES).removeprefix(BOM_UTF8) if with_json else b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a request log") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; expected a smaller log") from None
    if with_json:
        frame, dropped = requests_of(path, _documents(path, content), benchmark)
    else:
        if benchmark is not None:
            raise InputError(f"--benchmark {benchmark}: {path} is a table of one run; expected none")
        frame, dropped = _table(path)
    return _checked(path, frame, dropped)


def _first_byte(path: str) -> bytes:
    try:
        return read_bytes(path, MOST_JSON_BYTES).removeprefix(BOM_UTF8).lstrip()[:1]
    except ValueError:
        return b""


def _documents(path: str, content: bytes) -> list[Any]:
    """The JSON documents of a file: one, or one per line."""
    try:
        return [parse_json(content, _whole)]
    except ValueError as error:
        whole = error
    lines = [line for line in content.splitlines() if line.strip()]
    found = []
    for row, line in enumerate(lines, 1):
        try:
            found.append(parse_json(line, _whole))
        except ValueError as error:
            reason = whole if row == 1 else error
            raise InputError(
                f"{path}: line {row}: not JSON: {reason}; expected a JSON document, or one per line"
            ) from None
    return found


def _whole(text: str) -> int | float:
    """A whole number; as a float, which may be infinite, if it has more digits than any value of a log."""
    return int(text) if len(text) <= MOST_DIGITS else float(text)


def _table(path: str) -> tuple[pl.DataFrame, int]:
    try:
        raw = scan_csv(path).collect().rename(str.strip)
    except (*FAULTS, Damaged) as error:
        raise InputError(f"{path}: not readable as CSV: {first_line(error)}") from None
    twice = [name for name in COLUMNS if f"{name}_duplicated_0" in raw.columns]
    if twice:
        raise InputError(f"{path}: two columns {twice[0]}; expected one")
    missing = [name for name in COLUMNS if name not in raw.columns]
    if missing:
        shown = ", ".join(raw.columns)[:200]
        raise InputError(f"{path}: {missing[0]} is missing among the columns {shown}: expected {', '.join(COLUMNS)}")
    text = raw.select(pl.col(COLUMNS).str.strip_chars().replace("", None))
    numbers = text.with_columns(pl.all().cast(pl.Float64, strict=False))
    for name in COLUMNS:
        bad = (text[name].is_not_null() & numbers[name].is_null()).arg_true()
        if len(bad):
            raise InputError(f"{path}: row {bad[0] + 1}: {name} {text[name][bad[0]]!r}: expected a number")
    numbers = numbers.with_row_index("row", offset=1)
    for name in ("arrival_s", "input_tokens", "output_tokens"):
        empty = numbers[name].is_null().arg_true()
        if len(empty):
            raise InputError(f"{path}: row {numbers['row'][empty[0]]}: {name} is empty: expected a number")
    served = numbers.filter(
        pl.col("ttft_s").is_not_null() & pl.col("e2e_s").is_not_null() & (pl.col("output_tokens") != 0)
    )
    return served, len(numbers) - len(served)


def _checked(path: str, frame: pl.DataFrame, dropped: int) -> RequestLog:
    """The log of a frame of numbers with the columns `row` and `COLUMNS`. Raises InputError for invalid values."""
    if frame.is_empty():
        raise InputError(f"{path}: no request was served: expected at least one with a TTFT and an E2E")
    for name in COLUMNS:
        values = frame[name].to_numpy()
        good = np.isfinite(values) & (values >= LEAST.get(name, -np.inf))
        expected = "a finite number"
        if name in LEAST:
            expected = f"a number from {LEAST[name]:g}"
        if name in ("ttft_s", "e2e_s"):
            good &= values <= MOST_S
            expected = f"seconds from 0 to {MOST_S:.3g}"
        if name.endswith("tokens"):
            good &= (values == np.floor(values)) & (values <= MOST_TOKENS)
            expected = "a whole number from 1"
        _expect(path, frame, good, name, expected)
    short = frame["e2e_s"].to_numpy() + ROUNDING_S >= frame["ttft_s"].to_numpy()
    _expect(path, frame, short, "e2e_s", "at least ttft_s")
    late = frame["arrival_s"].to_numpy() - frame["arrival_s"].min() <= MOST_S
    _expect(path, frame, late, "arrival_s", f"seconds, at most {MOST_S:.3g} after the first")
    ordered = frame.sort("arrival_s", maintain_order=True)
    arrival_s, ttft_s = ordered["arrival_s"].to_numpy(), ordered["ttft_s"].to_numpy()
    notes = (
        [f"{path}: {dropped:,} requests were not served and are left out, although they loaded the engine"]
        if dropped
        else []
    )
    return RequestLog(
        path=path,
        arrival_s=arrival_s - arrival_s[0],
        input_tokens=ordered["input_tokens"].to_numpy().astype(np.int64),
        output_tokens=ordered["output_tokens"].to_numpy().astype(np.int64),
        ttft_s=ttft_s,
        e2e_s=np.maximum(ordered["e2e_s"].to_numpy(), ttft_s),
        began_s=float(arrival_s[0]),
        notes=tuple(notes),
    )


def _expect(path: str, frame: pl.DataFrame, good: Array, name: str, expected: str) -> None:
    bad = np.flatnonzero(~good)
    if len(bad):
        raise InputError(
            f"{path}: row {frame['row'][int(bad[0])]}: {name} {frame[name][int(bad[0])]:g}: expected {expected}"
        )
