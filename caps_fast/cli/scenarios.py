"""A scenario as commands name it: a preset or a file, and fields set on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.scenario import Scenario


def scenario_of(name: str) -> Scenario:
    """The preset of that name, or else the scenario file. Raises InputError."""
    from caps_fast.scenario import load, preset, presets

    return preset(name) if name in presets() else load(name)


def settings(pairs: list[str] | None) -> dict[str, Any]:
    """Dotted fields and values from `field=value`, where a value may be a list or a table in JSON. Raises InputError."""
    from caps_fast.documents import parse_json
    from caps_fast.sweep.axes import field_of
    from caps_fast.sweep.values import scalar

    found = {}
    for pair in pairs or []:
        field, sign, value = pair.partition("=")
        if not sign:
            raise InputError(f"--set {pair!r}: expected field=value")
        try:
            found[field_of(field.strip())] = parse_json(value) if value.strip()[:1] in ("[", "{") else scalar(value)
        except InputError:
            raise
        except ValueError:
            raise InputError(f'--set {pair[:100]!r}: expected a list like [1, 2] or a table like {{"time": "ts"}}') from None
    return found
