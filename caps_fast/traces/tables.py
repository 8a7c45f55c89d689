"""A CSV, JSONL or Parquet file as a lazy table of raw values, and one-line errors about it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

import polars as pl

from caps_fast.errors import InputError
from caps_fast.parquet_check import MOST_COLUMNS, Damaged
from caps_fast.polars_io import FAULTS, first_line, scan_csv, scan_ndjson, scan_parquet
from caps_fast.traces.opening import Container

_MOST_LINE = 1 << 24  # characters
_KEYS_FROM_ROWS = 1000  # JSONL has no header: its columns are the keys of its rows, which the first rows mostly show
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class Table:
    """A file's rows, unread. `path` is the user's name for it, `content` the path of its uncompressed bytes."""

    path: str
    content: str
    kind: Container
    scan: pl.LazyFrame
    schema: dict[str, pl.DataType]

    def collect(self, *expressions: pl.Expr) -> pl.DataFrame:
        """These expressions over all rows, in order. Raises InputError if the file cannot be parsed."""
        try:
            return self.scan.select(*expressions).collect(engine="streaming")
        except FAULTS as error:
            self._refuse(error)

    def first_value(self, column: str) -> Any:
        """The first raw value of a column that is not missing, or None."""
        try:
            found = self.scan.select(column).filter(pl.col(column).is_not_null()).head(1).collect()
        except FAULTS as error:
            self._refuse(error)
        return found.item() if len(found) else None

    def first_values(self) -> dict[str, Any]:
        """The raw values of the first row, by column; none if there is no readable row, which is reported later."""
        try:
            return next(iter(self.scan.head(1).collect().iter_rows(named=True)), {})
        except FAULTS:
            return {}

    def value(self, row: int, column: str) -> Any:
        """The raw value of a column in a row (from 0)."""
        return self.scan.select(column).collect(engine="streaming").item(row, 0)  # `slice` counts blank lines of JSONL

    def _refuse(self, error: BaseException) -> NoReturn:
        fault = {"csv": _csv_fault, "jsonl": _jsonl_fault}.get(self.kind, lambda _: None)(self.content)
        if fault:
            raise InputError(f"{self.path}: {fault}") from None
        raise InputError(f"{self.path}: not readable as {self.kind}: {first_line(error)}") from None


def open_table(path: str, content: str, kind: Container) -> Table:
    """The table in `content`; CSV and JSONL values are text. Raises InputError."""
    try:
        if kind == "parquet":
            scan = scan_parquet(content)
        elif kind == "csv":
            scan = scan_csv(content, separator(content))
        else:
            keys, fault = jsonl_keys(content)
            if fault:
                raise InputError(f"{path}: {fault}")
            keys = _keys_of_all(content, keys)
            scan = scan_ndjson(content, dict.fromkeys(keys, pl.String()))
        return Table(path, content, kind, scan, dict(scan.collect_schema()))
    except (*FAULTS, Damaged) as error:
        raise InputError(f"{path}: not readable as {kind}: {first_line(error)}") from None


def jsonl_keys(content: str) -> tuple[list[str], str | None]:
    """The keys of the first rows of JSONL, up to one that is damaged, and what is wrong with that."""
    keys: dict[str, None] = {}
    for number, line in islice(_lines(content), _KEYS_FROM_ROWS):
        try:
            keys |= dict.fromkeys(_json_object(line))
            if len(keys) > MOST_COLUMNS:
                raise ValueError(f"more than {MOST_COLUMNS:,} keys: expected fewer")
        except ValueError as error:
            return list(keys), f"row {number}: {error}"
    return list(keys), None


def _keys_of_all(content: str, keys: list[str]) -> list[str]:
    """These keys and those that are only in later rows.

    All rows are searched only if some have more names before a colon than the known keys, which counting shows quickly.
    """
    known, names = [json.dumps(key).encode() + b":" for key in keys], 0
    with open(content, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            chunk += stream.readline()
            names += chunk.count(b'":') + chunk.count(b'" :') - sum(chunk.count(key) for key in known)
    if names == 0:
        return keys
    found = dict.fromkeys(keys)
    for _, line in _lines(content):
        try:
            found |= dict.fromkeys(_json_object(line))
        except ValueError:
            break  # reported with its row when the values are read
    return list(found)


def separator(content: str) -> str:
    """The separator of a CSV file: a comma, a semicolon or a tab, whichever is most frequent in the header."""
    with open(content, encoding="utf-8-sig", errors="replace") as stream:
        header = next((line for line in stream if line.strip()), "")
    return max(",;\t", key=header.count)


def _csv_fault(content: str) -> str | None:
    """The first row that is not UTF-8 or has more fields than the header."""
    if fault := _encoding_fault(content, header_rows=1):
        return fault
    with open(content, encoding="utf-8-sig", newline="") as stream:
        try:
            rows = csv.reader(stream, strict=True, delimiter=separator(content))
            width = len(next(rows))
            for number, row in enumerate(rows, start=1):
                if len(row) > width:
                    return f"row {number}: {len(row)} fields: expected {width} as in the header"
        except csv.Error as error:
            return f"row {rows.line_num - 1}: broken CSV ({error}): expected matching quotes"
    return None


def _jsonl_fault(content: str) -> str | None:
    """The first row that is not UTF-8 or not a JSON object."""
    if fault := _encoding_fault(content, header_rows=0):
        return fault
    for number, line in _lines(content):
        try:
            _json_object(line)
        except ValueError as error:
            return f"row {number}: {error}"
    return None


def _encoding_fault(content: str, header_rows: int) -> str | None:
    with open(content, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                where = f"row {number - header_rows}" if number > header_rows else "header"
                return f"{where}: byte 0x{line[error.start]:02x} is not UTF-8: expected UTF-8 text"
    return None


def _lines(content: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered from 1 as rows are: blank lines do not count."""
    number = 0
    with open(content, encoding="utf-8-sig", errors="replace", newline="\n") as stream:
        while line := stream.readline(_MOST_LINE):
            if line.strip():
                number += 1
                yield number, line


def _json_object(line: str) -> dict[str, Any]:
    shown = line.strip()[:60]
    if len(line) >= _MOST_LINE:
        raise ValueError(f"{shown!r} is longer than {_MOST_LINE:,} characters: expected one JSON object per line")
    try:
        found = json.loads(
            line, parse_constant=_finite, parse_float=_finite, parse_int=_finite, object_pairs_hook=_each_once
        )
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"{shown!r} is not JSON or truncated: expected one JSON object per line") from None
    if not isinstance(found, dict):
        raise ValueError(f"{shown!r} is not a JSON object: expected one JSON object per line")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(
            f"the key {next(key for key in keys if keys.count(key) > 1)!r} appears twice: expected it once"
        )
    return found


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"number {number[:60]!r}: expected a finite one")
    return value
