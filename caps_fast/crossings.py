"""Accounts of a run over several regions, computed from its energy: marginal carbon, and transfers over links."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from caps_fast.arrays import J_PER_KWH, N_STATES, State
from caps_fast.books import Moved
from caps_fast.carbon.monitor import Monitor
from caps_fast.scenario import Scenario

HOUR_S = 3600.0


def moved(config: Scenario, state: State) -> Moved:
    """Transfers over links in a finished run."""
    if config.links is None:
        return Moved()
    transit = state.transit[0]
    return Moved(
        requests=int(transit["moved"]),
        bytes=int(transit["moved_tokens"]) * config.links.bytes_per_token,
        energy_j=float(state.link_j.sum()),
        carbon_g=float(state.link_j @ state.carbon_g_per_kwh) / J_PER_KWH,
    )


def marginal_g(config: Scenario, state: State, monitors: Sequence[Monitor]) -> float:
    """Carbon of all energy of a run by marginal intensity, PUE included; nan where a region has no such intensity."""
    marginal = [monitor.marginal.g_per_kwh for monitor in monitors if monitor.marginal is not None]
    if len(marginal) < len(monitors):
        return math.nan
    energy_j = state.slices["energy_j"].reshape(-1, N_STATES).sum(axis=1)
    names, until_s = list(config.fleet.regions), config.horizon_s + config.drain_h * HOUR_S
    total, at = float(state.link_j @ np.concatenate(marginal)), 0
    for pool in config.fleet.pools:
        z = names.index(pool.region)
        first, last = (
            max(int(np.searchsorted(monitors[z].trace.times_s, t_s, side="right")) - 1, 0) for t_s in (0.0, until_s)
        )
        count = last - first + 1
        total += config.fleet.regions[pool.region].pue * float(
            energy_j[at : at + count] @ marginal[z][first : first + count]
        )
        at += count
    return total / J_PER_KWH


def signal_notes(config: Scenario, monitors: Sequence[Monitor]) -> Iterator[str]:
    """Notes on the dates of the grids, and on the kinds of intensity in the accounts and the decisions."""
    regions = config.fleet.regions
    begins = {
        name: monitor.trace.start
        for name, monitor in zip(regions, monitors, strict=True)
        if monitor.trace.start is not None
    }
    if len(set(begins.values())) > 1:
        told = ", ".join(f"{at:%Y-%m-%d %H:%M} UTC in {name}" for name, at in begins.items())
        yield f"grids are not on the same dates: t = 0 is {told}; set start to align them"
    kinds = {region.carbon.kind for region in regions.values()}
    if len(kinds) > 1:
        told = ", ".join(f"{name} {region.carbon.kind}" for name, region in regions.items())
        yield (
            f"carbon of different kinds in one sum: {told}; set average intensity as carbon and marginal intensity as "
            "marginal"
        )
    limited = [name for name, region in regions.items() if region.has_limit]
    if limited and "power-limit" not in config.policy.scalings and not config.policy.own:
        yield f"the power limit of {', '.join(limited)} was not kept: expected policy.scaling power-limit"
    deciding = [name for name, region in regions.items() if region.decide_on == "marginal"]
    if deciding:
        told = "carbon and bill_kg use average intensity, marginal_kg is the bill by marginal intensity"
        yield f"policies see marginal intensity in {', '.join(deciding)}; {told}"
