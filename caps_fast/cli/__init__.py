"""The command line: parse, call, exit code. Results go to standard output or files, messages to standard error.

Every module in `MODULES` holds one command and a function `register(app)` that adds it; heavy imports stay inside the
command, so that `--help` is fast. To add a command, add a file here and its name to `MODULES`.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from caps_fast import __version__
from caps_fast.cli import talk
from caps_fast.cli.usage import plain_types, usage
from caps_fast.errors import InputError
from caps_fast.interrupt import Ended, leave, raising

ABOUT = """Simulate carbon-aware scheduling of LLM inference: where and when each request runs.

Try: caps-fast run --policies main --days 0.1
"""
MODULES = (  # in the order of the help
    *("run", "grid", "sweep", "pareto", "compare", "report"),
    *("size", "tune", "bound", "supply", "forecast_value"),
    *("policies", "presets", "profiles"),
    *("inspect", "fetch_carbon", "forecast_error"),
    *("fit_profile", "estimate_profile", "validate"),
    *("train", "calibrate", "reproduce"),
)

COMPLETING = "_CAPS_FAST_COMPLETE"  # set when a shell requests completions
SELDOM = (500_000, 50, 50)  # objects before a garbage collection: compiling and importing create many that stay

USAGE_ERROR: Any = typer.BadParameter.__bases__[0]  # of the click inside typer, which has no public name


def _version(given: bool) -> None:
    if given:
        print(f"caps-fast {__version__}")
        raise typer.Exit


def _app(words: Sequence[str] = ()) -> Any:
    """All commands; or only the one that the words name, since building the others takes longer than running it."""
    app = typer.Typer(name="caps-fast", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback(help=ABOUT)(_top)
    typed = next((word for word in words if not word.startswith("-")), "").replace("-", "_")
    for name in (typed,) if typed in MODULES and os.environ.get(COMPLETING) is None else MODULES:
        import_module(f"caps_fast.cli.{name}").register(app)
    group: Any = typer.main.get_command(app)
    for command in (group, *group.commands.values()):
        talk.add_options(command)
        plain_types(command)
    return group


def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Entry point of `caps-fast`.

    One line and exit code 2 for bad input, 130 for Ctrl-C, 143 for SIGTERM, 1 for an internal error (--verbose or
    CAPS_FAST_DEBUG=1 shows it).
    """
    _prepare()
    try:
        leave(_exit_code())
    except InputError as error:
        fail(str(error))
    except USAGE_ERROR as error:
        fail(usage(error))
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        leave(130)
    except Ended as ended:
        leave(int(str(ended.code)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python itself may still write at exit
        sys.exit(0)
    except OSError as error:
        fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except MemoryError as error:
        fail(f"not enough memory: {error}", code=1)
    except Exception as error:
        if talk.is_verbose():
            raise
        fail(f"internal error: {type(error).__name__}: {error} (--verbose shows where)", code=1)
    finally:
        gc.freeze()  # avoids the garbage collection at exit, which takes 0.2 s and frees nothing


def _prepare() -> None:
    gc.set_threshold(*SELDOM)
    talk.start()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as we run
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, raising(KeyboardInterrupt))
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, raising(Ended))


def _exit_code() -> int:
    """Run the command. Raises BrokenPipeError if the reader of its output has gone."""
    stdout = sys.stdout
    try:
        return _app(sys.argv[1:])(sys.argv[1:] or ["--help"], "caps-fast", standalone_mode=False) or 0
    except SystemExit:
        if sys.stdout is stdout:
            raise
        sys.stdout = stdout  # Typer wraps it, and exits with 1, if the pipe is broken
        raise BrokenPipeError from None


def fail(message: str, code: int = 2) -> NoReturn:
    """Print one line to standard error and exit."""
    print(f"caps-fast: {' '.join(message.split())}", file=sys.stderr)
    leave(code)
