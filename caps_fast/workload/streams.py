"""One random stream a purpose, all from the run's seed: common random numbers across policies."""

from __future__ import annotations

import numpy as np

PURPOSES = ("arrivals", "categories", "inputs", "outputs", "tenants", "tasks", "turns", "tenant_traits", "carbon", "forecast", "exploration")


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The generator of that purpose."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, PURPOSES.index(purpose)])))
