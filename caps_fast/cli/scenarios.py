"""The scenario of a command: a preset or a file, with fields set on the command line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caps_fast.cli.declared import option_of
from caps_fast.cli.options import OF_FIELD, typed
from caps_fast.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from caps_fast.scenario import Scenario

RATE = "workload.rate_rps"


def scenario_of(name: str) -> Scenario:
    """The preset of that name, or the scenario file. Raises InputError."""
    from caps_fast.scenario import load, preset, presets

    expect_scenario(name)
    return preset(name) if name in presets() else load(name)


def expect_scenario(name: str) -> None:
    """Raise InputError if there is neither a preset nor a file of that name."""
    from caps_fast.scenario import presets

    known = presets()
    if name not in known and not name.endswith(".toml") and not Path(name).exists():
        hint = did_you_mean(name, known)
        raise InputError(
            f"scenario {name!r}{hint}: no preset and no file of that name; expected {', '.join(known)} or a file "
            "in TOML"
        )


def stated(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields whose option was given."""
    return {field: value for field, value in given.items() if value is not None}


def changed(config: Scenario, given: Mapping[str, Any], set_: Sequence[str] | None = None) -> Scenario:
    """The scenario with the fields of options and of `--set` changed.

    Raises InputError, which names the option as typed.
    """
    own = settings(set_)
    with as_typed(given, own):
        found = config.replace({**given, **own})
        users = found.workload.sessions and found.workload.sessions.users
        if users and {**given, **own}.get(RATE) is not None:
            raise InputError(f"{RATE} with workload.sessions.users {users}: users have no rate; expected one of them")
    return found


@contextmanager
def as_typed(given: Collection[str], own: Collection[str] = ()) -> Iterator[None]:
    """A context in which an InputError about a field names the option that gave it, or `--set` for `own` fields."""
    try:
        yield
    except InputError as error:
        raise InputError(_as_typed(str(error), given, own)) from None


def _as_typed(message: str, given: Collection[str], own: Collection[str]) -> str:
    """The message with the option in place of the field at its start."""
    text = message.removeprefix("scenario: ")
    for field in sorted((*own, *given), key=len, reverse=True):
        names = OF_FIELD.get(field) or option_of(field)
        option = f"--set {field}" if field in own or not names else typed(*names)
        if found := re.match(rf"{re.escape(field).replace(re.escape('.'), '[. ]')}(?=[ :(])", text):
            return option + text[found.end() :]
    if "policy.name" in given and text.startswith("policy "):
        return f"{typed(*OF_FIELD['policy.name'])}: {text}"
    return message


def expect_files(outputs: Mapping[str, Path | None], inputs: Collection[str]) -> None:
    """Check the files to write, by option, before any work: their endings and folders. Raises InputError."""
    from caps_fast.files import expect_outputs, expect_parquet, expect_picture

    if (picture := outputs.get("--picture")) is not None:
        expect_picture(picture)
    if (page := outputs.get("--report")) is not None and page.suffix.lower() != ".html":
        raise InputError(f"--report {page}: expected a name that ends in .html")
    expect_outputs(outputs, inputs)
    expect_parquet({option: path for option, path in outputs.items() if option in ("--requests-out", "--series-out")})


def settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Dotted fields and values from `field=value`, where a value may be a list or a table in JSON.

    Raises InputError.
    """
    from caps_fast.documents import parse_json
    from caps_fast.sweep.axes import field_of
    from caps_fast.sweep.values import scalar

    found = {}
    for pair in pairs or []:
        field, sign, value = pair.partition("=")
        if not sign or not field.strip():
            raise InputError(f"--set {pair!r}: expected field=value")
        try:
            found[field_of(field.strip())] = parse_json(value) if value.strip()[:1] in ("[", "{") else scalar(value)
        except InputError:
            raise
        except ValueError:
            raise InputError(
                f'--set {pair[:100]!r}: expected a list like [1, 2] or a table like {{"time": "ts"}}'
            ) from None
    return found
