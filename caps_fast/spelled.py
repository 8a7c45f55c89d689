"""Values of fields as users write them: `none`, dates, numbers in place of text, maps as text."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any, get_args, get_origin

from caps_fast.errors import InputError


def spelled(value: Any, annotation: Any) -> Any:
    """The value that is meant for a field of this type: `"none"` unsets an optional one, in TOML too.

    Raises ValueError for an invalid map.
    """
    kinds = {annotation, *get_args(annotation)}
    is_map = get_origin(annotation) is dict
    if isinstance(value, str) and value.strip().lower() == "none" and (type(None) in kinds or is_map):
        return {} if is_map else None
    if is_map and isinstance(value, str):
        return pairs(value)
    if str in kinds and isinstance(value, date | datetime | time):
        return value.isoformat()
    if str in kinds and isinstance(value, int | float) and not isinstance(value, bool) and not kinds & {int, float}:
        return str(value)
    return value


def pairs(text: str, origin: str = "") -> dict[str, str]:
    """A map from `a=b,c=d`. Raises InputError naming `origin`."""
    found = {}
    for part in text.split(","):
        ours, equals, name = part.partition("=")
        if not equals or not ours.strip() or not name.strip():
            raise InputError(
                f"{origin}{': ' * bool(origin)}{part!r}: expected NAME=VALUE,NAME=VALUE, like time=ts,tier=class"
            )
        if ours.strip() in found:
            raise InputError(f"{origin}{': ' * bool(origin)}{ours.strip()} appears twice; expected every name once")
        found[ours.strip()] = name.strip()
    return found
