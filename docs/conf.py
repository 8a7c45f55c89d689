"""Sphinx builds the documentation site from the Markdown pages of this folder: `make docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from caps_fast import __version__

project = "caps-fast"
author = copyright = "The caps-fast authors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
suppress_warnings = ["myst.header", "toc.not_included"]  # a page's headings may skip a level

default_role = "literal"  # `code` in docstrings, as in Markdown
highlight_language = "text"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"caps-fast {release}"
html_show_sphinx = False
html_copy_source = False

ALIGNED = re.compile(r"(\w[\w, ]*?) {2,}(\S.*)")  # our docstrings align names and what they are in two columns


def markdown_like(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
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


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", markdown_like, priority=900)
