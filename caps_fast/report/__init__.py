"""Figures and self-contained pages of results: `write_page` for runs in memory, `write_report` for a folder,
`rate_curves` as a picture.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caps_fast.report.rates import rate_curves
    from caps_fast.report.write import write_page, write_report

__all__ = ["rate_curves", "write_page", "write_report"]
_HOME = {"rate_curves": "rates", "write_page": "write", "write_report": "write"}


def __getattr__(name: str) -> Any:
    """Import on first use: charts and their library take a second."""
    if name in _HOME:
        return getattr(import_module(f"caps_fast.report.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
