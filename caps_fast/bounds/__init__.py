"""The bound: carbon that no policy can go below on the same requests, grids, speeds and powers (docs/bound.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caps_fast.arrays import J_PER_KWH
from caps_fast.bounds.demand import Demand, Promise, demand
from caps_fast.bounds.plan import Plan, Site, cheapest
from caps_fast.bounds.points import operating_points
from caps_fast.carbon.monitor import monitors_of
from caps_fast.carbon.trace import CarbonTrace
from caps_fast.errors import InputError
from caps_fast.pack_kinds import replica_power_w
from caps_fast.pack_scaling import host_share_w
from caps_fast.records import Array
from caps_fast.replica_section import Kind
from caps_fast.results import Result
from caps_fast.scenario import Scenario
from caps_fast.sections import TIERS
from caps_fast.workload import workload_of
from caps_fast.workload.ahead import expect_requests_ahead

SLOT_S = 300.0
MOST_SLOTS = 4096  # of a default length; longer runs have longer slots
BLOCK = 65_536
TINY_J = 1e-12


@dataclass(frozen=True, repr=False)
class Bound:
    """The least carbon of any policy.

    kg          carbon of the bill: of all states, PUE included
    kwh         energy of the plan that has it, PUE included; another policy may use less energy, never less carbon
    promise     what the policies keep for which it holds
    fixed       whether replicas are never off
    edges_s     float64 (n_slots + 1,): the slots of time
    sites       kinds of replica by region
    demand      the work
    plan        the plan
    """

    scenario: Scenario
    kg: float
    kwh: float
    promise: Promise
    fixed: bool
    edges_s: Array
    sites: list[Site]
    demand: Demand
    plan: Plan

    def __repr__(self) -> str:
        """One line."""
        kept = ", ".join(f"{tier} {share:.4g}" for tier, share in zip(TIERS, self.promise.attainment, strict=True))
        return f"<Bound {self.kg:.4g} kg, {self.kwh:.4g} kWh; attainment {kept}; {self.scenario!r}>"

    def told(self) -> dict[str, Any]:
        """The figures, as plain data."""
        lengths_s = np.diff(self.edges_s)
        until_s = self.scenario.horizon_s
        arriving = self.edges_s[:-1] < until_s
        return {
            "bound_kg": self.kg,
            "bound_kwh": self.kwh,
            "attainment": dict(zip(TIERS, self.promise.attainment, strict=True)),
            "finished": self.promise.finished,
            "fixed": self.fixed,
            "requests": int(self.demand.requests.sum()),
            "replicas": sum(site.replicas for site in self.sites),
            "busy_replicas": float(self.plan.replicas.sum(axis=0)[arriving] @ lengths_s[arriving]) / until_s,
            "slots": len(lengths_s),
            "slot_s": float(lengths_s.max()),
        }


def bound(
    scenario: Scenario,
    attainment: float | Mapping[str, float] = 1.0,
    *,
    finished: float = 1.0,
    fixed: bool = False,
    slot_s: float | None = None,
) -> Bound:
    """The least carbon of the bill that any policy can reach on these requests and grids (docs/bound.md).

    attainment  least share of each tier's requests that meet their SLO: one number, or `{"gold": 0.97}` by tier
    finished    least share of all requests that finish
    fixed       replicas are never off: idle ones draw idle power until the arrivals end
    slot_s      greatest length of a time slot, s; shorter slots give a higher bound; None = 300

    Raises InputError for bad inputs, and if no policy can keep the promise.

    >>> from caps_fast import bound, preset, simulate
    >>> scenario = preset("paper").replace(days=0.01, policy__name="round-robin")
    >>> least, result = bound(scenario, 0.4), simulate(scenario)
    >>> 0 < least.kg < result.metrics["bill_kg"]
    True
    """
    expect_requests_ahead(
        scenario, "arrivals depend on the policy, so there is no bound: expected a workload without sessions"
    )
    blocks = list(workload_of(scenario).blocks(BLOCK))
    return bound_of(
        scenario,
        blocks,
        [monitor.trace for monitor in monitors_of(scenario)],
        Promise.of(attainment, finished),
        fixed,
        slot_s,
    )


def bound_of(
    scenario: Scenario,
    blocks: Sequence[Array],
    traces: Sequence[CarbonTrace],
    promise: Promise,
    fixed: bool = False,
    slot_s: float | None = None,
) -> Bound:
    """The bound for these requests (REQUEST, in blocks) under these grids, one a region of the fleet.

    Raises InputError as `bound` does.
    """
    edges_s = _edges_s(scenario, traces, slot_s)
    longest_prompt = max((int(block["input_tokens"].max(initial=1)) for block in blocks), default=1)
    sites = _sites(scenario, traces, edges_s, longest_prompt, fixed)
    work = demand(blocks, scenario.slo.all, edges_s, promise, _prices_j(sites))
    plan = cheapest(work, sites, np.diff(edges_s))
    if plan is None:
        shares = ", ".join(f"{share:.4g} of {tier}" for share, tier in zip(promise.attainment, TIERS, strict=True))
        raise InputError(
            f"attainment {shares}: more than any policy can keep on this fleet; expected less, or more replicas"
        )
    kwh = (
        sum(float(own.sum()) * _pue(scenario, site) for own, site in zip(plan.energy_j, sites, strict=True)) / J_PER_KWH
    )
    return Bound(scenario, max(plan.certified_g, 0.0) / 1000.0, kwh, promise, fixed, edges_s, sites, work, plan)


def bound_of_run(result: Result, fixed: bool = False, slot_s: float | None = None) -> Bound:
    """The bound for policies with at least this run's SLO attainment in each tier and its share of finished requests.

    >>> from caps_fast import bound_of_run, preset, simulate
    >>> result = simulate(preset("paper").replace(days=0.01, policy__name="round-robin"))
    >>> bound_of_run(result).kg < result.metrics["bill_kg"]
    True
    """
    books = result.outcome.books
    met = [(books.of_tier("met", t), books.of_tier("requests", t)) for t in range(len(TIERS))]
    attainment = {tier: kept / count if count else 1.0 for tier, (kept, count) in zip(TIERS, met, strict=True)}
    finished = books.finished / books.requests if books.requests else 1.0
    return bound(result.scenario, attainment, finished=finished, fixed=fixed, slot_s=slot_s)


def _edges_s(scenario: Scenario, traces: Sequence[CarbonTrace], slot_s: float | None) -> Array:
    """Edges of the slots, from 0 to the end of the drain: samples of all grids, the end of the arrivals, and
    between them slots of equal length.
    """
    end_s = scenario.horizon_s + scenario.drain_h * 3600.0
    length_s = max(SLOT_S, end_s / MOST_SLOTS) if slot_s is None else slot_s
    if not (0.0 < length_s < np.inf) or end_s / length_s > 1e6:
        raise InputError(f"slot_s {length_s:g}: expected seconds above 0, and at most a million slots")
    samples = np.concatenate([trace.times_s for trace in traces])
    fixed_s = np.unique([0.0, scenario.horizon_s, end_s, *samples[(samples > 0.0) & (samples < end_s)]])
    counts = np.maximum(np.ceil(np.diff(fixed_s) / length_s - 1e-9).astype(int), 1)
    starts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(fixed_s[:-1], fixed_s[1:], counts, strict=True)]
    return np.concatenate([*starts, fixed_s[-1:]])


def _sites(
    scenario: Scenario, traces: Sequence[CarbonTrace], edges_s: Array, longest_prompt: int, fixed: bool
) -> list[Site]:
    """Kinds by region, with their replicas added up: a bound has no queues and roles."""
    fleet, names = scenario.fleet, list(scenario.fleet.regions)
    count: dict[tuple[str, str], int] = {}
    for pool in fleet.pools:
        count[pool.gpu, pool.region] = count.get((pool.gpu, pool.region), 0) + pool.replicas
    sites = []
    for (kind, region), replicas in count.items():
        own = fleet.kinds[kind]
        g_per_kwh = fleet.regions[region].pue * traces[names.index(region)].at(edges_s[:-1])
        idle_w = _unused_w(own) if fixed else 0.0
        points = operating_points(own, longest_prompt, idle_w)
        sites.append(
            Site(kind, region, replicas, points, g_per_kwh, np.where(edges_s[:-1] < scenario.horizon_s, idle_w, 0.0))
        )
    return sites


def _unused_w(kind: Kind) -> float:
    """The least power of a replica that is never off: idle or, where it may fail, failed."""
    idle_w = float(replica_power_w(kind, np.zeros(1))[0])
    return (
        idle_w if kind.mtbf_s is None else min(idle_w, kind.gpus_per_replica * (kind.off_w or 0.0) + host_share_w(kind))
    )


def _prices_j(sites: list[Site]) -> Array:
    """Least joules of a unit of each sort of work; 0 for a sort that takes no time on one of the sites."""
    least_j = [
        np.divide(
            site.points.power_w[:, None],
            site.points.per_s,
            where=site.points.per_s > 0.0,
            out=np.full(site.points.per_s.shape, np.inf),
        )
        for site in sites
    ]
    free = np.any([np.isinf(site.points.per_s).any(axis=0) for site in sites], axis=0)
    return np.where(free, 0.0, np.maximum(np.min([one.min(axis=0) for one in least_j], axis=0), TINY_J))


def _pue(scenario: Scenario, site: Site) -> float:
    return scenario.fleet.regions[site.region].pue
