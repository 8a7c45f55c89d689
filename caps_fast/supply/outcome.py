"""Results of a dispatch: energy by source, hourly matching, carbon, cost, wear of the battery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from caps_fast.books import ratio
from caps_fast.records import Array
from caps_fast.supply.assumptions import Assumptions
from caps_fast.supply.dispatch import FLOWS, play, signals
from caps_fast.supply.plant import Plant
from caps_fast.supply.site import HOUR_S, Site
from caps_fast.supply.waiting import moved

RULES = ("greedy", "price", "carbon")
FROM_SITE, FROM_GRID, DISCHARGED, IMPORTED, CURTAILED, STORED, CLEAN, UNSERVED = range(len(FLOWS))


@dataclass(frozen=True)
class Design:
    """Sizes of a supply, and the share of busy energy that may move within its day."""

    solar_kw: float = 0.0
    wind_kw: float = 0.0
    battery_kwh: float = 0.0
    battery_kw: float = 0.0
    wait_share: float = 0.0


@dataclass(frozen=True)
class Weather:
    """Available power of solar, wind and grid by sample of the site.

    solar_kwh, wind_kwh     float64 (n,): output of a kW of each
    limit_kwh               float64 (n,): greatest import; inf without a limit
    """

    solar_kwh: Array
    wind_kwh: Array
    limit_kwh: Array

    @classmethod
    def of(cls, site: Site, solar: Plant, wind: Plant, limit_kwh: Array) -> Weather:
        """From the plants' factors."""
        return cls(solar.factors * site.hours, wind.factors * site.hours, limit_kwh)


@dataclass(frozen=True)
class Dispatch:
    """The operation of a design.

    rule        of the battery, or the LP's objective
    run_kwh     float64 (n,): the load, after moving work
    flows       float64 (n, 8): columns of FLOWS, kWh
    """

    design: Design
    rule: str
    run_kwh: Array
    flows: Array


def run_load(site: Site, design: Design, made_kwh: Array, rule: str) -> Array:
    """The load after movable work has been placed by the grid's price (rule `price`) or carbon."""
    if design.wait_share == 0.0:
        return site.load_kwh
    value = site.price_per_kwh if rule == "price" else site.g_per_kwh
    return moved(
        site.load_kwh, design.wait_share * site.busy_kwh, made_kwh, value, site.most_kw * site.hours, site.days
    )


def flags(site: Site, rule: str, given: Assumptions) -> Array:
    """Flags of a rule: whether the grid may charge the battery, and the battery may serve the load, bool (2, n)."""
    n = len(site.load_kwh)
    if rule == "greedy":
        return np.stack([np.zeros(n, bool), np.ones(n, bool)])
    value = site.price_per_kwh if rule == "price" else site.g_per_kwh
    round_trip = given.charge_efficiency * given.discharge_efficiency
    return signals(
        value, site.edges_s[:-1], given.window_h * HOUR_S, given.low_quantile, given.high_quantile, round_trip
    )


def dispatch(
    site: Site,
    weather: Weather,
    design: Design,
    rule: str,
    given: Assumptions,
    may: Array,
    run_kwh: Array | None = None,
) -> Dispatch:
    """A design with a rule, whose flags are `may`; `run_kwh` is the load after moving work, if known already."""
    made_kwh = design.solar_kw * weather.solar_kwh + design.wind_kw * weather.wind_kwh
    if run_kwh is None:
        run_kwh = run_load(site, design, made_kwh, rule)
    flows = np.zeros((len(made_kwh), len(FLOWS)))
    usable_kwh = design.battery_kwh * given.depth_of_discharge
    battery = np.array(
        [usable_kwh, design.battery_kw, given.charge_efficiency, given.discharge_efficiency, given.fade_per_kwh]
    )
    play(run_kwh, made_kwh, site.hours, weather.limit_kwh, may, battery, flows)
    return Dispatch(design, rule, run_kwh, flows)


def figures(site: Site, weather: Weather, found: Dispatch, given: Assumptions) -> dict[str, Any]:
    """The figures of a dispatch, in kW, kWh, kg and the currency of the prices; docs/supply.md has them one by one."""
    design, flows = found.design, found.flows
    solar_kwh, wind_kwh = design.solar_kw * weather.solar_kwh, design.wind_kw * weather.wind_kwh
    sums = flows.sum(axis=0)
    load_kwh, solar, wind = float(found.run_kwh.sum()), float(solar_kwh.sum()), float(wind_kwh.sum())
    direct_kwh = solar + wind - float(sums[FROM_SITE] + sums[CURTAILED])
    imported = flows[:, IMPORTED]
    cycles, wear = wear_of(site, design, float(sums[DISCHARGED]), given)
    operational_kg = float(imported @ site.g_per_kwh) / 1000.0
    battery_kg = wear * given.battery_kg_per_kwh * design.battery_kwh
    embodied_kg = (given.solar_kg_per_mwh * solar + given.wind_kg_per_mwh * wind) / 1000.0 + battery_kg
    bought = float(imported @ site.price_per_kwh)
    plants_cost = (given.solar_cost_per_mwh * solar + given.wind_cost_per_mwh * wind) / 1000.0
    return {
        "rule": found.rule,
        **vars(design),
        "load_kwh": load_kwh,
        "moved_kwh": float(np.maximum(site.load_kwh - found.run_kwh, 0.0).sum()),
        "solar_kwh": solar,
        "wind_kwh": wind,
        "direct_kwh": direct_kwh,
        "charged_kwh": float(sums[FROM_SITE] + sums[FROM_GRID]),
        "discharged_kwh": float(sums[DISCHARGED]),
        "imported_kwh": float(sums[IMPORTED]),
        "curtailed_kwh": float(sums[CURTAILED]),
        "unserved_kwh": float(sums[UNSERVED]),
        "peak_import_kw": float((imported / site.hours).max()),
        "matched_by_sample": ratio(direct_kwh + float(sums[CLEAN]), load_kwh),
        "matched_in_all": min(ratio(solar + wind, load_kwh), 1.0),
        "operational_kg": operational_kg,
        "embodied_kg": embodied_kg,
        "total_kg": operational_kg + embodied_kg,
        "cost": bought + plants_cost + wear * given.battery_cost_per_kwh * design.battery_kwh,
        "cycles": cycles,
        "battery_wear": wear,
    }


def wear_of(site: Site, design: Design, discharged_kwh: float, given: Assumptions) -> tuple[float, float]:
    """Full cycles of the usable capacity, and the share of the battery's life that they or the years use."""
    if design.battery_kwh == 0.0:
        return 0.0, 0.0
    cycles = discharged_kwh / given.discharge_efficiency / (design.battery_kwh * given.depth_of_discharge)
    return cycles, max(cycles / given.cycles, site.years / given.battery_years)
