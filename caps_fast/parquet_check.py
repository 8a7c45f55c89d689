"""A check of a Parquet file's headers before it is read: sizes and counts must match the file and each other, and fit
into memory.

The reader trusts them, and a damaged size can abort the process. Source: the Apache Parquet format (Thrift
compact protocol).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Any

MAGIC = b"PAR1"
_BOOLEANS = {1: True, 2: False}
_DEEPEST = 16

MOST_COLUMNS = 10_000
_MOST_FOOTER_BYTES = 1 << 23
_FREE_ROWS, _ROWS_A_BYTE, _MOST_ROWS = 1_000_000, 4, 400_000_000
_FREE_BYTES, _UNPACKED_A_BYTE = 1 << 28, 250
"""Limits of rows and of decompressed bytes: a base, and a factor of the file's size."""

Buffer = mmap.mmap | bytes


class Damaged(ValueError):
    """The headers do not match the file."""


def check_file(path: str) -> None:
    """As `check_parquet`, for a file."""
    with open(path, "rb") as stream:
        if not stream.read(1):
            raise Damaged("the file is empty")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            check_parquet(data)


def check_parquet(data: Buffer) -> None:
    """Walk the footer and every page header. Raises Damaged (with a reason) if a size or count cannot be right."""
    if len(data) < 12 or data[-4:] != MAGIC:
        raise Damaged("the file is truncated: expected PAR1 at its end")
    footer_bytes = struct.unpack("<I", data[-8:-4])[0]
    start = len(data) - 8 - footer_bytes
    if start < 4:
        raise Damaged("the footer is larger than the file")
    _expect(footer_bytes <= _MOST_FOOTER_BYTES, f"its footer is larger than {_MOST_FOOTER_BYTES:,} bytes")
    try:
        footer, _ = _struct(data, start)
        rows = footer[3]
        most_rows = min(max(_FREE_ROWS, _ROWS_A_BYTE * len(data)), _MOST_ROWS)
        _expect(rows <= most_rows, f"{rows:,} rows in {len(data):,} bytes: expected at most {most_rows:,}")
        _expect(len(footer[2]) <= MOST_COLUMNS, f"more than {MOST_COLUMNS:,} columns: expected fewer")
        _expect(_depth(footer[2]) <= _DEEPEST, "its columns are nested too deep")
        found = [_check_group(data, group, start) for group in footer.get(4, [])]
        _expect(sum(of_group for of_group, _ in found) == rows, "the rows of its row groups do not add up")
        unpacked, most = sum(size for _, size in found), max(_FREE_BYTES, _UNPACKED_A_BYTE * len(data))
        _expect(unpacked <= most, f"{len(data):,} bytes decompress to {unpacked:,}: expected at most {most:,}")
    except (IndexError, KeyError, TypeError, AttributeError, struct.error, OverflowError):
        raise Damaged("its headers are damaged") from None


def _depth(schema: list[dict[int, Any]]) -> int:
    """Levels of a schema, which is a tree written root first, each node with the number of its children."""
    deepest, open_nodes = 0, [1]
    for node in schema:
        while open_nodes and open_nodes[-1] == 0:
            open_nodes.pop()
        _expect(bool(open_nodes), "its columns are damaged")
        open_nodes[-1] -= 1
        open_nodes.append(node.get(5) or 0)
        deepest = max(deepest, len(open_nodes))
    return deepest


def _check_group(data: Buffer, group: dict[int, Any], end: int) -> tuple[int, int]:
    """Rows and decompressed bytes of a row group."""
    rows, unpacked = group[3], 0
    _expect(isinstance(rows, int) and rows >= 0, "a row group has a negative number of rows")
    for chunk in group[1]:
        meta = chunk[3]
        start = min(meta[9], meta.get(11) or meta[9])
        stop = start + meta[7]
        _expect(4 <= start <= stop <= end, "a column lies outside the file")
        pages = list(_pages(data, start, stop))
        values, unpacked = sum(count for count, _ in pages), unpacked + sum(size for _, size in pages)
        flat = len(meta[3]) == 1
        _expect(values == meta[5] and (not flat or values == rows), "the values of a column's pages do not add up")
    return int(rows), unpacked


def _pages(data: Buffer, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Number of values and decompressed bytes of each page; a dictionary's values do not count."""
    at = start
    while at < stop:
        header, at = _struct(data, at)
        unpacked, packed = header[2], header[3]
        _expect(unpacked >= 0 and 0 <= packed <= stop - at, "a page is larger than its column")
        at += packed
        body: dict[int, Any] = header.get(5) or header.get(8) or header[7]
        values = body[1]
        _expect(0 <= values < 2**31, "a page has a negative number of values")
        if 8 in header:
            _expect(
                body[5] >= 0 and body[6] >= 0 and body[5] + body[6] <= min(packed, unpacked),
                "a page's levels are larger than the page",
            )
        yield (0 if 7 in header else values), unpacked


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Damaged(otherwise)


def _struct(data: Buffer, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A Thrift struct as {field number: value}, and the position of its end."""
    _expect(depth < _DEEPEST, "its headers are damaged")
    fields: dict[int, Any] = {}
    number = 0
    while True:
        head = data[at]
        at += 1
        if head == 0:
            return fields, at
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at)
        kind = head & 15
        fields[number], at = (_BOOLEANS[kind], at) if kind in _BOOLEANS else _value(data, at, kind, depth)


def _value(data: Buffer, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 8:
        length, at = _varint(data, at)
        _expect(length <= len(data) - at, "its headers are damaged")
        return length, at + length
    if kind in (9, 10):
        return _list(data, at, depth)
    if kind == 12:
        return _struct(data, at, depth + 1)
    widths = {1: 1, 2: 1, 3: 1, 7: 8}
    _expect(kind in widths, "its headers are damaged")
    return None, at + widths[kind]


def _list(data: Buffer, at: int, depth: int) -> tuple[list[Any], int]:
    head = data[at]
    size, at = (head >> 4, at + 1) if head >> 4 < 15 else _varint(data, at + 1)
    _expect(size <= len(data) - at, "its headers are damaged")
    items = []
    for _ in range(size):
        item, at = _value(data, at, head & 15, depth + 1)
        items.append(item)
    return items, at


def _zigzag(data: Buffer, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at


def _varint(data: Buffer, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        _expect(shift < 70, "its headers are damaged")
