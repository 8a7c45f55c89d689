"""The table of metrics, a row each: result columns, printed tables, directions and docs/schema.md follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from caps_fast.arrays import BRONZE, BUSY, FAILED, HISTOGRAMS, J_PER_KWH, STATES
from caps_fast.books import QUANTILES, Books, PoolBooks, ratio
from caps_fast.errors import InputError, did_you_mean
from caps_fast.sections import ROLES, TIERS

B = TypeVar("B")
COUNT, SHARE = "", "share"
POOL = "pool."  # prefix of the columns of one pool: pool.<name>.<metric>


@dataclass(frozen=True)
class Metric(Generic[B]):
    """One metric.

    name        column of the results
    unit        COUNT (a whole number), SHARE (in 0..1, printed in per cent), or a unit's symbol
    better      which direction is better; None = neither, so that it cannot be optimised
    heading     above its column in printed tables
    digits      after the decimal point, in printed tables (of values below 1,000)
    formula     its value, from the accounts of a run (or of a pool)
    about       one line for docs/schema.md
    """

    name: str
    unit: str
    better: Literal["larger", "smaller"] | None
    heading: str
    digits: int
    formula: Callable[[B], float]
    about: str

    @property
    def kind(self) -> type[int] | type[float]:
        """Type of its values."""
        return int if self.unit == COUNT else float

    def shown(self, value: float | None) -> str:
        """A value for tables: shares in per cent, thousands without a fraction."""
        if value is None or math.isnan(value):
            return "-"
        if self.unit == SHARE:
            return f"{100 * value:.{self.digits}f}%"
        return f"{value:,.{self.digits if abs(value) < 1000 else 0}f}"


TITLES = {"ttft": "TTFT", "ttft_after_release": "released", "tpot": "TPOT", "e2e": "E2E"}
ABOUT = {
    "ttft": "time to first token, from arrival",
    "ttft_after_release": "time to first token, from release",
    "tpot": "time per output token after the first",
    "e2e": "time from arrival to the last token",
}


def _slo(tier: int) -> Metric[Books]:
    def formula(b: Books) -> float:
        return ratio(b.of_tier("met", tier), b.of_tier("requests", tier))

    name = TIERS[tier]
    return Metric(f"slo_attainment_{name}", SHARE, "larger", name, 1, formula, f"the same of {name.capitalize()}")


def _mean(latency: str) -> Metric[Books]:
    def formula(b: Books) -> float:
        return b.mean_s(latency)

    heading = f"{TITLES[latency]} mean s"
    return Metric(f"{latency}_mean_s", "s", "smaller", heading, 3, formula, f"{ABOUT[latency]}: mean")


def _quantile(latency: str, q: float) -> Metric[Books]:
    def formula(b: Books) -> float:
        return b.quantile_s(latency, q)

    p = f"p{100 * q:.0f}"
    about = f"{ABOUT[latency]}: {'median' if q == 0.5 else f'{100 * q:.0f}th percentile'}"
    return Metric(f"{latency}_{p}_s", "s", "smaller", f"{TITLES[latency]} {p} s", 3, formula, about)


def _ttft_of(tier: int) -> Metric[Books]:
    def formula(b: Books) -> float:
        return b.quantile_s("ttft", 0.95, tier)

    name = TIERS[tier]
    about = f"{ABOUT['ttft']}: 95th percentile of {name.capitalize()}"
    return Metric(f"ttft_p95_{name}_s", "s", "smaller", f"TTFT p95 {name} s", 3, formula, about)


def _rejected(tier: int) -> Metric[Books]:
    def formula(b: Books) -> int:
        return b.of_tier("rejected", tier)

    name = TIERS[tier]
    return Metric(
        f"rejected_{name}", COUNT, "smaller", f"rejected {name}", 0, formula, f"the same of {name.capitalize()}"
    )


def _share(role: str) -> Metric[Books]:
    def formula(b: Books) -> float:
        return b.of_role("requests", role) / max(b.finished, 1)

    about = f"share of finished requests that were placed in a pool of role {role}"
    return Metric(f"share_{role.lower()}", SHARE, None, role, 0, formula, about)


def _held_not_bronze(b: Books) -> float:
    return ratio(b.held_tokens - b.of_tier("held_tokens", BRONZE), b.held_tokens) if b.held_tokens else 0.0


SPENT = {
    "seconds": ("seconds", 1.0, "s"),
    "energy_kwh": ("energy_j", J_PER_KWH, "kWh"),
    "carbon_kg": ("carbon_g", 1000.0, "kg"),
}


def _spent(state: int, quantity: str) -> Metric[PoolBooks]:
    field, factor, unit = SPENT[quantity]

    def formula(p: PoolBooks) -> float:
        return float(p.spent[field][state]) / factor

    name = STATES[state]
    about = f"{quantity.partition('_')[0]} of its replicas while {name}"
    return Metric(f"{name}_{quantity}", unit, "smaller", f"{name} {unit}", 2, formula, about)


# fmt: off
RUN_METRICS: tuple[Metric[Books], ...] = (
    Metric("requests", COUNT, None, "requests", 0, lambda b: b.requests, "arrived requests"),
    Metric("output_tokens", COUNT, "larger", "output tokens", 0, lambda b: b.output_tokens,
           "output tokens of finished requests"),
    Metric("requests_per_s", "1/s", None, "requests per s", 3, lambda b: b.requests / b.horizon_s,
           "arrival rate: arrived requests per second of the arrivals' length"),
    Metric("output_tokens_per_s", "tokens/s", "larger", "output tokens/s", 1, lambda b: ratio(b.output_tokens, b.end_s),
           "throughput: output tokens of finished requests per second of the run, from 0 to `end_s`"),
    Metric("slo_attainment", SHARE, "larger", "SLO met", 1, lambda b: ratio(b.cells["met"].sum(), b.requests),
           "share of arrived requests whose SLO was met"),
    *map(_slo, range(len(TIERS))),
    Metric("goodput_tps", "tokens/s", "larger", "goodput tokens/s", 1, lambda b: b.good_tokens / b.horizon_s,
           "output tokens of requests that met their SLO, per second of the arrivals' length"),
    Metric("carbon_g_per_1k_tokens", "g", "smaller", "g/1k tokens", 4,
           lambda b: ratio(b.carbon_g * 1000, b.output_tokens), "attributed carbon per 1,000 output tokens"),
    Metric("total_carbon_g_per_1k_tokens", "g", "smaller", "g/1k with idle", 4,
           lambda b: ratio(b.total("carbon_g") * 1000, b.output_tokens), (
               "the same with the power of idle GPUs"
           )),
    Metric("carbon_g_per_1k_good_tokens", "g", "smaller", "g/1k good", 4,
           lambda b: ratio(b.carbon_g * 1000, b.good_tokens),
           "attributed carbon per 1,000 output tokens of requests that met their SLO"),
    Metric("energy_kwh", "kWh", "smaller", "energy kWh", 2, lambda b: b.energy_j / J_PER_KWH, "attributed energy"),
    Metric("idle_energy_kwh", "kWh", "smaller", "idle kWh", 2, lambda b: b.idle_energy_j / J_PER_KWH,
           "energy of idle GPUs"),
    Metric("total_energy_kwh", "kWh", "smaller", "total kWh", 2, lambda b: b.total("energy_j") / J_PER_KWH,
           "energy of all states: attributed, idle and standby"),
    Metric("standby_energy_kwh", "kWh", "smaller", "standby kWh", 2, lambda b: b.standby("energy_j") / J_PER_KWH,
           "energy of replicas asleep, off, waking, starting, stopping or failed"),
    Metric("carbon_kg", "kg", "smaller", "carbon kg", 2, lambda b: b.carbon_g / 1000, "attributed carbon"),
    Metric("idle_carbon_kg", "kg", "smaller", "idle kg", 2, lambda b: b.idle_carbon_g / 1000, "carbon of idle GPUs"),
    Metric("total_carbon_kg", "kg", "smaller", "total kg", 2, lambda b: b.total("carbon_g") / 1000,
           "carbon of all states: attributed, idle and standby"),
    Metric("standby_carbon_kg", "kg", "smaller", "standby kg", 2, lambda b: b.standby("carbon_g") / 1000,
           "carbon of replicas asleep, off, waking, starting, stopping or failed"),
    Metric("bill_kwh", "kWh", "smaller", "bill kWh", 2, lambda b: b.bill("energy_j") / J_PER_KWH,
           "energy of all states times the PUE of the region, and of links"),
    Metric("bill_kg", "kg", "smaller", "bill kg", 2, lambda b: b.bill("carbon_g") / 1000,
           "carbon of all states times the PUE of the region, and of links"),
    Metric("marginal_kg", "kg", "smaller", "marginal kg", 2, lambda b: b.marginal_g / 1000,
           "the bill's energy times marginal intensity; empty unless every region has `marginal` and `carbon`"),
    Metric("moved", COUNT, None, "moved", 0, lambda b: b.moved.requests,
           "requests whose context was moved to another region"),
    Metric("moved_gb", "GB", "smaller", "moved GB", 2, lambda b: b.moved.bytes / 1e9, "their contexts, 1e9 bytes"),
    Metric("moved_kwh", "kWh", "smaller", "moved kWh", 2, lambda b: b.moved.energy_j / J_PER_KWH,
           "energy of links, included in `bill_kwh`"),
    Metric("moved_kg", "kg", "smaller", "moved kg", 2, lambda b: b.moved.carbon_g / 1000,
           "carbon of links, included in `bill_kg`"),
    Metric("bill_g_per_1k_tokens", "g", "smaller", "bill g/1k", 4,
           lambda b: ratio(b.bill("carbon_g") * 1000, b.output_tokens), "the same per 1,000 output tokens"),
    Metric("pue_energy_kwh", "kWh", "smaller", "PUE kWh", 2, lambda b: b.overhead("energy_j") / J_PER_KWH,
           "part of the bill's energy that the PUE adds: cooling and power supply"),
    Metric("pue_carbon_kg", "kg", "smaller", "PUE kg", 2, lambda b: b.overhead("carbon_g") / 1000,
           "part of the bill's carbon that the PUE adds"),
    Metric("host_energy_kwh", "kWh", "smaller", "host kWh", 2, lambda b: b.host_energy_j / J_PER_KWH,
           "energy of the hosts of nodes that are not off; part of the energy of the states"),
    Metric("host_carbon_kg", "kg", "smaller", "host kg", 2, lambda b: b.host_carbon_g / 1000,
           "carbon of the hosts of nodes that are not off; part of the carbon of the states"),
    Metric("embodied_kg", "kg", "smaller", "embodied kg", 3, lambda b: b.embodied_kg,
           "carbon of making the replicas, over the run; only in this column and the next"),
    Metric("sci_g_per_1k_tokens", "g", "smaller", "SCI g/1k", 4,
           lambda b: ratio((b.bill("carbon_g") + 1000 * b.embodied_kg) * 1000, b.output_tokens),
           "software carbon intensity (ISO/IEC 21031): bill and embodied carbon per 1,000 output tokens"),
    Metric("replica_hours", "h", "smaller", "replica h", 1, lambda b: b.replica_hours,
           "hours of replicas that are not off"),
    Metric("energy_cost", "currency", "smaller", "energy cost", 2, lambda b: b.energy_cost,
           "price of the energy of all states, PUE included"),
    Metric("cost", "currency", "smaller", "cost", 2, lambda b: b.cost,
           "price of the energy and of the replicas' hours"),
    Metric("water_l", "l", "smaller", "water l", 1, lambda b: b.water_l, "water for the energy of all states"),
    Metric("mean_power_w", "W", "smaller", "mean power W", 0,
           lambda b: ratio(b.total("energy_j"), max(b.end_s, b.horizon_s)),
           "mean power of the whole fleet until the last completion and the end of the arrivals, in all states"),
    Metric("starts", COUNT, "smaller", "starts", 0, lambda b: int(b.strength["starts"].sum()),
           "times that a replica was started from off"),
    Metric("wakes", COUNT, "smaller", "wakes", 0, lambda b: int(b.strength["wakes"].sum()), "replica wake-ups"),
    Metric("failures", COUNT, "smaller", "failures", 0, lambda b: int(b.strength["failures"].sum()),
           "times that a replica failed"),
    Metric("failed_replica_hours", "h", "smaller", "failed replica h", 1,
           lambda b: float(b.spent["seconds"][:, FAILED].sum()) / 3600.0,
           "hours of replicas between a failure and the end of its repair"),
    Metric("clock_changes", COUNT, "smaller", "clock changes", 0, lambda b: int(b.strength["clock_changes"].sum()),
           "times that a replica changed its clock"),
    Metric("mean_clock", SHARE, None, "mean clock", 1, lambda b: b.mean_clock, (
        "clock over the highest, mean over busy "
        "time"
    )),
    *(make for latency in HISTOGRAMS for make in (_mean(latency), *(_quantile(latency, q) for q in QUANTILES))),
    *map(_ttft_of, range(len(TIERS))),
    Metric("deferral_mean_s", "s", "smaller", "deferred s", 1,
           lambda b: float(b.cells["deferral_s"].sum()) / max(b.finished, 1),
           "release - arrival, mean over finished requests"),
    Metric("held_share", SHARE, None, "held", 1, lambda b: ratio(b.held_tokens, b.output_tokens),
           "share of output tokens whose request was held back"),
    Metric("held_not_bronze_share", SHARE, None, "held, not Bronze", 1, _held_not_bronze,
           "share of these that was not Bronze; 0 if none was held"),
    *map(_share, ROLES),
    Metric("preemptions", COUNT, "smaller", "preemptions", 0, lambda b: b.preemptions,
           "sequences pre-empted by a Gold request or for lack of KV memory"),
    Metric("recomputed_tokens", COUNT, "smaller", "recomputed tokens", 0, lambda b: b.recomputed_tokens,
           "tokens whose KV was lost in a pre-emption or a failure, and that were processed again"),
    Metric("unfinished", COUNT, "smaller", "not finished", 0, lambda b: b.requests - b.finished - b.rejected,
           "arrived requests that neither finished nor were rejected"),
    Metric("rejected", COUNT, "smaller", "rejected", 0, lambda b: b.rejected,
           "arrived requests that were rejected because too much was waiting; their SLO is not met"),
    *map(_rejected, range(len(TIERS))),
    Metric("utilization", SHARE, "larger", "slots used", 1, lambda b: ratio(b.pools["member_s"].sum(), b.slot_s),
           "mean residents per slot"),
    Metric("end_s", "s", None, "end s", 0, lambda b: b.end_s, "last completion, or the end of the drain"),
)

ONE_POOL: tuple[Metric[PoolBooks], ...] = (
    Metric("requests", COUNT, None, "requests", 0, lambda p: p.requests,
           "finished requests that were placed in the pool"),
    *(_spent(state, quantity) for state in range(len(STATES)) for quantity in SPENT),
    Metric("busy_share", SHARE, None, "busy", 1, lambda p: ratio(p.spent["seconds"][BUSY], p.spent["seconds"].sum()),
           "share of its replicas' time in which they had residents"),
    Metric("utilization", SHARE, "larger", "slots used", 1, lambda p: ratio(p.member_s, p.slots * p.end_s),
           "mean residents per slot"),
)
# fmt: on
METRICS = {metric.name: metric for metric in RUN_METRICS}
POOL_METRICS = {metric.name: metric for metric in ONE_POOL}

BILL = (  # the bill, by parts
    *(
        "bill_kwh",
        "bill_kg",
        "carbon_kg",
        "idle_carbon_kg",
        "standby_carbon_kg",
        "pue_carbon_kg",
        "moved_kg",
        "host_carbon_kg",
    ),
    *("embodied_kg", "sci_g_per_1k_tokens", "replica_hours", "energy_cost", "cost", "water_l"),
)
TABLE = (  # columns of the tables of `run` and `grid`
    *("slo_attainment", *(f"slo_attainment_{tier}" for tier in TIERS)),
    *("carbon_g_per_1k_tokens", "total_carbon_g_per_1k_tokens", "carbon_g_per_1k_good_tokens", "total_carbon_kg"),
    *(*(f"ttft_p95_{tier}_s" for tier in TIERS), "ttft_after_release_p95_s", "e2e_p95_s"),
    *(*(f"share_{role.lower()}" for role in ROLES), "unfinished"),
)


def metric_of(column: str) -> Metric[Books] | Metric[PoolBooks] | None:
    """The metric of a result column, one of a pool (`pool.<name>.<metric>`) included; None for any other column."""
    if column.startswith(POOL):
        return POOL_METRICS.get(column.rpartition(".")[2])
    return METRICS.get(column)


def heading(column: str) -> str:
    """The heading of a result column in printed tables."""
    metric = metric_of(column)
    if metric is None:
        return column
    pool = column.removeprefix(POOL).rpartition(".")[0] + " " if column.startswith(POOL) else ""
    return pool + metric.heading


def larger_is_better(column: str, among: Iterable[str] = METRICS) -> bool:
    """Whether more of a metric is better.

    Raises InputError if neither direction is better, and names the metrics `among` some columns that have one.
    """
    metric = metric_of(column)
    if metric is None or metric.better is None:
        directed = [name for name in among if (found := metric_of(name)) and found.better]
        known = ", ".join(directed)
        raise InputError(f"metric {column!r}: has no better direction; expected one of {known}")
    return metric.better == "larger"


def expect_metric(name: str) -> None:
    """Raises InputError for a name that is not a metric of every run."""
    if name not in METRICS:
        raise InputError(f"metric {name!r}{did_you_mean(name, METRICS)}: expected one of {', '.join(METRICS)}")
