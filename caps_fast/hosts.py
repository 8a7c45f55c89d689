"""Carbon of the hosts of nodes: a part of the accounts of the states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caps_fast.arrays import J_PER_KWH, STATES
from caps_fast.carbon.monitor import Monitor
from caps_fast.pack_scaling import host_share_w
from caps_fast.prices import samples_of
from caps_fast.records import Array
from caps_fast.scenario import Scenario


def host_carbon_g(config: Scenario, monitors: Sequence[Monitor], slices: Array, end_s: float) -> Array:
    """Carbon of each pool's hosts, which draw unless their node is off: float64 (n_pools,), PUE excluded.

    `slices` is time and energy by sample of the region's grid, pool by pool, and state.
    """
    regions, fleet = list(config.fleet.regions), config.fleet
    on = [state != "off" for state in STATES]
    carbon_g = np.zeros(len(fleet.pools))
    for p, (from_s, _, rows) in enumerate(samples_of(config, monitors, end_s)):
        trace = monitors[regions.index(fleet.pools[p].region)].trace
        on_s = slices[rows]["seconds"][:, on].sum(axis=1)
        carbon_g[p] = host_share_w(fleet.kind_of[p]) * float(trace.at(from_s) @ on_s) / J_PER_KWH
    return carbon_g
