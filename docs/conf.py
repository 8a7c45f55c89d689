"""Sphinx builds the documentation site from the Markdown pages of this folder: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from docstrings import lists_and_code
from field_tables import field_tables

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
suppress_warnings = ["myst.header"]  # a page's headings may skip a level

default_role = "literal"  # `code` in docstrings, as in Markdown
highlight_language = "text"
autodoc_typehints = "signature"
add_module_names = False
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"caps-fast {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path, html_css_files = ["_static"], ["wide.css"]


def with_field_tables(app: Any, page: str, source: list[str]) -> None:
    source[0] = source[0].replace("<!-- fields of a scenario -->", field_tables() if page == "scenarios" else "")


def setup(app: Any) -> None:
    app.connect("source-read", with_field_tables)
    app.connect("autodoc-process-docstring", lists_and_code, priority=900)
