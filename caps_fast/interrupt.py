"""Interrupts that wait for native libraries.

LLVM discards exceptions raised in its callbacks, and aborts the process if Python ends while a thread compiles;
LightGBM frees memory that it has not allocated yet.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

AGAIN_S = 0.02
NATIVE = ("llvmlite", "lightgbm")

Handler = Callable[[int, FrameType | None], None]


def raising(error: type[BaseException]) -> Handler:
    """A signal handler that raises the error or, while a native library runs in this thread, sends the signal again a
    moment later.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if not _within(frame, NATIVE):
            raise error
        again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    return handle


class Ended(SystemExit):
    """The process is to end (SIGTERM): unfinished work is cleaned up on the way out."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def leave(code: int) -> NoReturn:
    """End the process; at once, without Python's clean-up, if another thread is in a native library or compiles.

    Raises BrokenPipeError if the reader of the output has gone, while it can still be handled.
    """
    sys.stdout.flush()
    frames = sys._current_frames()
    if any(_within(frame, (*NATIVE, "numba")) for thread, frame in frames.items() if thread != threading.get_ident()):
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _within(frame: FrameType | None, packages: tuple[str, ...]) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in packages:
            return True
        frame = frame.f_back
    return False
