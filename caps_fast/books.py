"""The accounts of a finished run, from which metrics are computed: sums, quantiles of latencies, figures by pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np

from caps_fast import arrays
from caps_fast.arrays import BUSY, IDLE, N_CATEGORIES, N_LEVELS, N_STATES, N_TIERS
from caps_fast.records import Array

SEEN_STATES = (
    *arrays.STATES,
    "draining",
)  # of a series: draining replicas are counted apart from those that take work
QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class PoolBooks:
    """The accounts of one pool.

    slots           most residents that its replicas hold
    requests        finished requests that were placed in it
    spent           ACCOUNT (n_states,): replica-seconds, energy (J) and carbon (g) by state
    member_s        resident-seconds
    end_s           length of the run, s
    """

    slots: int
    requests: int
    spent: Array
    member_s: float
    end_s: float


@dataclass(frozen=True)
class Terms:
    """What a pool's replicas cost, apart from carbon.

    energy_cost             of all its energy, PUE included, in any currency
    price_per_replica_hour  in the same currency
    embodied_kg_per_s       carbon of making a replica, per second of its life
    water_l_per_kwh         of energy at the replicas
    host_w                  a replica's share of its node's host, drawn unless it is off
    host_carbon_g           of all that, PUE excluded
    """

    energy_cost: float
    price_per_replica_hour: float
    embodied_kg_per_s: float
    water_l_per_kwh: float
    host_w: float
    host_carbon_g: float


@dataclass(frozen=True)
class Moved:
    """Transfers over links: requests, bytes, energy (J), carbon (g)."""

    requests: int = 0
    bytes: float = 0.0
    energy_j: float = 0.0
    carbon_g: float = 0.0


NOTHING_MOVED = Moved()


@dataclass(frozen=True)
class Books:
    """The accounts of one run.

    cells           CELL (27,): accounts by carbon level, category and tier
    pools           POOL (n_pools,)
    spent           ACCOUNT (n_pools, n_states): replica-seconds, energy (J) and carbon (g)
    histograms      int64 (3, 4, HISTOGRAM_BINS): tier, latency, bin
    horizon_s       length of the arrivals, s
    end_s           last completion, or the end of the drain if work is unfinished, s
    preemptions     pre-empted sequences
    recomputed_tokens  tokens whose KV was lost
    strength        `standing.Strength` (n_pools,): starts and wakes of replicas
    names, roles    of the pools, in order
    replicas        of each pool
    max_batch       of each pool: most residents that a replica holds
    pue             of each pool: power usage effectiveness of its region
    terms           of each pool
    marginal_g      carbon of all states by marginal intensity, PUE included, and of links; nan where a region has none
    moved           transfers over links
    """

    cells: Array
    pools: Array
    spent: Array
    histograms: Array
    horizon_s: float
    end_s: float
    preemptions: int
    recomputed_tokens: int
    strength: Array
    names: Sequence[str]
    roles: Sequence[str]
    replicas: Sequence[int]
    max_batch: Sequence[int]
    pue: Sequence[float]
    terms: Sequence[Terms]
    marginal_g: float = float("nan")
    moved: Moved = NOTHING_MOVED
    _quantiles_s: dict[tuple[str, int | None], list[float]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def requests(self) -> int:
        """Arrived requests."""
        return int(self.cells["requests"].sum())

    @cached_property
    def finished(self) -> int:
        """Finished requests."""
        return int(self.cells["finished"].sum())

    @cached_property
    def rejected(self) -> int:
        """Rejected requests."""
        return int(self.cells["rejected"].sum())

    @cached_property
    def output_tokens(self) -> int:
        """Output tokens of finished requests."""
        return int(self.cells["output_tokens"].sum())

    @cached_property
    def good_tokens(self) -> int:
        """Output tokens of requests that met their SLO."""
        return int(self.cells["good_tokens"].sum())

    @cached_property
    def held_tokens(self) -> int:
        """Output tokens of requests that a gate held back."""
        return int(self.cells["held_tokens"].sum())

    @cached_property
    def energy_j(self) -> float:
        """Attributed energy, J."""
        return float(self.spent["energy_j"][:, BUSY].sum())

    @cached_property
    def carbon_g(self) -> float:
        """Attributed carbon, g."""
        return float(self.spent["carbon_g"][:, BUSY].sum())

    @cached_property
    def idle_energy_j(self) -> float:
        """Energy of replicas without residents, from 0 to the end of the arrivals, J."""
        return float(self.spent["energy_j"][:, IDLE].sum())

    @cached_property
    def idle_carbon_g(self) -> float:
        """Carbon of replicas without residents, from 0 to the end of the arrivals, g."""
        return float(self.spent["carbon_g"][:, IDLE].sum())

    def standby(self, name: str) -> float:
        """Energy (`energy_j`) or carbon (`carbon_g`) of replicas asleep, off, failed or changing their state."""
        return float(sum(self.spent[name][:, state].sum() for state in range(BUSY + 1, N_STATES)))

    def total(self, name: str) -> float:
        """Energy (`energy_j`) or carbon (`carbon_g`) of all states."""
        busy_and_idle: float = getattr(self, name) + getattr(self, f"idle_{name}")
        return busy_and_idle + self.standby(name)

    def bill(self, name: str) -> float:
        """Energy (`energy_j`) or carbon (`carbon_g`) of all states times the region's PUE, and of links."""
        moved: float = getattr(self.moved, name)
        return float(np.asarray(self.pue) @ self.spent[name].sum(axis=1)) + moved

    def overhead(self, name: str) -> float:
        """What the PUE adds to energy (`energy_j`) or carbon (`carbon_g`) of all states."""
        return float((np.asarray(self.pue) - 1.0) @ self.spent[name].sum(axis=1))

    @cached_property
    def host_energy_j(self) -> float:
        """Energy of the hosts of nodes that are not off, J; part of that of the states."""
        return float(np.array([pool.host_w for pool in self.terms]) @ self._on_s)

    @cached_property
    def host_carbon_g(self) -> float:
        """Carbon of the hosts of nodes that are not off, g; part of that of the states."""
        return sum(pool.host_carbon_g for pool in self.terms)

    @cached_property
    def replica_hours(self) -> float:
        """Hours of replicas that are not off."""
        return float(self._on_s.sum()) / 3600.0

    @cached_property
    def energy_cost(self) -> float:
        """Cost of all energy, PUE included."""
        return sum(pool.energy_cost for pool in self.terms)

    @cached_property
    def cost(self) -> float:
        """Cost of energy and of replicas that are not off."""
        hours = (self._on_s / 3600.0).tolist()
        return self.energy_cost + float(
            sum(pool.price_per_replica_hour * own for pool, own in zip(self.terms, hours, strict=True))
        )

    @cached_property
    def mean_clock(self) -> float:
        """Mean clock of busy replicas over the highest clock."""
        busy_s = self.spent["seconds"][:, BUSY].sum()
        return ratio(self.strength["clock_s"].sum() or busy_s, busy_s)

    @cached_property
    def embodied_kg(self) -> float:
        """Embodied carbon of all replicas over the run, whether on or off, g."""
        kept_s = self.spent["seconds"].sum(axis=1).tolist()
        return float(sum(pool.embodied_kg_per_s * own_s for pool, own_s in zip(self.terms, kept_s, strict=True)))

    @cached_property
    def water_l(self) -> float:
        """Water for the energy of all states, litres."""
        energy_kwh = (self.spent["energy_j"].sum(axis=1) / arrays.J_PER_KWH).tolist()
        return float(sum(pool.water_l_per_kwh * own for pool, own in zip(self.terms, energy_kwh, strict=True)))

    @property
    def _on_s(self) -> Array:
        """Seconds of each pool's replicas in all states except off."""
        on = [state != "off" for state in arrays.STATES]
        seconds: Array = self.spent["seconds"][:, on].sum(axis=1)
        return seconds

    @cached_property
    def slot_s(self) -> float:
        """Slots of all pools times the run's length, s; one product per `max_batch`, so that no split changes a bit."""
        gpus = dict.fromkeys(self.max_batch, 0)
        for count, max_batch in zip(self.replicas, self.max_batch, strict=True):
            gpus[max_batch] += count
        return sum(self.end_s * count * max_batch for max_batch, count in gpus.items())

    def of_tier(self, name: str, tier: int) -> int:
        """Sum of a field of the accounts over one tier."""
        return int(self.cells.reshape(N_LEVELS, N_CATEGORIES, N_TIERS)[name][:, :, tier].sum())

    def of_role(self, name: str, role: str) -> float:
        """Sum of a field of the pools' accounts over the pools of one role."""
        return float(self.pools[name][np.array([of == role for of in self.roles])].sum())

    def mean_s(self, latency: str) -> float:
        """Mean of a latency over the finished requests that have it, s; nan if none has."""
        counts = self.histograms[:, arrays.HISTOGRAMS.index(latency)].sum()
        return ratio(self.cells[f"{latency}_s"].sum(), counts)

    def quantile_s(self, latency: str, q: float, tier: int | None = None) -> float:
        """Quantile `q` (one of QUANTILES) of a latency, of all tiers or of one, s; nan if nothing finished."""
        if (latency, tier) not in self._quantiles_s:
            counts = self.histograms[:, arrays.HISTOGRAMS.index(latency)]
            counts = counts.sum(axis=0) if tier is None else counts[tier]
            self._quantiles_s[latency, tier] = histogram_quantiles(counts, *QUANTILES)
        return self._quantiles_s[latency, tier][QUANTILES.index(q)]

    @cached_property
    def by_pool(self) -> dict[str, PoolBooks]:
        """The accounts of every pool, by its name."""
        rows = zip(self.names, self.replicas, self.max_batch, self.pools, self.spent, strict=True)
        return {
            name: PoolBooks(
                slots=replicas * max_batch,
                requests=int(pool["requests"]),
                spent=spent,
                member_s=float(pool["member_s"]),
                end_s=self.end_s,
            )
            for name, replicas, max_batch, pool, spent in rows
        }


@cache
def bin_edges_s() -> Array:
    """Lower edges of the histogram bins and the last upper edge: float64 (HISTOGRAM_BINS + 1,), read-only."""
    at = np.arange(arrays.HISTOGRAM_BINS + 1)
    edges: Array = np.ldexp(1 + at % arrays.SUB_BINS / arrays.SUB_BINS, at // arrays.SUB_BINS + arrays.FIRST_EXPONENT)
    edges.setflags(write=False)
    return edges


def histogram_quantiles(counts: Array, *q: float) -> list[float]:
    """Quantiles of a histogram, each linear within its bin; nan if it is empty."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return [float("nan")] * len(q)
    counts, edges = counts[filled], bin_edges_s()
    below = np.cumsum(counts)
    wanted = np.array(q) * below[-1]
    index = np.searchsorted(below, wanted)
    lower, upper = edges[filled[index]], edges[filled[index] + 1]
    found: list[float] = (lower + (wanted - (below[index] - counts[index])) / counts[index] * (upper - lower)).tolist()
    return found


def ratio(part: Any, whole: Any) -> float:
    """part / whole; nan where whole is 0."""
    return float(part) / float(whole) if whole else float("nan")
