"""Writing a fitted profile as TOML, and its picture."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caps_fast.files import expect_picture, whole
from caps_fast.profiles.fit import Fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BARE = re.compile("[A-Za-z0-9_-]+")


def profile_of(fit: Fit, about: str, source: str) -> dict[str, Any]:
    """The content of a profile file: description and source, the fields of a GPU, and the errors of the fit."""
    return {"about": about, "source": source, **fit.fields, "fit": fit.summary()}


def toml_text(profile: Mapping[str, Any]) -> str:
    """A profile as TOML; tables go last."""
    tables = {name: value for name, value in profile.items() if isinstance(value, dict) and _BARE.fullmatch(name)}
    lines = [_line(name, value) for name, value in profile.items() if name not in tables]
    for title, table in tables.items():
        lines += ["", f"[{title}]", *(_line(name, value) for name, value in table.items())]
    return "\n".join(lines) + "\n"


def save_figure(figure: Figure, path: str) -> None:
    """Write a figure in the format of the path's ending. Raises InputError if that is not possible."""
    expect_picture(path)
    content = io.BytesIO()
    figure.savefig(content, format=Path(path).suffix[1:].lower(), dpi=120)
    write_file(path, content.getvalue())


def write_file(path: str, content: bytes) -> None:
    """Write a file atomically. Raises InputError if it cannot be written."""
    with whole(Path(path)) as beside:
        beside.write_bytes(content)


def _line(name: str, value: Any) -> str:
    return f"{name if _BARE.fullmatch(name) else _toml(name)} = {_toml(value)}"


def _toml(value: Any) -> str:
    """A value of a line: JSON's strings (except one character) and finite numbers are valid TOML."""
    if isinstance(value, dict):
        return f"{{{', '.join(_line(name, one) for name, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f").encode("utf-8", "replace").decode()
