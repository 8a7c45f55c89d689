"""A lock that one process holds at a time and that dies with it, however it dies."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import IO

from caps_fast.errors import InputError
from caps_fast.files import expect_no_link
from caps_fast.sweep.disk import writing


class Lock:
    """Held from `take` to `free`. The file stays behind and means nothing by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def take(self, what: Path) -> None:
        """Raises InputError, naming `what`, where another process holds it."""
        expect_no_link(self.path)
        with writing(self.path):
            self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+", encoding="utf-8")
        found = os.fstat(self._file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            self.free()
            raise InputError(f"{self.path}: not a regular file of its own; expected none, or a lock that caps-fast left")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = self._file.read().strip() or "unknown"
            self.free()
            raise InputError(f"{what}: another caps-fast (process {holder}) is at work there; wait for it, or choose another place") from None
        with writing(self.path):
            self._file.truncate(0)
            self._file.write(str(os.getpid()))
            self._file.flush()

    def free(self) -> None:
        """Let others have it."""
        if self._file:
            self._file.close()
            self._file = None
