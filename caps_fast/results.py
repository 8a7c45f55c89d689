"""What a run found: one row of metrics with units in their names, accounts by cell, histograms, a series."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from caps_fast import __version__, arrays, scenario, sections
from caps_fast.arrays import J_PER_KWH, NONE, Array, State
from caps_fast.carbon.monitor import Monitor
from caps_fast.errors import InputError

if TYPE_CHECKING:
    import polars as pl

LEVELS = ("low", "mid", "high")


@dataclass(frozen=True)
class Result:
    """One run's outcome."""

    scenario: scenario.Scenario
    end_s: float  # last completion, or the end of the drain if work is unfinished
    unfinished: int
    preemptions: int
    events: int
    accounts: Array  # CELL (27,)
    pools: Array  # POOL (n_pools,)
    histograms: Array  # int64 (3, 4, HISTOGRAM_BINS)
    idle_energy_j: float
    idle_carbon_g: float
    samples: Array  # SAMPLE (n, n_pools)
    requests: Array | None  # DONE rows in input order, if asked for
    notes: tuple[str, ...]  # what the user should know of the grid and the forecasts

    @cached_property
    def metrics(self) -> dict[str, float | int]:
        """All metrics by name. Latencies and deferral are over finished requests; attainments over all arrived ones."""
        cells = self.accounts
        requests, finished = int(cells["requests"].sum()), max(int(cells["finished"].sum()), 1)
        tokens, good = int(cells["output_tokens"].sum()), int(cells["good_tokens"].sum())
        energy_j, carbon_g = float(self.pools["energy_j"].sum()), float(self.pools["carbon_g"].sum())
        held_tokens = cells["held_tokens"].sum()
        by_tier = cells.reshape(3, 3, 3)
        slots_s = self.end_s * self.scenario.cluster.gpus * self.scenario.cluster.max_batch
        row: dict[str, float | int] = {"requests": requests, "output_tokens": tokens, "slo_attainment": _ratio(cells["met"].sum(), requests)}
        row["played_rps"] = requests / self.scenario.horizon_s
        for index, tier in enumerate(sections.TIERS):
            row[f"slo_attainment_{tier}"] = _ratio(by_tier["met"][:, :, index].sum(), by_tier["requests"][:, :, index].sum())
        row |= {
            "goodput_tps": good / self.scenario.horizon_s,
            "carbon_g_per_1k_tokens": _ratio(carbon_g * 1000, tokens),
            "total_carbon_g_per_1k_tokens": _ratio((carbon_g + self.idle_carbon_g) * 1000, tokens),
            "carbon_g_per_1k_good_tokens": _ratio(carbon_g * 1000, good),
            "energy_kwh": energy_j / J_PER_KWH,
            "idle_energy_kwh": self.idle_energy_j / J_PER_KWH,
            "carbon_kg": carbon_g / 1000,
            "idle_carbon_kg": self.idle_carbon_g / 1000,
        }
        for index, latency in enumerate(arrays.HISTOGRAMS):
            row[f"{latency}_p50_s"], row[f"{latency}_p95_s"] = histogram_quantiles(self.histograms[:, index].sum(axis=0), 0.5, 0.95)
        row |= {
            "deferral_mean_s": float(cells["deferral_s"].sum()) / finished,
            "held_share": _ratio(held_tokens, tokens),
            "held_not_bronze_share": _ratio(held_tokens - by_tier["held_tokens"][:, :, arrays.BRONZE].sum(), held_tokens) if held_tokens else 0.0,
        }
        for role in sections.ROLES:
            here = np.array([name == role for name in self.scenario.cluster.pool_roles])
            row[f"share_{role.lower()}"] = _ratio(self.pools["requests"][here].sum(), finished)
        return row | {
            "preemptions": self.preemptions,
            "unfinished": self.unfinished,
            "utilization": _ratio(self.pools["member_s"].sum(), slots_s),
            "end_s": self.end_s,
        }

    def row(self) -> dict[str, Any]:
        """Parameters and metrics, in the order of the result files."""
        return parameters(self.scenario) | self.metrics

    def quantile(self, latency: str, q: float, tier: str | None = None) -> float:
        """Quantile of a latency (`ttft`, `ttft_after_release`, `tpot`, `e2e`) in seconds, to 0.4 %; nan if nothing finished.

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

        level, category, tier = np.unravel_index(np.arange(27), (3, 3, 3))
        names = {"level": np.array(LEVELS)[level], "category": np.array(sections.CATEGORIES)[category], "tier": np.array(sections.TIERS)[tier]}
        return pl.DataFrame(names | {name: self.accounts[name] for name in arrays.CELL.names or ()})

    @cached_property
    def series(self) -> pl.DataFrame:
        """The recorded series: one row a pool and sample; mean power over the time since the sample before, idle power included."""
        import polars as pl  # noqa: PLC0415 - slow import

        idle_w = self.scenario.gpu.idle_w * self.scenario.gpu.gpus_per_replica
        frames = []
        for index, (role, gpus) in enumerate(zip(self.scenario.cluster.pool_roles, self.scenario.cluster.pools, strict=True)):
            at = self.samples[:, index]
            step_s = np.diff(at["t_s"], prepend=np.nan)
            busy_s = np.diff(at["busy_s"], prepend=np.nan)
            power_w = (np.diff(at["energy_j"], prepend=np.nan) + idle_w * np.maximum(gpus * step_s - busy_s, 0)) / step_s
            columns = {
                "t_s": at["t_s"],
                "gamma_g_per_kwh": at["gamma"],
                "pool": np.full(len(at), index),
                "role": [role] * len(at),
                "power_w": power_w,
            }
            frames.append(pl.DataFrame(columns | {"residents": at["residents"], "waiting": at["waiting"], "open": at["open"].astype(bool)}))
        return pl.concat(frames) if frames else pl.DataFrame()

    @cached_property
    def request_table(self) -> pl.DataFrame:
        """One row a request, in input order; what has not happened to it by the end is null."""
        import polars as pl  # noqa: PLC0415 - slow import

        if self.requests is None:
            raise ValueError("the run was not asked to record requests")
        rows = self.requests
        names = ("arrival_s", "tier", "category", "tenant", "input_tokens", "output_tokens", "pool", "gpu")
        table = {"request": rows["seq"]} | {name: rows[name] for name in names}
        table["tier"] = np.array(sections.TIERS)[rows["tier"]]
        table["category"] = np.array(sections.CATEGORIES)[rows["category"]]
        table["pool"] = np.array(self.scenario.cluster.pool_roles)[rows["pool"]]
        times = {name: rows[name] for name in ("released_s", "admitted_s", "first_token_s", "finished_s")}
        outcome = {"met_slo": rows["met"].astype(bool), "energy_j": rows["energy_j"], "carbon_g": rows["carbon_g"]}
        frame = pl.DataFrame(table | times | outcome, nan_to_null=True)
        return frame.with_columns(pl.when(pl.col("gpu") >= 0).then(name).alias(name) for name in ("pool", "gpu"))


def parameters(config: scenario.Scenario) -> dict[str, Any]:
    """The parameter columns of a result file."""
    return {
        "policy": config.policy.name,
        "rate_rps": config.workload.rate_rps,
        "seed": config.seed,
        "split": config.cluster.split,
        "alpha": config.policy.alpha,
        "beta": config.policy.beta,
        "lambda": config.policy.lambda_,
        "days": config.days,
        "preset": config.preset,
        "scenario_hash": config.hash,
        "version": __version__,
    }


def collect(config: scenario.Scenario, state: State, monitor: Monitor, end_s: float, done: list[Array] | None) -> Result:
    """The result of a finished simulation."""
    trace = monitor.trace
    idle_w = float(state.power_w[0])
    gpus = config.cluster.gpus
    idle_s = gpus * end_s - float(state.pools["busy_s"].sum())
    idle_intensity = gpus * trace.integral(0.0, end_s) - float(state.pools["busy_intensity"].sum())
    requests = None
    if done is not None:
        requests = np.concatenate([*done, arrays.zeros(arrays.Done, 0)])
        requests = requests[np.argsort(requests["seq"])]
    return Result(
        scenario=config,
        end_s=end_s,
        unfinished=int(state.cells["requests"].sum() - state.cells["finished"].sum()),
        preemptions=int(state.clock[0]["preemptions"]),
        events=int(state.clock[0]["events"]),
        accounts=state.cells,
        pools=state.pools,
        histograms=state.histograms,
        idle_energy_j=max(idle_w * idle_s, 0.0),
        idle_carbon_g=max(float(idle_w * idle_intensity / J_PER_KWH), 0.0),
        samples=state.series[: int(state.clock[0]["samples"])],
        requests=requests,
        notes=(*trace.warnings, *monitor.forecast.warnings),
    )


def unfinished_rows(state: State) -> Array:
    """DONE rows of the requests that are still in the system after `settle`: nan for what has not happened, no GPU and no pool while not placed."""
    live = state.live[: int(state.clock[0]["used"])]
    live = live[np.isfinite(live["arrival_s"])]
    rows = arrays.zeros(arrays.Done, len(live))
    for name in set(arrays.DONE.names or ()) & set(arrays.LIVE.names or ()):
        rows[name] = live[name]
    waiting = live["admitted"] == 0
    for name in ("released_s", "admitted_s", "first_token_s"):
        rows[name][waiting] = np.nan
    for name in ("energy_j", "carbon_g"):
        rows[name][waiting] = 0.0
    if not state.setup[0]["gated"]:
        rows["released_s"] = live["arrival_s"]
    rows["finished_s"] = np.nan
    rows["gpu"][waiting] = NONE
    rows["pool"] = np.where(waiting, NONE, state.gpus["pool"][rows["gpu"]])
    return rows


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


def _ratio(part: Any, whole: Any) -> float:
    """part / whole; nan where there is no whole."""
    return float(part) / float(whole) if whole else float("nan")
