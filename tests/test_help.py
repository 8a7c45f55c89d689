"""What `--help` prints, as it was last looked at: `python tests/test_help.py` writes tests/help.txt anew."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest

from caps_fast import cli

SNAPSHOT = Path(__file__).parent / "help.txt"


def shown(*words: str) -> str:
    """The help of a command, on a terminal of 80 columns."""
    printed = StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": "80"}), redirect_stdout(printed):
        cli._app()([*words, "--help"], "caps-fast", standalone_mode=False)
    return printed.getvalue()


def names() -> Iterator[str]:
    yield from (name.replace("_", "-") for name in cli.MODULES)


def whole() -> str:
    return "\n".join([shown(), *(shown(name) for name in names())])


def test_help_is_as_it_was_looked_at() -> None:
    assert whole() == SNAPSHOT.read_text(encoding="utf-8"), "if the change is meant: python tests/test_help.py"


@pytest.mark.parametrize("module", cli.MODULES)
def test_a_file_holds_the_command_of_its_name(module: str) -> None:
    command = module.replace("_", "-")
    assert list(cli._app().commands).count(command) == 1
    assert (Path(cli.__file__).parent / f"{module}.py").exists()


def test_a_short_line_says_what_each_command_does() -> None:
    commands = shown().partition("Commands:\n")[2].splitlines()
    assert len(commands) == len(cli.MODULES)
    assert not [line for line in commands if line.endswith("...")]


if __name__ == "__main__":
    SNAPSHOT.write_text(whole(), encoding="utf-8")
    print(f"wrote {SNAPSHOT}", file=sys.stderr)
