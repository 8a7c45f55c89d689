"""The command line: parse, call, exit code. Results go to standard output or files, talk to standard error.

Every module in `MODULES` holds a few commands and a function `register(app)`; heavy imports stay inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import typer

from caps_fast.errors import InputError
from caps_fast.interrupt import Ended, leave, raising

ABOUT = "Which LLM request to which GPU pool, and when, so that carbon falls and no SLO breaks: a fast batch simulator."
MODULES = (
    "run",
    "bound",
    "size",
    "supply",
    "forecast_value",
    "sweep",
    "answers",
    "train",
    "report",
    "inspect",
    "profiles",
    "fit_profile",
    "validate",
    "estimate_profile",
    "carbon",
)

SELDOM = (500_000, 50, 50)  # objects before a collection: compiling and importing make many that stay

USAGE_ERROR: Any = typer.BadParameter.__bases__[0]  # of the click inside typer, which has no public name for it


def _app() -> typer.Typer:
    app = typer.Typer(name="caps-fast", help=ABOUT, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    for name in MODULES:
        import_module(f"caps_fast.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point of `caps-fast`.

    One line and exit code 2 for bad input, 130 for Ctrl-C, 143 for SIGTERM, 1 for a fault of ours (CAPS_FAST_DEBUG=1 shows it).
    """
    _prepare()
    try:
        leave(_exit_code())
    except InputError as error:
        fail(str(error))
    except USAGE_ERROR as error:
        fail(f"{error.format_message()}{_given(error)} (see caps-fast --help)")
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        leave(130)
    except Ended as ended:
        leave(int(str(ended.code)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python itself would still write at the end
        sys.exit(0)
    except OSError as error:
        fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except MemoryError as error:
        fail(f"not enough memory: {error}", code=1)
    except Exception as error:
        if os.environ.get("CAPS_FAST_DEBUG"):
            raise
        fail(f"internal error: {type(error).__name__}: {error} (CAPS_FAST_DEBUG=1 shows where)", code=1)
    finally:
        gc.freeze()  # spares the collection at exit, which takes 0.2 s to find that all was needed


def _prepare() -> None:
    gc.set_threshold(*SELDOM)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who called us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as we run
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, raising(KeyboardInterrupt))
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, raising(Ended))


def _exit_code() -> int:
    """Run the command. Raises BrokenPipeError where nobody reads what it prints."""
    stdout = sys.stdout
    try:
        return _app()(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except SystemExit:
        if sys.stdout is stdout:
            raise
        sys.stdout = stdout  # Typer wraps it, and exits with 1, where the pipe is broken
        raise BrokenPipeError from None


def _given(error: Any) -> str:
    """What the user gave for the option that an error is about."""
    for option in getattr(getattr(error, "param", None), "opts", []):
        for at, word in enumerate(sys.argv):
            if word == option and at + 1 < len(sys.argv):
                return f", not {sys.argv[at + 1]!r}"
            if word.startswith(f"{option}="):
                return f", not {word.removeprefix(f'{option}=')!r}"
    return ""


def fail(message: str, code: int = 2) -> NoReturn:
    """Print one line to standard error and exit."""
    print(f"caps-fast: {' '.join(message.split())}", file=sys.stderr)
    leave(code)
