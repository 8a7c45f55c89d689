"""The linear program: the least carbon for which the work can be done, and the plan that has it (docs/bound.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from caps_fast.arrays import J_PER_KWH
from caps_fast.bounds.demand import Demand
from caps_fast.bounds.points import Points
from caps_fast.records import Array

INFEASIBLE = 2


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
    certified_g no plan has less: the dual's value, in which the solver's tolerances do no harm
    replicas    float64 (n_sites, n_slots): busy, mean of the slot
    energy_j    float64 (n_sites, n_slots): at the replicas, idle ones included
    backlog     float64 (4, n_tiers + 1, n_slots): work that waits at the end of the slot, by sort and tier; last what is late
    """

    grams: float
    certified_g: float
    replicas: Array
    energy_j: Array
    backlog: Array


@dataclass
class _Program:
    """A linear program that grows by blocks of variables and rows: minimise cost . x, rows x <= or = limit, 0 <= x <= upper."""

    cost: list[Array] = field(default_factory=list)
    upper: list[Array] = field(default_factory=list)
    rows: list[tuple[Array, Array, Array]] = field(default_factory=list)
    limit: list[Array] = field(default_factory=list)
    equal: list[Array] = field(default_factory=list)
    variables: int = 0
    height: int = 0

    def add(self, upper: Array, cost: Array | float = 0.0) -> Array:
        """New variables, and their numbers."""
        self.upper.append(upper)
        self.cost.append(np.broadcast_to(np.asarray(cost, np.float64), upper.shape))
        self.variables += len(upper)
        return np.arange(self.variables - len(upper), self.variables)

    def add_rows(self, limit: Array, equal: bool) -> Array:
        """New rows, and their numbers."""
        self.limit.append(limit)
        self.equal.append(np.full(len(limit), equal))
        self.height += len(limit)
        return np.arange(self.height - len(limit), self.height)

    def set(self, rows: Array, variables: Array, factor: Array | float) -> None:
        """Factors of variables in rows, one by one."""
        self.rows.append((rows, variables, np.broadcast_to(np.asarray(factor, np.float64), rows.shape)))

    def solve(self) -> tuple[Array, float, float] | None:
        """The minimiser, the minimum, and a value that weak duality puts below it whatever the solver's tolerances; None where there is none."""
        row, column, factor = (np.concatenate(part) for part in zip(*self.rows, strict=True))
        matrix = sparse.csr_array((factor, (row, column)), (self.height, self.variables))
        cost, upper, limit, equal = (np.concatenate(part) for part in (self.cost, self.upper, self.limit, self.equal))
        found = linprog(
            cost,
            A_ub=matrix[~equal],
            b_ub=limit[~equal],
            A_eq=matrix[equal],
            b_eq=limit[equal],
            bounds=np.column_stack([np.zeros(len(upper)), upper]),
            method="highs",
        )
        if found.status == INFEASIBLE:
            return None
        if found.status != 0:
            raise RuntimeError(f"HiGHS: {found.message}")
        dual = np.zeros(self.height)
        dual[equal], dual[~equal] = found.eqlin.marginals, np.minimum(found.ineqlin.marginals, 0.0)
        reduced = cost - dual @ matrix
        return found.x, float(found.fun), float(dual @ limit + np.minimum(reduced, 0.0) @ upper)


def cheapest(work: Demand, sites: list[Site], slot_s: Array) -> Plan | None:
    """The plan of least carbon for `work` on `sites` in slots that last `slot_s`, float64 (n_slots,); None where no plan is in time.

    Work is in units of its mean a slot, a replica's time in slots.
    """
    program, slots = _Program(), len(slot_s)
    amount = work.arrived.sum(axis=(1, 2))
    sorts = np.flatnonzero(amount > 0.0).tolist()
    unit = np.where(amount > 0.0, amount / slots, 1.0)
    supply = {sort: program.add_rows(np.zeros(slots), equal=False) for sort in sorts}
    backlog = {}
    for sort in sorts:
        backlog.update(_inventories(program, work, sort, unit[sort], supply[sort]))
    busy = [_operate(program, site, supply, unit, slot_s) for site in sites]
    always_j = np.array([site.replicas * site.idle_w * slot_s for site in sites])
    always_g = float(sum(site.g_per_kwh @ own for site, own in zip(sites, always_j, strict=True)) / J_PER_KWH)
    if not sorts:
        return Plan(always_g, always_g, np.zeros((len(sites), slots)), always_j, np.zeros((len(amount), work.arrived.shape[1] + 1, slots)))
    solved = program.solve()
    if solved is None:
        return None
    x, grams, certified_g = solved
    held = np.zeros((len(amount), work.arrived.shape[1] + 1, slots))
    for (sort, tier), variables in backlog.items():
        held[sort, tier] = x[variables] * unit[sort]
    more_j = [_extra_w(site).T * slot_s * x[own] for site, own in zip(sites, busy, strict=True)]
    energy_j = always_j + np.array([one.sum(axis=0) for one in more_j])
    return Plan(grams + always_g, certified_g + always_g, np.array([x[own].sum(axis=0) for own in busy]), energy_j, held)


def _inventories(program: _Program, work: Demand, sort: int, unit: float, supply: Array) -> dict[tuple[int, int], Array]:
    """Variables and rows of one sort of work: what waits by tier, of which as much as is excused may turn late; what is late waits until the end.

    Returns the variables of what waits at the end of each slot, by sort and tier.
    """
    slots, tiers = len(supply), work.arrived.shape[1]
    waiting = {}
    late_in = program.add_rows(np.zeros(slots), equal=True)
    total = float(work.arrived[sort].sum()) / unit
    for tier in range(tiers):
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
        if work.excused[sort, tier] > 0.0:
            turns_late = program.add(arrived)
            program.set(balance, turns_late, 1.0)
            program.set(late_in, turns_late, -1.0)
            program.set(program.add_rows(np.array([work.excused[sort, tier] / unit]), equal=False)[np.zeros(slots, int)], turns_late, 1.0)
    stays = np.full(slots, total)
    stays[-1] = min(work.dropped[sort] / unit, total)
    late, late_done = program.add(stays), program.add(np.full(slots, total))
    _hold(program, late_in, late, late_done)
    program.set(supply, late_done, 1.0)
    waiting[sort, tiers] = late
    return waiting


def _hold(program: _Program, balance: Array, waits: Array, done: Array) -> None:
    """What waits at the end of a slot is what waited before it and what came, less what is done: rows `waits - before + done = came`."""
    program.set(balance, waits, 1.0)
    program.set(balance[1:], waits[:-1], -1.0)
    program.set(balance, done, 1.0)


def _operate(program: _Program, site: Site, supply: dict[int, Array], unit: Array, slot_s: Array) -> Array:
    """Variables of a site: the replicas at each operating point, int64 (n_points, n_slots); rows that bound their sum."""
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
    """What a replica draws at an operating point beyond idle: float64 (n_slots, n_points)."""
    return np.asarray(site.points.power_w - site.idle_w[:, None])
