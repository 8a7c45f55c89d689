"""Failures and repairs of replicas, drawn before a run, replica by replica (docs/model.md, section 15)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caps_fast import records
from caps_fast.errors import InputError
from caps_fast.records import Array, Rows
from caps_fast.replica_section import Kind
from caps_fast.scenario import Scenario
from caps_fast.standing import Life
from caps_fast.workload.streams import stream

MOST_LIVES = 20_000_000  # expected in a run: 320 MB
REPLICAS_OF_A_POOL = 1 << 20  # are fewer
DRAWN_AT_ONCE = 16


def fail(config: Scenario) -> bool:
    """Whether any replica can fail."""
    return any(kind.mtbf_s is not None for kind in config.fleet.kind_of)


def failure_rows(config: Scenario, scaling: dict[str, Any]) -> dict[str, Any]:
    """Fields of `arrays.State` by name: those of `pack_scaling`, with every replica in its first life, and `lives`.

    Raises InputError for too many failures.
    """
    if not fail(config):
        return scaling | {"lives": records.zeros(Life, 0)}
    lives = [own for p in range(len(config.fleet.pools)) for own in lives_of_pool(config, p)]
    standing = scaling["standing"]
    standing["life"] = np.cumsum([0, *map(len, lives[:-1])])
    standing["fails_s"] = [own["up_s"][0] for own in lives]
    first = int(np.argmin(standing["fails_s"]))
    scaling["scaling"]["failure_s"], scaling["scaling"]["fails_next"] = standing["fails_s"][first], first
    return scaling | {"lives": np.concatenate(lives)}


def lives_of_pool(config: Scenario, p: int) -> list[Rows[Life]]:
    """The lives of every replica of a pool, as many as it may need in the run; one without an end if its kind never
    fails.
    """
    pool, kind, until_s = config.fleet.pools[p], config.fleet.kind_of[p], config.horizon_s + config.drain_h * 3600.0
    if kind.mtbf_s is None:
        endless = records.zeros(Life, 1)
        endless["up_s"] = math.inf
        return [endless] * pool.replicas
    if pool.replicas * until_s / kind.mtbf_s > MOST_LIVES:
        raise InputError(
            f"mtbf_s {kind.mtbf_s:g}: pool {pool.name} would have {pool.replicas * until_s / kind.mtbf_s:,.0f} "
            "failures: "
            f"expected {MOST_LIVES:,} at most"
        )
    return [_lives(kind, until_s, _drawn(config.seed, p, i)) for i in range(pool.replicas)]


def _drawn(seed: int, p: int, i: int) -> np.random.Generator:
    return stream(seed, "failures", p * REPLICAS_OF_A_POOL + i)


def _lives(kind: Kind, until_s: float, draws: np.random.Generator) -> Rows[Life]:
    """Lives of a replica that is always on until their sum exceeds `until_s`."""
    units = draws.standard_exponential((DRAWN_AT_ONCE, 2))
    while units[:, 0].sum() * (kind.mtbf_s or 0.0) <= until_s:
        units = np.concatenate([units, draws.standard_exponential((len(units), 2))])
    ends_s: Array = np.cumsum(units[:, 0] * (kind.mtbf_s or 0.0))
    units = units[: int(np.searchsorted(ends_s, until_s, side="right")) + 1]
    lives = records.zeros(Life, len(units))
    lives["up_s"], lives["repair_s"] = units[:, 0] * (kind.mtbf_s or 0.0), units[:, 1] * (kind.repair_s or 0.0)
    return lives
