"""Result tables as Parquet files with a digest of their content, which detects damage and edits.

The digest is between the last column and the footer, where readers of Parquet do not look.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import polars as pl

from caps_fast.errors import InputError
from caps_fast.files import open_regular
from caps_fast.parquet_check import Damaged, check_parquet
from caps_fast.polars_io import FAULTS, first_line

MARK = b"\0caps-fast sha256\0"
DIGEST_BYTES = 32


def sealed(frame: pl.DataFrame) -> bytes:
    """The frame as a Parquet file with its digest."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    content = buffer.getvalue()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    return content[:footer] + MARK + hashlib.sha256(content).digest() + content[footer:]


def read_sealed(path: Path, required: bool = False) -> pl.DataFrame:
    """A table.

    Raises InputError if the file cannot be read, differs from its digest or, if `required`, has no digest.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read()
        _expect_whole(content, required)
        check_parquet(content)
        return pl.read_parquet(io.BytesIO(content))
    except (*FAULTS, Damaged) as error:
        raise InputError(
            f"{path}: cannot be read ({first_line(error)}); expected Parquet written by caps-fast"
        ) from None


def _expect_whole(content: bytes, required: bool) -> None:
    at = content.rfind(MARK)
    if at < 0:
        if required:
            raise Damaged("it has no digest")
        return
    after = at + len(MARK) + DIGEST_BYTES
    digest = hashlib.sha256(content[:at])
    digest.update(content[after:])
    if digest.digest() != content[after - DIGEST_BYTES : after]:
        raise Damaged("it was changed after writing: its digest differs")
