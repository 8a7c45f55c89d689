"""Usage of commands: types of values in `--help`, and one line for errors on the command line."""

from __future__ import annotations

import re
from typing import Any

from caps_fast.cli.options import given_for, typed
from caps_fast.errors import did_you_mean

CHOICE = re.compile(r"(?s).* is not one of (.*)")
KINDS = {"str": "TEXT", "list[str]": "TEXT", "float": "NUMBER", "int": "INTEGER", "path": "PATH"}


def plain_types(command: Any) -> None:
    """Show types of values as TEXT, NUMBER, INTEGER and PATH, and arguments by their names."""
    for one in command.params:
        if one.metavar is not None or getattr(one, "is_flag", False):
            continue
        if one.param_type_name == "argument":
            one.metavar = one.name.upper()
            one.display_type_rich = lambda ctx: ""
            continue
        try:
            shown = str(one.display_type(None)).strip("<>").removesuffix(" range")
        except (AttributeError, TypeError):  # Typer's message, if its form is unknown
            continue
        if shown in KINDS:
            one.metavar = KINDS[shown]


def usage(error: Any) -> str:
    """One line that names the option as it was typed, its value and what was expected."""
    context = getattr(error, "ctx", None)
    see = f" (see {context.command_path if context else 'caps-fast'} --help)"
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        known = (
            [name[2:] for one in context.command.params for name in one.opts if name.startswith("--")]
            if context
            else []
        )
        hint = did_you_mean(error.option_name.lstrip("-"), known).replace("mean ", "mean --")
        return f"No such option: {error.option_name}{hint}{see}"
    param = getattr(error, "param", None)
    if param is None or type(error).__name__ == "MissingParameter":
        return f"{error.format_message().rstrip('.')}{see}"
    name = typed(*param.opts) if param.param_type_name == "option" else param.name.upper()
    value = given_for(name)
    expected = str(error.message).removeprefix("Value error, ").split(", unable to parse")[0].rstrip(".")
    expected = (
        expected.replace("Input should be ", "expected ")
        .replace("valid integer", "whole number")
        .replace("a valid ", "a ")
    )
    if match := CHOICE.fullmatch(expected):
        choices = [choice.strip("' ") for choice in match[1].split(",")]
        return f"{name} {value!r}{did_you_mean(str(value), choices)}: expected one of {', '.join(choices)}{see}"
    several = (
        "; caps-fast grid takes several" if value and ("," in value or ".." in value) and "number" in expected else ""
    )
    return f"{name}{f' {value!r}' if value is not None else ''}: {expected}{several}{see}"
