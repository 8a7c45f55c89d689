"""The cache folder: one of the user's own that nobody else may write to, or none.

Compiled code is executed when it is loaded, so whoever can write to the folder can run code as the user.
"""

from __future__ import annotations

import logging
import os
import pwd
import stat
from functools import cache
from pathlib import Path

WAY_OUT = "CAPS_FAST_CACHE names another folder"
logger = logging.getLogger(__name__)


def cache_folder(part: str) -> Path | None:
    """The folder of one part of the cache, created if missing; None if no folder can be trusted (`why_not` gives the
    reason).
    """
    root = _root()
    return None if root is None or why_not(part) else root / part


@cache
def why_not(part: str) -> str:
    """Why this part cannot be cached; "" if it can."""
    root = _root()
    if root is None:
        return "no home folder is known"
    return _fault(root) or _fault(root / part)


@cache
def tell_once(what: str, part: str) -> None:
    """Warn that something is not cached, and why."""
    logger.warning("%s not cached: %s (%s)", what, why_not(part), WAY_OUT)


def _root() -> Path | None:
    """`CAPS_FAST_CACHE`, or caps-fast in the user's cache folder.

    Empty and relative values of other variables are ignored.
    """
    if named := os.environ.get("CAPS_FAST_CACHE"):
        return Path(named).absolute()
    base, home = os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("HOME", "")
    if os.path.isabs(base):
        return Path(base, "caps-fast")
    if not os.path.isabs(home):
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return Path(home, ".cache", "caps-fast") if os.path.isabs(home) else None


def _fault(folder: Path) -> str:
    """What is wrong with a cache folder, which is created if missing, for this user alone; "" if nothing is."""
    try:
        for place in reversed((folder, *folder.parents)):
            if not place.exists():
                place.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        return f"{folder} cannot be made ({error.strerror})"
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder} is not a folder"
    if found.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to {folder}: expected a folder that only its owner may write to (chmod go-w)"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} cannot be written to"
