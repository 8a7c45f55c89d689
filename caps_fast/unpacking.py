"""Content of compressed files (gzip, Zstandard), up to a limit: a small file may decompress to more than a disk or
memory holds.
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from caps_fast.errors import InputError
from caps_fast.files import GZIP, ZSTD

_CHUNK_BYTES = 1 << 18
_ZSTD_CHUNK_BYTES = 1 << 12  # each may decompress to 32,000 times as much at once


def unpack(path: str, source: BinaryIO, target: BinaryIO, most: int) -> None:
    """Write the content of `source` to `target`, decompressed if it is gzip or Zstandard.

    Raises InputError naming `path` if it is damaged or its content exceeds the limit.
    """
    start = source.read(4)
    source.seek(0)
    if not start.startswith((GZIP, ZSTD)):
        shutil.copyfileobj(source, target)
        return
    size = 0
    for piece in (_gzip if start.startswith(GZIP) else _zstd)(path, source):
        size += len(piece)
        if size > most:
            raise InputError(
                f"{path}: decompresses to more than {most:,} bytes: expected fewer; decompress it yourself if that is "
                "right"
            )
        target.write(piece)


def _gzip(path: str, source: BinaryIO) -> Iterator[bytes]:
    try:
        with gzip.open(source) as stream:
            while piece := stream.read(_CHUNK_BYTES):
                yield piece
    except EOFError:
        raise InputError(f"{path}: gzip data is truncated: expected a complete file") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip data ({error}): expected a complete file") from None


def _zstd(path: str, source: BinaryIO) -> Iterator[bytes]:
    import zstandard  # noqa: PLC0415 - for compressed files alone

    frame, size = zstandard.ZstdDecompressor().decompressobj(), 0
    try:
        while chunk := source.read(_ZSTD_CHUNK_BYTES):
            while chunk:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                piece = frame.decompress(chunk)
                chunk = frame.unused_data if frame.eof else b""
                size += len(piece)
                yield piece
    except zstandard.ZstdError as error:
        raise InputError(
            f"{path}: damaged Zstandard data after {size} bytes of content ({error}): expected a complete file"
        ) from None
    if not frame.eof:
        raise InputError(f"{path}: Zstandard data is truncated after {size} bytes of content: expected a complete file")
