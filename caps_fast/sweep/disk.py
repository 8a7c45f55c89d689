"""Atomic files, and errors of the system as one clear line."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from caps_fast.errors import InputError


class writing:  # noqa: N801 - reads as a statement
    """Converts errors of the system about a place that cannot be written to InputError."""

    def __init__(self, place: Path | str) -> None:
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError):
            raise InputError(
                f"{self.place}: cannot be written ({error.strerror or error}); everything finished before is kept"
            ) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary file, sync, and rename: a kill at any moment leaves the old file or the new one. Raises
    OSError.
    """
    beside = path.with_name(f"{path.name}.tmp")
    try:
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
