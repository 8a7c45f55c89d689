"""Opening a trace: the type of the file, and an uncompressed copy if it is compressed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from caps_fast.errors import InputError
from caps_fast.files import GZIP, ZSTD, is_special
from caps_fast.unpacking import unpack

Container = Literal["csv", "jsonl", "json", "parquet"]
FREE_BYTES, UNPACKED_A_BYTE = 1 << 28, 250
"""Limits of decompressed size: a base for any trace, and a factor of the compressed size."""
_SHARE_OF_ROOM = 0.9
_OPEN_FILES = "/proc/self/fd"
_PARQUET = b"PAR1"
_MARKED_JSONL, _UNMARKED_JSONL = b"\xef\xbb\xbf{", b"   {"  # Polars skips a byte order mark only in CSV
_WIDE_TEXT = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def plain(path: str) -> Iterator[str]:
    """The path of the uncompressed content: the file itself, or a temporary copy (without JSONL's byte order mark).

    Detected by the first bytes, not by the name. Raises InputError if the file cannot be read or is truncated.
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
    nameless = os.path.isdir(_OPEN_FILES)  # so that nothing is left behind, however the process ends
    make: Any = tempfile.TemporaryFile if nameless else tempfile.NamedTemporaryFile
    with make(prefix="caps-fast-") as target:
        try:
            with open(path, "rb") as source:
                unpack(path, source, target, _most_bytes(path))
            target.seek(0)
            if target.read(4) == _MARKED_JSONL:
                target.seek(0)
                target.write(_UNMARKED_JSONL)
            target.flush()
        except OSError as error:
            raise InputError(
                f"{path}: cannot be unpacked in {tempfile.gettempdir()} ({error.strerror}): expected room there "
                "(TMPDIR)"
            ) from None
        yield f"{_OPEN_FILES}/{target.fileno()}" if nameless else str(target.name)


def _most_bytes(path: str) -> int:
    """Greatest decompressed size of a trace: limited by usual compression ratios and by most of the free space."""
    room = shutil.disk_usage(tempfile.gettempdir()).free * _SHARE_OF_ROOM
    return int(min(max(FREE_BYTES, UNPACKED_A_BYTE * os.path.getsize(path)), room))


def container(path: str, content: str) -> Container:
    """What kind of file `content` is, detected from its first bytes; `path` is for the message. Raises InputError."""
    with open(content, "rb") as stream:
        start = stream.read(4096)
    if start.startswith(_PARQUET):
        return "parquet"
    if not start.strip():
        raise InputError(f"{path}: empty: expected a request trace")
    if start.startswith(_WIDE_TEXT):
        raise InputError(f"{path}: UTF-16 text: expected UTF-8")
    if b"\x00" in start:
        raise InputError(
            f"{path}: neither text nor Parquet (a zero byte near the start): expected CSV, JSONL, JSON or Parquet"
        )
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return {b"[": "json", b"{": "jsonl"}.get(text[:1], "csv")  # type: ignore[return-value]
