"""One run's outcome as arrays, and the accounts that its metrics are computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from caps_fast import __version__, arrays, outcomes, records, scenario, sections
from caps_fast.arrays import NONE, State
from caps_fast.books import SEEN_STATES, Books, Moved, Terms, bin_edges_s, histogram_quantiles
from caps_fast.carbon.monitor import Monitor
from caps_fast.clock_levels import assumed_clocks
from caps_fast.crossings import marginal_g, moved, signal_notes
from caps_fast.errors import InputError
from caps_fast.hosts import host_carbon_g
from caps_fast.metrics import METRICS, POOL, POOL_METRICS
from caps_fast.outcomes import OUTCOMES, UNFINISHED
from caps_fast.pack_scaling import host_share_w
from caps_fast.places import places_of
from caps_fast.prices import energy_cost
from caps_fast.records import Array
from caps_fast.traits import has_clocks, has_origins

if TYPE_CHECKING:
    import polars as pl

LEVELS = ("low", "mid", "high")
YEAR_S = 365.25 * 86400.0


@dataclass(frozen=True)
class Outcome:
    """One run's outcome as arrays and accounts, for internal use; users get a `results.Result`."""

    scenario: scenario.Scenario
    end_s: float  # last completion, or the end of the drain if work is unfinished
    unfinished: int
    rejected: int
    preemptions: int
    recomputed_tokens: int  # whose KV was lost
    events: int
    accounts: Array  # CELL (27,)
    pools: Array  # POOL (n_pools,)
    spent: Array  # ACCOUNT (n_pools, n_states)
    strength: Array  # `standing.Strength` (n_pools,)
    slices: Array  # SLICE (pools' samples, n_states)
    energy_cost: Array  # float64 (n_pools,): PUE included
    marginal_g: (
        float  # carbon of all states by marginal intensity, PUE included, and of links; nan where a region has none
    )
    moved: Moved  # transfers over links
    host_carbon_g: Array  # float64 (n_pools,)
    histograms: Array  # int64 (3, 4, HISTOGRAM_BINS)
    samples: Array  # SAMPLE (n, n_pools)
    requests: Array | None  # DONE rows in input order, if recorded
    notes: tuple[str, ...]  # notes on the grid and the forecasts

    @property
    def idle_energy_j(self) -> float:
        """Energy of idle replicas, from 0 to the end of the arrivals."""
        return self.books.idle_energy_j

    @property
    def idle_carbon_g(self) -> float:
        """Carbon of idle replicas, from 0 to the end of the arrivals."""
        return self.books.idle_carbon_g

    @cached_property
    def books(self) -> Books:
        """The accounts that metrics are computed from."""
        fleet = self.scenario.fleet
        return Books(
            cells=self.accounts,
            pools=self.pools,
            spent=self.spent,
            histograms=self.histograms,
            horizon_s=self.scenario.horizon_s,
            end_s=self.end_s,
            preemptions=self.preemptions,
            recomputed_tokens=self.recomputed_tokens,
            strength=self.strength,
            names=[pool.name for pool in fleet.pools],
            roles=fleet.roles,
            replicas=fleet.sizes,
            max_batch=[kind.max_batch for kind in fleet.kind_of],
            pue=[fleet.regions[pool.region].pue for pool in fleet.pools],
            terms=[
                Terms(
                    energy_cost=float(cost),
                    price_per_replica_hour=kind.price_per_replica_hour,
                    embodied_kg_per_s=kind.embodied_kg * kind.gpus_per_replica / (kind.lifetime_years * YEAR_S),
                    water_l_per_kwh=fleet.regions[pool.region].water_l_per_kwh,
                    host_w=host_share_w(kind),
                    host_carbon_g=float(host_g),
                )
                for pool, kind, cost, host_g in zip(
                    fleet.pools, fleet.kind_of, self.energy_cost, self.host_carbon_g, strict=True
                )
            ],
            marginal_g=self.marginal_g,
            moved=self.moved,
        )

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All metrics by name (see caps_fast/metrics.py).

        Latencies and deferral are over finished requests, attainments over all arrived ones.
        """
        found = {name: metric.formula(self.books) for name, metric in METRICS.items()}
        return {
            name: math.nan if math.isnan(value) else value for name, value in found.items()
        }  # one NaN object, so that it equals itself in a dictionary

    @cached_property
    def by_pool(self) -> dict[str, dict[str, float]]:
        """Metrics of every pool, by the pool's name: `by_pool["lp"]["energy_kwh"]`."""
        return {
            pool: {name: metric.formula(books) for name, metric in POOL_METRICS.items()}
            for pool, books in self.books.by_pool.items()
        }

    def row(self, by_pool: bool = False) -> dict[str, Any]:
        """Parameters and metrics, in the order of the result files; with `by_pool`, those of every pool too."""
        return parameters(self.scenario) | self.metrics | (self.pool_columns() if by_pool else {})

    def pool_columns(self) -> dict[str, float]:
        """Metrics of every pool as columns `pool.<name>.<metric>`."""
        return {
            f"{POOL}{pool}.{name}": value for pool, metrics in self.by_pool.items() for name, value in metrics.items()
        }

    def quantile(self, latency: str, q: float, tier: str | None = None) -> float:
        """Quantile of a latency (`ttft`, `ttft_after_release`, `tpot`, `e2e`) in seconds, to 0.4 %; nan if nothing
        finished.

        Raises InputError for another latency or tier, and for `q` outside 0..1.
        """
        for value, known in ((latency, arrays.HISTOGRAMS), (tier, (None, *sections.TIERS))):
            if value not in known:
                raise InputError(f"quantile of {value!r}: expected one of {', '.join(map(str, known))}")
        if not 0.0 <= q <= 1.0:
            raise InputError(f"quantile {q:g}: expected 0..1")
        counts = self.histograms[:, arrays.HISTOGRAMS.index(latency)]
        counts = counts.sum(axis=0) if tier is None else counts[sections.TIERS.index(tier)]
        return histogram_quantiles(counts, q)[0]

    @cached_property
    def cells(self) -> pl.DataFrame:
        """Accounts by carbon level at arrival, category and tier."""
        import polars as pl  # noqa: PLC0415 - slow import

        level, category, tier = np.unravel_index(
            np.arange(arrays.N_CELLS), (arrays.N_LEVELS, arrays.N_CATEGORIES, arrays.N_TIERS)
        )
        names = {
            "level": np.array(LEVELS)[level],
            "category": np.array(sections.CATEGORIES)[category],
            "tier": np.array(sections.TIERS)[tier],
        }
        return pl.DataFrame(names | {name: self.accounts[name] for name in arrays.CELL.names or ()})

    @cached_property
    def histogram_frame(self) -> pl.DataFrame:
        """Counts of finished requests by latency, tier and bin: latency, tier, from_s, to_s, requests; empty bins
        left out.
        """
        import polars as pl  # noqa: PLC0415 - slow import

        edges = bin_edges_s()
        tier, latency, at = np.nonzero(self.histograms)
        names = {"latency": np.array(arrays.HISTOGRAMS)[latency], "tier": np.array(sections.TIERS)[tier]}
        return pl.DataFrame(
            names | {"from_s": edges[at], "to_s": edges[at + 1], "requests": self.histograms[tier, latency, at]}
        )

    @cached_property
    def series(self) -> pl.DataFrame:
        """The recorded series: one row per pool and sample; mean power since the sample before (idle power
        included), replicas by state.
        """
        import polars as pl  # noqa: PLC0415 - slow import

        frames = []
        for index, pool in enumerate(self.scenario.fleet.pools):
            at = self.samples[:, index]
            power_w = np.diff(at["energy_j"], prepend=np.nan) / np.diff(at["t_s"], prepend=np.nan)
            columns = {
                "t_s": at["t_s"],
                "gamma_g_per_kwh": at["gamma"],
                "pool": np.full(len(at), index),
                "name": [pool.name] * len(at),
                "role": [pool.role] * len(at),
                "region": [pool.region] * len(at),
                "power_w": power_w,
            }
            columns |= {"residents": at["residents"], "waiting": at["waiting"], "open": at["open"].astype(bool)}
            columns |= {name: at["replicas"][:, state] for state, name in enumerate(SEEN_STATES)}
            frames.append(pl.DataFrame(columns))
        return pl.concat(frames) if frames else pl.DataFrame()

    @cached_property
    def request_table(self) -> pl.DataFrame:
        """One row per request, in input order; what has not happened by the end is null."""
        import polars as pl  # noqa: PLC0415 - slow import

        if self.requests is None:
            raise InputError("requests not recorded: expected simulate(scenario, Recording(requests=True))")
        rows = self.requests
        names = ("arrival_s", "tier", "category", "tenant", "input_tokens", "output_tokens", "pool", "role", "gpu")
        of_session = ("session", "turn") if self.scenario.workload.has_sessions else ()
        table = {"request": rows["seq"]} | {
            name: rows["pool" if name == "role" else name] for name in (*names, *of_session)
        }
        table["tier"] = np.array(sections.TIERS)[rows["tier"]]
        table["category"] = np.array(sections.CATEGORIES)[rows["category"]]
        pools = self.scenario.fleet.pools
        table["role"] = np.array([pool.role for pool in pools])[rows["pool"]]
        table["pool"] = np.array([pool.name for pool in pools])[rows["pool"]]
        if self.scenario.origins and (places := places_of(self.scenario)):
            table["origin"] = np.array([*places.origins] * len(places.bounds))[rows["origin"]]
        times = {name: rows[name] for name in ("released_s", "admitted_s", "first_token_s", "finished_s")}
        outcome = {"outcome": np.array(OUTCOMES)[rows["outcome"]], "met_slo": rows["met"].astype(bool)}
        frame = pl.DataFrame(
            table | times | outcome | {name: rows[name] for name in ("energy_j", "carbon_g")}, nan_to_null=True
        )
        frame = frame.with_columns(
            pl.when(pl.col("gpu") >= 0).then(name).alias(name) for name in ("pool", "gpu", "role")
        )
        return frame.with_columns(pl.when(pl.col(name) >= 0).then(name).alias(name) for name in of_session)


def parameters(config: scenario.Scenario) -> dict[str, Any]:
    """The parameter columns of a result file."""
    return {
        "policy": config.policy.name,
        "rate_rps": config.workload.asked_rps,
        "seed": config.seed,
        "split": config.fleet.split,
        "alpha": config.policy.alpha,
        "beta": config.policy.beta,
        "lambda": config.policy.lambda_,
        "days": config.days,
        "preset": config.preset,
        "scenario_hash": config.hash,
        "version": __version__,
    }


def collect(
    config: scenario.Scenario, state: State, monitors: Sequence[Monitor], end_s: float, done: list[Array] | None
) -> Outcome:
    """The outcome of a finished simulation."""
    requests, slices = None, state.slices.reshape(-1, arrays.N_STATES)
    monitored = [note for monitor in monitors for note in monitor.warnings]
    if done is not None:
        requests = np.concatenate([*done, records.zeros(outcomes.Done, 0)])
        requests = requests[np.argsort(requests["seq"])]
    return Outcome(
        scenario=config,
        end_s=end_s,
        unfinished=int(
            sum(state.cells[name].sum() * sign for name, sign in (("requests", 1), ("finished", -1), ("rejected", -1)))
        ),
        rejected=int(state.cells["rejected"].sum()),
        preemptions=int(state.clock[0]["preemptions"]),
        recomputed_tokens=int(state.clock[0]["recomputed_tokens"]),
        events=int(state.clock[0]["events"]),
        accounts=state.cells,
        pools=state.pools,
        spent=state.accounts.reshape(-1, arrays.N_STATES),
        strength=state.strength,
        slices=slices,
        energy_cost=energy_cost(config, monitors, slices, end_s),
        marginal_g=marginal_g(config, state, monitors),
        moved=moved(config, state),
        host_carbon_g=host_carbon_g(config, monitors, slices, end_s),
        histograms=state.histograms,
        samples=state.series[: int(state.clock[0]["samples"])],
        requests=requests,
        notes=tuple(
            dict.fromkeys(
                [
                    *signal_notes(config, monitors),
                    *monitored,
                    *(assumed_clocks(config.fleet) if has_clocks(state) else ()),
                ]
            )
        ),
    )


def unfinished_rows(state: State) -> Array:
    """DONE rows of the requests that are still in the system after `settle`: nan for what has not happened, no GPU and
    no pool if not placed.
    """
    live = state.live[: int(state.clock[0]["used"])]
    is_live = np.isfinite(live["arrival_s"])
    live = live[is_live]
    rows = records.zeros(outcomes.Done, len(live))
    for name in set(arrays.DONE.names or ()) & set(arrays.LIVE.names or ()):
        rows[name] = live[name]
    waiting = live["admitted"] == 0
    for name in ("released_s", "admitted_s", "first_token_s"):
        rows[name][waiting] = np.nan
    for name in ("energy_j", "carbon_g"):
        rows[name][waiting] = 0.0
    if not state.setup[0]["gated"]:
        rows["released_s"] = live["arrival_s"]
    if not has_origins(state):
        rows["origin"] = 0
    if len(state.session_of):
        of = state.session_of[: int(state.clock[0]["used"])][is_live]
        for name, field in (("session", "number"), ("turn", "turn")):
            rows[name] = np.append(state.sessions[field], NONE)[of]  # NONE: the last
    rows["finished_s"], rows["met"], rows["outcome"] = np.nan, 0, UNFINISHED
    rows["gpu"][waiting] = NONE
    rows["pool"] = np.where(waiting, NONE, state.gpus["pool"][rows["gpu"]])
    return rows
