"""One random stream per purpose, all from the run's seed: common random numbers across policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

PURPOSES = (
    *(
        "arrivals",
        "categories",
        "inputs",
        "outputs",
        "tenants",
        "tasks",
        "turns",
        "tenant_traits",
        "carbon",
        "forecast",
        "exploration",
    ),
    *("jumps", "sojourns", "batches", "positions", "origins", "sessions", "failures"),
)


def stream(seed: int, purpose: str, part: int = 0) -> np.random.Generator:
    """The generator of that purpose, for one of several parts of a workload with separate streams."""
    entropy = [seed, PURPOSES.index(purpose), *([part] if part else [])]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))


def states(streams: Mapping[str, np.random.Generator]) -> dict[str, Any]:
    """The positions of generators, as plain data."""
    return {name: _plain(generator.bit_generator.state) for name, generator in streams.items()}


def set_states(streams: Mapping[str, np.random.Generator], saved: Mapping[str, Any]) -> None:
    """Restore the positions of generators."""
    for name, generator in streams.items():
        state = saved[name]
        generator.bit_generator.state = state | {"state": {"state": np.array(state["state"]["state"], np.uint64)}}


def _plain(state: Any) -> dict[str, Any]:
    return {**state, "state": {"state": [int(word) for word in state["state"]["state"]]}}
