"""A lock that one process holds at a time and that dies with it, however it dies."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from caps_fast.errors import InputError
from caps_fast.files import expect_no_link
from caps_fast.sweep.disk import writing


class Lock:
    """Held from `take` to `free`. The file remains and has no meaning by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self, what: Path) -> None:
        """Raises InputError, naming `what`, if another process holds it, or if the lock is a link or a foreign file."""
        expect_no_link(self.path)
        with writing(self.path):
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            self.free()
            raise InputError(
                f"{self.path}: not a regular file of its own; expected none, or a lock that caps-fast left"
            )
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip() or "unknown"
            self.free()
            raise InputError(
                f"{what}: another caps-fast (process {holder}) is running there; wait for it, or choose another place"
            ) from None
        with writing(self.path):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def free(self) -> None:
        """Release the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
