"""Polars on one local file by its literal name: `*`, `?`, `[`, `~` and `://` mean nothing in it.

Polars itself treats names as patterns and may silently read other files. No other module passes it a name.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path

import polars as pl
from polars.datatypes import DataTypeClass

from caps_fast.files import open_regular
from caps_fast.parquet_check import MOST_COLUMNS, Damaged, check_file

MOST_HEADER_BYTES = 1 << 20

FAULTS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError)
"""Exceptions of reading a damaged or unreadable file."""


def scan_csv(path: str | Path, separator: str = ",") -> pl.LazyFrame:
    """A CSV file whose values are text. Raises Damaged if its header has no end or too many columns."""
    _expect_header(path)
    return pl.scan_csv(_literal(path), glob=False, infer_schema=False, separator=separator)


def scan_ndjson(path: str | Path, schema: Mapping[str, pl.DataType | DataTypeClass]) -> pl.LazyFrame:
    """A JSONL file with these columns."""
    return pl.scan_ndjson(escape(_literal(path)), schema=dict(schema))  # it has no option to disable patterns


def scan_parquet(path: str | Path) -> pl.LazyFrame:
    """A Parquet file with valid headers. Raises Damaged if they are not."""
    check_file(str(path))
    return pl.scan_parquet(_literal(path), glob=False, hive_partitioning=False)


def first_line(error: BaseException) -> str:
    """The first line of an error of Polars or of the system, in printable characters, or its name."""
    said = (
        (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    ).splitlines()[0]
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in said[:300])


def _expect_header(path: str | Path) -> None:
    with open_regular(path) as stream:
        start = stream.read(MOST_HEADER_BYTES).decode("utf-8", "replace")
    text = io.StringIO(start, newline="")
    with suppress(csv.Error, StopIteration):  # Polars reports what is wrong with it
        if len(next(csv.reader(text))) > MOST_COLUMNS:
            raise Damaged(f"its header has more than {MOST_COLUMNS:,} columns: expected fewer")
    if len(start) >= MOST_HEADER_BYTES and not text.read(1):
        raise Damaged(f"its header has no end within {MOST_HEADER_BYTES:,} bytes: expected names of columns")


def _literal(path: str | Path) -> str:
    return os.path.abspath(path)
