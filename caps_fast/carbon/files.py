"""Reading a file's text or its table of strings, plain or compressed."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import polars as pl

from caps_fast.documents import read_bytes as read_at_most
from caps_fast.errors import InputError
from caps_fast.files import GZIP, ZSTD, is_special
from caps_fast.parquet_check import MOST_COLUMNS
from caps_fast.unpacking import unpack

MOST_BYTES = 1 << 27
"""Limit of a carbon file's content, which is read into memory: 250 hourly years of one zone."""
FREE_BYTES, UNPACKED_A_BYTE = 1 << 24, 100
"""Limits of decompressed size: a base for any file, and a factor of the compressed size."""


def read_bytes(path: str, expected: str = "a carbon file") -> bytes:
    """A file's content, decompressed where it is gzip or Zstandard (detected from its first bytes).

    Raises InputError, saying what was `expected`, where it cannot be read.
    """
    if is_special(path):
        raise InputError(f"{path}: not a regular file; expected {expected}")
    try:
        raw = read_at_most(path, MOST_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; expected {expected}") from None
    if not raw.startswith((GZIP, ZSTD)):
        return raw
    content = io.BytesIO()
    unpack(path, io.BytesIO(raw), content, min(max(FREE_BYTES, UNPACKED_A_BYTE * len(raw)), MOST_BYTES))
    return content.getvalue()


def decode(content: bytes, path: str, expected: str = "carbon data") -> str:
    """UTF-8 text, with or without a byte order mark. Raises InputError for anything else, and for an empty file."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; expected a UTF-8 text file") from None
    if not text.strip():
        raise InputError(f"{path}: empty; expected {expected}")
    return text


FIRST_ROW = 2


@dataclass(frozen=True)
class Table:
    """A CSV file as strings: column names as written, cells stripped; row i is row i + 2 of the file (the header is row
    1).
    """

    path: str
    frame: pl.DataFrame


def read_table(text: str, path: str, expected: str = "carbon data") -> Table:
    """Parse comma-, semicolon- or tab-separated text.

    Raises InputError for no rows, rows of another length than the header, or a repeated column.
    """
    first_line = text.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error}); expected rows of {separator!r}-separated cells") from None
    if len(rows[0]) > MOST_COLUMNS:
        raise InputError(f"{path}: row 1 has more than {MOST_COLUMNS:,} cells; expected fewer")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise InputError(f"{path}: row 1: column {sorted(repeated)[0]!r} appears twice; expected each once")
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise InputError(f"{path}: row {number} has {len(row)} cells; expected {len(header)} as in the header")
    if not body:
        raise InputError(f"{path}: no rows after the header; expected {expected}")
    columns = zip(*body, strict=True)
    return Table(
        path,
        pl.DataFrame({name: [cell.strip() for cell in cells] for name, cells in zip(header, columns, strict=True)}),
    )
