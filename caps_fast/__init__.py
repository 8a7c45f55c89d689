"""caps-fast: a fast batch simulator of carbon-aware LLM-inference scheduling."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caps_fast.bounds import bound, bound_of_run
    from caps_fast.scenario import Scenario, load, preset
    from caps_fast.simulation import Recording, prepare, simulate, simulate_group
    from caps_fast.sizing import size

__version__ = "0.2.0"
__all__ = ["Recording", "Scenario", "__version__", "bound", "bound_of_run", "load", "prepare", "preset", "simulate", "simulate_group", "size"]

_HOME = {
    "bound": "bounds",
    "bound_of_run": "bounds",
    "Scenario": "scenario",
    "load": "scenario",
    "preset": "scenario",
    "Recording": "simulation",
    "prepare": "simulation",
    "simulate": "simulation",
    "simulate_group": "simulation",
    "size": "sizing",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line starts quickly."""
    if name in _HOME:
        return getattr(import_module(f"caps_fast.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
