"""Sweeps: all combinations of values of any field of a scenario, run on every core, resumable, with results in one
Parquet file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from caps_fast.callable_module import calls

if TYPE_CHECKING:
    from caps_fast.sweep.drive import Swept, check, sweep
    from caps_fast.sweep.fanout import Workers
    from caps_fast.sweep.file import read as load
    from caps_fast.sweep.plan import Grid, Plan
    from caps_fast.sweep.store import read

__all__ = ["Grid", "Plan", "Swept", "Workers", "check", "load", "read", "sweep"]

_HOME = {
    **dict.fromkeys(("Swept", "check", "sweep"), "drive"),
    **dict.fromkeys(("Grid", "Plan"), "plan"),
    "Workers": "fanout",
    "read": "store",
}


calls(__name__, "sweep", "caps_fast.study")  # for `from caps_fast import sweep`


def __getattr__(name: str) -> Any:
    """Import on first use: short commands only need the parsing of values."""
    if name == "load":
        return import_module("caps_fast.sweep.file").read
    if name in _HOME:
        return getattr(import_module(f"caps_fast.sweep.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
