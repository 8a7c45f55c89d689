"""GPU profiles: speed and power of a serving replica, by name or from a file.

A profile is a TOML file with fields of `Gpu`, and `about`, `source` and a table `fit` (see
`caps_fast.profiles.fit`).
"""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from caps_fast.documents import parse_toml, read_toml
from caps_fast.errors import InputError, did_you_mean

ABOUT = ("source", "about", "fit")  # keys of a profile that describe it and are not fields of a GPU


def profiles() -> dict[str, dict[str, Any]]:
    """The built-in profiles by name."""
    found = {}
    for entry in sorted(files(__name__).iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".toml"):
            found[entry.name.removesuffix(".toml")] = parse_toml(entry.read_text(encoding="utf-8"))
    return found


def profile_fields(name: str, max_batch: int | None = None) -> dict[str, Any]:
    """Fields of a GPU from the built-in profile of that name or from a profile file ending in `.toml`.

    With `max_batch` (residents of a full GPU), `peak_w` is converted to that batch if the profile states the batch of
    its fit, so that the power at every batch stays as measured. Raises InputError for an unknown profile.
    """
    found = read_profile(name)
    fields = {key: value for key, value in found.items() if key not in ABOUT}
    fit = found.get("fit")
    if max_batch and isinstance(fit, dict) and "max_batch" in fit:
        return {**fields, "peak_w": peak_at(fields, fit["max_batch"], max_batch)}
    return fields


def read_profile(name: str) -> dict[str, Any]:
    """The content of a profile, built in or from a file ending in `.toml`. Raises InputError for an unknown profile."""
    built_in = profiles()
    if name in built_in:
        return built_in[name]
    if not name.endswith(".toml") or not Path(name).is_file():
        raise InputError(
            f"gpu.profile {name!r}{did_you_mean(name, built_in)}: expected one of {', '.join(built_in)} or a .toml "
            "file that exists"
        )
    return read_toml(name, "a GPU profile")


def peak_at(fields: dict[str, Any], old_max_batch: float, new_max_batch: float) -> float:
    """`peak_w` for another batch of a full replica: the power of Eq. 2 at that batch, to four digits.

    Raises InputError if a power field is missing.
    """
    if (
        isinstance(old_max_batch, bool)
        or not isinstance(old_max_batch, int | float)
        or not 0 < old_max_batch < math.inf
    ):
        raise InputError(f"gpu.profile: fit.max_batch {old_max_batch!r}: expected a number above 0")
    try:
        idle_w, peak_w, exponent = (float(fields[name]) for name in ("idle_w", "peak_w", "power_exponent"))
        return float(f"{idle_w + (peak_w - idle_w) * (new_max_batch / float(old_max_batch)) ** exponent:.4g}")
    except (KeyError, TypeError, ValueError, ArithmeticError):
        raise InputError(
            "gpu.profile: fit.max_batch needs the numbers idle_w, peak_w and power_exponent: expected all of them"
        ) from None
