"""Writing a fitted profile as TOML, and its picture."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caps_fast.files import expect_picture, whole
from caps_fast.profiles.fit import Fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def profile_of(fit: Fit, about: str, source: str) -> dict[str, Any]:
    """What a profile file says: what and whence, the fields of a GPU, and how well they fit."""
    return {"about": about, "source": source, **fit.fields, "fit": fit.summary()}


def toml_text(profile: Mapping[str, Any]) -> str:
    """A profile as TOML; tables go last."""
    tables = {name: value for name, value in profile.items() if isinstance(value, dict)}
    lines = [_line(name, value) for name, value in profile.items() if name not in tables]
    for title, table in tables.items():
        lines += ["", f"[{title}]", *(_line(name, value) for name, value in table.items())]
    return "\n".join(lines) + "\n"


def save_figure(figure: Figure, path: str) -> None:
    """Write a figure in the form that the path's ending names. Raises InputError where that cannot be done."""
    expect_picture(path)
    content = io.BytesIO()
    figure.savefig(content, format=Path(path).suffix[1:].lower(), dpi=120)
    write_file(path, content.getvalue())


def write_file(path: str, content: bytes) -> None:
    """Write a file whole or not at all. Raises InputError where it cannot be written."""
    with whole(Path(path)) as beside:
        beside.write_bytes(content)


def _line(name: str, value: Any) -> str:
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"  # JSON's texts, numbers and lists of them are TOML's
