"""caps-fast: a fast batch simulator of carbon-aware scheduling of LLM inference.

>>> from caps_fast import preset, simulate
>>> result = simulate(preset("paper").replace(days=0.01, policy__name="round-robin"))
>>> result.metrics["requests"]
8524
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caps_fast.bounds import bound, bound_of_run
    from caps_fast.carbon.formats import read_carbon
    from caps_fast.errors import InputError
    from caps_fast.policy import policy, rules
    from caps_fast.results import Result
    from caps_fast.scenario import Scenario, load, preset, presets
    from caps_fast.simulation import Recording, prepare, simulate, simulate_group
    from caps_fast.sizing import size
    from caps_fast.study import compare, sweep
    from caps_fast.traces import read_requests as read_trace

__version__ = "0.2.0"

_HOME = {
    **dict.fromkeys(("Scenario", "load", "preset", "presets"), "scenario"),
    **dict.fromkeys(("Recording", "prepare", "simulate", "simulate_group"), "simulation"),
    "Result": "results",
    **dict.fromkeys(("compare", "sweep"), "study"),
    "size": "sizing",
    **dict.fromkeys(("bound", "bound_of_run"), "bounds"),
    **dict.fromkeys(("policy", "rules"), "policy"),
    "read_trace": "traces:read_requests",
    "read_carbon": "carbon.formats",
    "InputError": "errors",
}
__all__ = [
    "InputError",
    "Recording",
    "Result",
    "Scenario",
    "__version__",
    "bound",
    "bound_of_run",
    "compare",
    "load",
    "policy",
    "prepare",
    "preset",
    "presets",
    "read_carbon",
    "read_trace",
    "rules",
    "simulate",
    "simulate_group",
    "size",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line starts quickly."""
    if name in _HOME:
        home, _, other = _HOME[name].partition(":")
        return getattr(import_module(f"caps_fast.{home}"), other or name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
