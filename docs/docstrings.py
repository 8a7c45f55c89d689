"""Docstrings for Sphinx: ours are prose, with names and what they are aligned in two columns."""

from __future__ import annotations

import re
from typing import Any

ALIGNED = re.compile(r"(\w[\w, ]*?) {2,}(\S.*)")


def lists_and_code(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring's aligned columns into a list, and its indented blocks after a colon into code, in place."""
    out: list[str] = []
    for line in lines:
        text = line.lstrip()
        in_list = bool(out) and out[-1].startswith(("* ", "  ")) and not out[-1].startswith("    ")
        aligned = ALIGNED.fullmatch(line)
        if aligned:
            out += [""] * (not in_list) + [f"* `{aligned[1]}`: {aligned[2]}"]
        elif in_list and text != line:
            out.append(f"  {text}")
        else:
            if text != line and len(out) > 1 and not out[-1] and re.search(r"^\S.*[^:]:$", out[-2]):
                out[-2] += ":"
            out.append(line)
    lines[:] = out
