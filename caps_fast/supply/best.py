"""The best dispatch of a design with perfect foresight: a linear program, as a reference for every rule."""

from __future__ import annotations

import numpy as np

from caps_fast.bounds.program import Program
from caps_fast.records import Array
from caps_fast.supply.assumptions import Assumptions
from caps_fast.supply.outcome import Design, Dispatch, Weather
from caps_fast.supply.site import Site

OBJECTIVES = {"best": "carbon", "best-cost": "cost"}
"""Rules that are linear programs, and their objectives."""


def best(site: Site, weather: Weather, design: Design, rule: str, given: Assumptions) -> Dispatch:
    """The dispatch with the least total carbon (`best`) or cost (`best-cost`), with all limits of the rules.

    Variables by sample, in kWh: import, charge, discharge, store, total discharge so far; if work may wait, the part
    that runs, and what waits. The battery's wear is one variable, at least its share of cycles and of years.
    """
    n, hours = len(site.load_kwh), site.hours
    made = design.solar_kw * weather.solar_kwh + design.wind_kw * weather.wind_kwh
    per_kwh, wear_cost = site.g_per_kwh / 1000.0, given.battery_kg_per_kwh * design.battery_kwh
    if OBJECTIVES[rule] == "cost":
        per_kwh, wear_cost = site.price_per_kwh, given.battery_cost_per_kwh * design.battery_kwh
    power, usable = design.battery_kw * hours, design.battery_kwh * given.depth_of_discharge
    most = np.maximum(site.most_kw * hours, site.load_kwh)
    program = Program()
    imported, curtailed = program.add(np.minimum(most + power, weather.limit_kwh), per_kwh), program.add(made)
    charge, discharge = program.add(power), program.add(power)
    through = np.cumsum(power) / given.discharge_efficiency
    stored, taken = program.add(np.full(n, usable)), program.add(through)
    may_wait = design.wait_share * site.busy_kwh
    fixed = site.load_kwh - may_wait

    # imported + unserved + made - curtailed + discharge = run + charge
    balance = program.add_rows(fixed - made, equal=True)
    unserved = _unserved(program, balance, weather.limit_kwh, most, _penalty(per_kwh, wear_cost, usable, given))
    for variable, factor in ((imported, 1.0), (curtailed, -1.0), (discharge, 1.0), (charge, -1.0)):
        program.set(balance, variable, factor)

    # stored = before + charge e_c - discharge / e_d; taken = before + discharge / e_d
    store, take = program.add_rows(np.zeros(n), equal=True), program.add_rows(np.zeros(n), equal=True)
    program.set(store, stored, 1.0)
    program.set(store[1:], stored[:-1], -1.0)
    program.set(store, charge, -given.charge_efficiency)
    program.set(store, discharge, 1.0 / given.discharge_efficiency)
    program.set(take, taken, 1.0)
    program.set(take[1:], taken[:-1], -1.0)
    program.set(take, discharge, -1.0 / given.discharge_efficiency)

    # capacity left after fading; charging and discharging share the inverter
    fits, shared = program.add_rows(np.full(n, usable), equal=False), program.add_rows(power, equal=False)
    program.set(fits, stored, 1.0)
    program.set(fits, taken, given.fade_per_kwh)
    program.set(shared, charge, 1.0)
    program.set(shared, discharge, 1.0)
    if wear_cost > 0.0:
        life = usable * given.cycles
        wear = program.add(np.array([1.0 + site.years / given.battery_years + through[-1] / life]), wear_cost)
        lasts = program.add_rows(np.array([0.0, -site.years / given.battery_years]), equal=False)
        program.set(lasts[:1], taken[-1:], 1.0 / life)
        program.set(lasts, np.repeat(wear, 2), -1.0)
    run = _waiting(program, balance, site, may_wait, most - fixed)
    solved = program.solve()
    if solved is None:
        raise RuntimeError("HiGHS: infeasible, though the rules are not")
    x = np.maximum(solved[0], 0.0)
    run_kwh = fixed + x[run] if len(run) else site.load_kwh
    parts = [x[one] for one in (imported, curtailed, charge, discharge, stored)]
    parts.append(x[unserved] if len(unserved) else np.zeros(n))
    return Dispatch(design, rule, run_kwh, _flows(run_kwh, made, per_kwh >= 0.0, parts, given))


def _penalty(per_kwh: Array, wear_cost: float, usable: float, given: Assumptions) -> float:
    """A penalty above any cost of a kWh, so that load is never left without power for another aim."""
    wear = wear_cost / (usable * given.cycles) if usable > 0.0 else 0.0
    return 100.0 * (float(np.abs(per_kwh).max()) / (given.charge_efficiency * given.discharge_efficiency) + wear + 1e-6)


def _unserved(program: Program, balance: Array, limit_kwh: Array, most: Array, penalty: float) -> Array:
    """Variables of unserved load; none without a limit."""
    if not np.isfinite(limit_kwh).any():
        return np.zeros(0, np.int64)
    unserved = program.add(np.where(np.isfinite(limit_kwh), most, 0.0), penalty)
    program.set(balance, unserved, 1.0)
    return unserved


def _waiting(program: Program, balance: Array, site: Site, may_wait: Array, room: Array) -> Array:
    """Variables of movable work that runs in its own or a later sample of its day; none if no work may move."""
    if not may_wait.any():
        return np.zeros(0, np.int64)
    at = np.arange(len(may_wait))
    run = program.add(room)
    program.set(balance, run, -1.0)
    waiting = program.add(np.where(np.isin(at, site.days[1:] - 1), 0.0, np.cumsum(may_wait)))
    queue = program.add_rows(may_wait, equal=True)  # waiting = before + may wait - run
    program.set(queue, waiting, 1.0)
    program.set(queue, run, 1.0)
    inside = ~np.isin(at, site.days[:-1])
    program.set(queue[inside], waiting[at[inside] - 1], -1.0)
    return run


def _flows(run: Array, made: Array, costs: Array, parts: list[Array], given: Assumptions) -> Array:
    """Columns of FLOWS. If energy `costs` anything, simultaneous charging and discharging, which only ties can cause,
    are netted: the store stays the same and less is lost.
    """
    imported, curtailed, charge, discharge, stored, unserved = parts
    round_trip = given.charge_efficiency * given.discharge_efficiency
    both = np.where(costs, np.minimum(charge, discharge / round_trip), 0.0)
    charge, discharge, kept = charge - both, discharge - both * round_trip, both * (1.0 - round_trip)
    less = np.minimum(imported, kept)
    imported, curtailed = imported - less, curtailed + kept - less
    from_site = np.minimum(np.maximum(made - curtailed - run, 0.0), charge)
    clean = np.empty(len(run))
    level, before = 0.0, 0.0
    for i in range(len(run)):
        share = min(level / before, 1.0) if before > 0.0 else 0.0
        clean[i] = share * discharge[i]
        level = max(level - clean[i] / given.discharge_efficiency, 0.0) + from_site[i] * given.charge_efficiency
        before = stored[i]
        level = min(level, before)
    return np.column_stack([from_site, charge - from_site, discharge, imported, curtailed, stored, clean, unserved])
