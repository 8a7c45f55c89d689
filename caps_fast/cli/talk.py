"""Messages on standard error: the library's log, one line each, and progress, as a bar on a terminal.

`--quiet` prints only warnings and errors, `--verbose` adds details and the trace of an internal error.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from typing import Annotated, Any

import typer

from caps_fast.progress import LIVE

BAR, ASCII_BAR = ("━", "─"), ("#", ".")
WIDTH = 24  # width of the bar, in characters
PACKAGE = logging.getLogger("caps_fast")


class Talk(logging.Handler):
    """Writes records to the current standard error; the bar is cleared before a line, and the next record draws it
    again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shown = logging.INFO
        self._drawn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message, or draw the bar."""
        share = getattr(record, "share", None)
        if share is not None and self._live():
            line = f"{_bar(share)} {record.getMessage()}"[: shutil.get_terminal_size().columns - 1]
            self._drawn = not record.ended  # type: ignore[attr-defined]
            print(f"\r{line}\x1b[K", end="" if self._drawn else "\n", file=sys.stderr, flush=True)
        elif record.levelno >= self.shown:
            wiped = "\r\x1b[K" if self._drawn else ""
            self._drawn = False
            print(f"{wiped}{record.getMessage()}", file=sys.stderr, flush=True)

    def _live(self) -> bool:
        return self.shown <= logging.INFO and sys.stderr.isatty()


def _bar(share: float) -> str:
    utf = (sys.stderr.encoding or "").lower().startswith("utf")
    full, empty = BAR if utf else ASCII_BAR
    done = round(WIDTH * share)
    return full * done + empty * (WIDTH - done)


_talk = Talk()


def start() -> None:
    """Print the package's log, at the usual level."""
    _talk.shown = logging.INFO
    PACKAGE.setLevel(LIVE)
    if _talk not in PACKAGE.handlers:
        PACKAGE.addHandler(_talk)


def say(line: str) -> None:
    """A message on standard error; none with `--quiet`."""
    PACKAGE.info("%s", line)


def complain(line: str) -> None:
    """A warning, which is printed with `--quiet` too."""
    PACKAGE.error("%s", line)


def is_quiet() -> bool:
    """Whether `--quiet` is set."""
    return _talk.shown > logging.INFO


def is_verbose() -> bool:
    """Whether `--verbose` is set."""
    return _talk.shown < logging.INFO or bool(os.environ.get("CAPS_FAST_DEBUG"))


def _quieter(given: bool) -> bool:
    if given:
        _talk.shown = logging.WARNING
    return given


def _louder(given: bool) -> bool:
    if given:
        _talk.shown = logging.DEBUG
    return given


EAGER: Any = {"is_eager": True, "expose_value": False}


def _options(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", callback=_quieter, help="print warnings and errors only", **EAGER)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", callback=_louder, help="also print details", **EAGER)
    ] = False,
) -> None:
    """Marks the options that every command has."""


def add_options(command: Any) -> None:
    """Give a command `--quiet` and `--verbose`, before its `--help`."""
    only = typer.Typer(add_completion=False)
    only.command()(_options)
    command.params += [one for one in typer.main.get_command(only).params if one.name in ("quiet", "verbose")]
