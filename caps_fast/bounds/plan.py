"""The linear program: the least carbon for which the work can be done, and its plan (docs/bound.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caps_fast.arrays import J_PER_KWH, N_TIERS
from caps_fast.bounds.demand import Demand
from caps_fast.bounds.points import Points
from caps_fast.bounds.program import Program
from caps_fast.records import Array


@dataclass(frozen=True)
class Site:
    """The replicas of one kind in one region.

    g_per_kwh   float64 (n_slots,): carbon of a kWh at the replica, PUE included
    idle_w      float64 (n_slots,): what a replica draws while it does nothing
    """

    kind: str
    region: str
    replicas: int
    points: Points
    g_per_kwh: Array
    idle_w: Array


@dataclass(frozen=True)
class Plan:
    """The cheapest plan.

    grams       carbon of the plan
    certified_g no plan has less: the value of the dual, which holds whatever the solver's tolerances
    replicas    float64 (n_sites, n_slots): busy, mean of the slot
    energy_j    float64 (n_sites, n_slots): at the replicas, idle ones included
    backlog     float64 (4, n_tiers + 1, n_slots): work that waits at the end of the slot, by sort and tier; late work
                last
    """

    grams: float
    certified_g: float
    replicas: Array
    energy_j: Array
    backlog: Array


def cheapest(work: Demand, sites: list[Site], slot_s: Array) -> Plan | None:
    """The plan of least carbon for `work` on `sites` in slots that last `slot_s`, float64 (n_slots,); None if no plan
    meets the deadlines.

    Work is in units of its mean per slot, a replica's time in slots.
    """
    program, slots = Program(), len(slot_s)
    amount = work.arrived.sum(axis=(1, 2))
    sorts = np.flatnonzero(amount > 0.0).tolist()
    unit = np.where(amount > 0.0, amount / slots, 1.0)
    supply = {sort: program.add_rows(np.zeros(slots), equal=False) for sort in sorts}
    waits, turned = {}, {}
    for sort in sorts:
        own, late = _inventories(program, work, sort, unit[sort], supply[sort])
        waits.update(own)
        turned.update(late)
    _excuse(program, work, unit, turned, {sort: waits[sort, N_TIERS][-1] for sort in sorts})
    busy = [_operate(program, site, supply, unit, slot_s) for site in sites]
    always_j = np.array([site.replicas * site.idle_w * slot_s for site in sites])
    always_g = float(sum(site.g_per_kwh @ own for site, own in zip(sites, always_j, strict=True)) / J_PER_KWH)
    if not sorts:
        return Plan(
            always_g, always_g, np.zeros((len(sites), slots)), always_j, np.zeros((len(amount), N_TIERS + 1, slots))
        )
    solved = program.solve()
    if solved is None:
        return None
    x, grams, certified_g = solved
    held = np.zeros((len(amount), N_TIERS + 1, slots))
    for (sort, tier), variables in waits.items():
        held[sort, tier] = x[variables] * unit[sort]
    more_j = [_extra_w(site).T * slot_s * x[own] for site, own in zip(sites, busy, strict=True)]
    energy_j = always_j + np.array([one.sum(axis=0) for one in more_j])
    return Plan(
        grams + always_g, certified_g + always_g, np.array([x[own].sum(axis=0) for own in busy]), energy_j, held
    )


def _inventories(
    program: Program, work: Demand, sort: int, unit: float, supply: Array
) -> tuple[dict[tuple[int, int], Array], dict[tuple[int, int], int]]:
    """Variables and rows of one sort of work: what waits by tier, of which the excused part may become late; late work
    waits until the end.

    Returns, by sort and tier, the variables of what waits at the end of each slot (after the last tier: late work) and
    of what becomes late in total.
    """
    slots = len(supply)
    waiting, turned = {}, {}
    late_in = program.add_rows(np.zeros(slots), equal=True)
    for tier in range(N_TIERS):
        arrived, due = work.arrived[sort, tier] / unit, work.due[sort, tier] / unit
        if not arrived.any():
            continue
        not_due = np.maximum(np.cumsum(arrived) - np.cumsum(due), 0.0)
        not_due[-1] = 0.0
        waits, done = program.add(not_due), program.add(np.full(slots, arrived.sum()))
        balance = program.add_rows(arrived, equal=True)
        _hold(program, balance, waits, done)
        program.set(supply, done, 1.0)
        waiting[sort, tier] = waits
        if work.excused[:, tier].any():
            turns_late, in_all = program.add(arrived), program.add(np.array([arrived.sum()]))
            program.set(balance, turns_late, 1.0)
            program.set(late_in, turns_late, -1.0)
            total = program.add_rows(np.zeros(1), equal=True)
            program.set(np.repeat(total, slots), turns_late, 1.0)
            program.set(total, in_all, -1.0)
            turned[sort, tier] = int(in_all[0])
    everything = np.full(slots, float(work.arrived[sort].sum()) / unit)
    late, late_done = program.add(everything), program.add(everything)
    _hold(program, late_in, late, late_done)
    program.set(supply, late_done, 1.0)
    waiting[sort, N_TIERS] = late
    return waiting, turned


def _excuse(
    program: Program, work: Demand, unit: Array, turned: dict[tuple[int, int], int], left: dict[int, int]
) -> None:
    """Rows that limit what becomes late, by tier, and what is left undone, by all weightings of the sorts of work."""
    for weights, excused, dropped in zip(work.weights, work.excused, work.dropped, strict=True):
        for tier in range(N_TIERS):
            own = {sort: variable for (sort, of), variable in turned.items() if of == tier}
            _limit(program, own, weights * unit, excused[tier])
        _limit(program, left, weights * unit, dropped)


def _limit(program: Program, variables: dict[int, int], weights: Array, most: float) -> None:
    """A row: an upper limit of the weighted sum of variables by sort."""
    factors = np.array([weights[sort] for sort in variables])
    if factors.any():
        scale = factors.max()
        row = program.add_rows(np.array([most / scale]), equal=False)
        program.set(np.repeat(row, len(factors)), np.array([*variables.values()]), factors / scale)


def _hold(program: Program, balance: Array, waits: Array, done: Array) -> None:
    """What waits at the end of a slot is what waited before it plus arrivals less what is done: rows
    `waits - before + done = came`.
    """
    program.set(balance, waits, 1.0)
    program.set(balance[1:], waits[:-1], -1.0)
    program.set(balance, done, 1.0)


def _operate(program: Program, site: Site, supply: dict[int, Array], unit: Array, slot_s: Array) -> Array:
    """Variables of a site: the replicas at each operating point, int64 (n_points, n_slots); rows that bound their
    sum.
    """
    slots, extra_w = len(slot_s), _extra_w(site)
    numbers = []
    for at, per_s in enumerate(site.points.per_s):
        cost = site.g_per_kwh * extra_w[:, at] * slot_s / J_PER_KWH
        own = program.add(np.full(slots, float(site.replicas)), cost)
        for sort, rows in supply.items():
            if per_s[sort] > 0.0:
                program.set(rows, own, -per_s[sort] * slot_s / unit[sort])
        numbers.append(own)
    capacity = program.add_rows(np.full(slots, float(site.replicas)), equal=False)
    for own in numbers:
        program.set(capacity, own, 1.0)
    return np.array(numbers)


def _extra_w(site: Site) -> Array:
    """Power of a replica at an operating point above idle: float64 (n_slots, n_points)."""
    return np.asarray(site.points.power_w - site.idle_w[:, None])
