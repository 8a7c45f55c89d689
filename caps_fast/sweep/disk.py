"""Files that are whole or absent, and the system's complaints as one clear line."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from caps_fast.errors import InputError


class writing:  # noqa: N801 - reads as a statement
    """Turns what the system says about a place that cannot be written into InputError."""

    def __init__(self, place: Path | str) -> None:
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError):
            raise InputError(
                f"{self.place}: cannot be written ({error.strerror or error}); all that was finished before is kept"
            ) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, sync, and move there: a kill at any moment leaves the old file or the new one. Raises OSError."""
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
