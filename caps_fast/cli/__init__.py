"""The command line: parse, call, exit code. Results go to standard output or files, talk to standard error.

Every module of this package holds a few commands and a function `register(app)`; heavy imports stay inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click
import typer

from caps_fast.errors import InputError

MODULES = ("run", "inspect", "profiles", "carbon")


def _app() -> typer.Typer:
    app = typer.Typer(name="caps-fast", help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    for name in MODULES:
        import_module(f"caps_fast.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point of `caps-fast`: one clear line and exit code 2 for bad input, 130 for Ctrl-C."""
    try:
        sys.exit(_app()(standalone_mode=False))
    except InputError as error:
        fail(str(error))
    except click.UsageError as error:
        fail(f"{error.format_message()} (see caps-fast --help)")
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def fail(message: str) -> None:
    """Print one line to standard error and exit with code 2."""
    print(f"caps-fast: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
