"""A battery between load, on-site power and grid, sample by sample, with a rule of two flags per sample."""

from __future__ import annotations

import numpy as np

from caps_fast._jit import compiled
from caps_fast.records import Array

FLOWS = ("from_site", "from_grid", "discharged", "imported", "curtailed", "stored", "clean", "unserved")
"""Columns of the flows of a dispatch, kWh by sample: charged from on-site power and from the grid, discharged to the
load, imported (charging included), curtailed, stored at the sample's end, the part of the discharge from on-site power,
and load left unserved by a limit on imports."""


@compiled
def play(
    load_kwh: Array, made_kwh: Array, hours: Array, limit_kwh: Array, may: Array, battery: Array, flows: Array
) -> None:
    """Fill `flows`, float64 (n, 8), one column each of FLOWS.

    load_kwh, made_kwh, hours   float64 (n,): of the sample: the load, on-site generation, length
    limit_kwh   float64 (n,): greatest import
    may         bool (2, n): the grid may charge the battery; the battery may serve the load
    battery     float64 (5,): kWh between the depth of discharge and full, new (empty at the start); kW; efficiencies of
                charging and discharging; capacity lost per energy taken out

    On-site power serves the load first; its surplus charges the battery, and the rest is curtailed. If imports would
    exceed their limit, the battery serves the load whatever the rule.
    """
    usable_kwh, power_kw, charge_efficiency, discharge_efficiency, fade_per_kwh = battery
    stored, clean, taken = 0.0, 0.0, 0.0
    for i in range(load_kwh.shape[0]):
        most = power_kw * hours[i]
        room = max(min(most, (usable_kwh - fade_per_kwh * taken - stored) / charge_efficiency), 0.0)
        surplus = max(made_kwh[i] - load_kwh[i], 0.0)
        lack = max(load_kwh[i] - made_kwh[i], 0.0)
        from_site = min(surplus, room)
        out = min(lack, most, stored * discharge_efficiency)
        if not may[1, i]:
            out = min(out, max(lack - limit_kwh[i], 0.0))
        bought = min(lack - out, limit_kwh[i])
        from_grid = min(room - from_site, limit_kwh[i] - bought) if may[0, i] and out == 0.0 else 0.0
        share = clean / stored if stored > 0.0 else 0.0
        drawn = min(out / discharge_efficiency, stored)
        taken += drawn
        stored += (from_site + from_grid) * charge_efficiency - drawn
        clean = min(max(clean - share * drawn, 0.0) + from_site * charge_efficiency, stored)
        flows[i, 0] = from_site
        flows[i, 1] = from_grid
        flows[i, 2] = out
        flows[i, 3] = bought + from_grid
        flows[i, 4] = surplus - from_site
        flows[i, 5] = stored
        flows[i, 6] = share * out
        flows[i, 7] = lack - out - bought


def signals(values: Array, times_s: Array, window_s: float, low: float, high: float, efficiency: float) -> Array:
    """Samples in which the grid may charge the battery, and in which the battery may serve the load, bool (2, n).

    Against quantiles of the samples in the window (t - window_s, t]: charge at or below the low one if that is below
    the high one times the round-trip efficiency, discharge at or above the high one. The future is not used.
    """
    first = np.searchsorted(times_s, times_s - window_s, side="right")
    lows, highs = np.empty(len(values)), np.empty(len(values))
    for i, begin in enumerate(first):
        lows[i], highs[i] = np.quantile(values[begin : i + 1], (low, high))
    return np.stack([(values <= lows) & (values < efficiency * highs), values >= highs])
