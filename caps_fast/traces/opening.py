"""Opening a trace: what is in the file, and a plain copy of it where it is compressed."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal

import zstandard

from caps_fast.errors import InputError
from caps_fast.files import GZIP, ZSTD, is_special

Container = Literal["csv", "jsonl", "json", "parquet"]
_CHUNK_BYTES = 1 << 18
_PARQUET = b"PAR1"
_MARKED_JSONL, _UNMARKED_JSONL = b"\xef\xbb\xbf{", b"   {"  # Polars skips a byte order mark in CSV alone
_WIDE_TEXT = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def plain(path: str) -> Iterator[str]:
    """The path of the uncompressed content: the file itself, or a temporary copy (without JSONL's byte order mark) that is removed afterwards.

    Told by the first bytes, not by the name. Raises InputError where the file cannot be read or is cut off.
    """
    if is_special(path):
        raise InputError(f"{path}: not a regular file: expected a request trace")
    try:
        with open(path, "rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): expected a request trace") from None
    if not start.startswith((GZIP, ZSTD, _MARKED_JSONL)):
        yield path
        return
    handle, copy = tempfile.mkstemp(prefix="caps-fast-")
    try:
        with open(handle, "wb+") as target, open(path, "rb") as source:
            unpack(path, source, target)
            target.seek(0)
            if target.read(4) == _MARKED_JSONL:
                target.seek(0)
                target.write(_UNMARKED_JSONL)
        yield copy
    finally:
        os.unlink(copy)


def unpack(path: str, source: BinaryIO, target: BinaryIO) -> None:
    """Write the content of `source` to `target`, decompressed where it is gzip or Zstandard. Raises InputError naming `path` where it is damaged."""
    start = source.read(4)
    source.seek(0)
    if start.startswith(GZIP):
        _copy_gzip(path, source, target)
    elif start.startswith(ZSTD):
        _copy_zstd(path, source, target)
    else:
        shutil.copyfileobj(source, target)


def container(path: str, content: str) -> Container:
    """What kind of file `content` is, told by its first bytes; `path` is for the message. Raises InputError."""
    with open(content, "rb") as stream:
        start = stream.read(4096)
    if start.startswith(_PARQUET):
        return "parquet"
    if not start.strip():
        raise InputError(f"{path}: empty: expected a request trace")
    if start.startswith(_WIDE_TEXT):
        raise InputError(f"{path}: UTF-16 text: expected UTF-8")
    if b"\x00" in start:
        raise InputError(f"{path}: neither text nor Parquet (a zero byte near the start): expected CSV, JSONL, JSON or Parquet")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return {b"[": "json", b"{": "jsonl"}.get(text[:1], "csv")  # type: ignore[return-value]


def _copy_gzip(path: str, source: BinaryIO, target: BinaryIO) -> None:
    try:
        with gzip.open(source) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                target.write(chunk)
    except EOFError:
        raise InputError(f"{path}: gzip data is cut off: expected a whole file") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: broken gzip data ({error}): expected a whole file") from None


def _copy_zstd(path: str, source: BinaryIO, target: BinaryIO) -> None:
    frame = zstandard.ZstdDecompressor().decompressobj()
    try:
        while chunk := source.read(_CHUNK_BYTES):
            while chunk:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                target.write(frame.decompress(chunk))
                chunk = frame.unused_data if frame.eof else b""
    except zstandard.ZstdError as error:
        raise InputError(f"{path}: broken Zstandard data after {target.tell()} bytes of content ({error}): expected a whole file") from None
    if not frame.eof:
        raise InputError(f"{path}: Zstandard data is cut off after {target.tell()} bytes of content: expected a whole file")
