"""What saves how much: the runs behind docs/bill.md.

`python -m benchmarks.bill FOLDER` writes `rows.csv` and `tables.md` there.

In a study every row is a change of the scenario, played on the same requests; savings against Round Robin on the whole
fleet are paired by seed, intervals are those of Student's t at 95 %. Attainment over rates is that of SLO-Aware on the
same requests, and how far others are from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
import typer
from scipy.stats import t as student

from caps_fast import bound_of_run, preset, simulate, simulate_group
from caps_fast.arrays import BUSY, IDLE, J_PER_KWH
from caps_fast.carbon.monitor import monitors_of
from caps_fast.scenario import Scenario

Changes = dict[str, Any]
TIERS = ("gold", "silver", "bronze")
DIURNAL = [
    1.0 + 0.6 * math.cos((hour - 20) / 12 * math.pi) for hour in range(24)
]  # the day's peak is four times the night, at 20 UTC
DEMANDS: dict[str, Changes] = {
    "flat": {},
    "diurnal": {"workload.rate_table": {"step_s": 3600.0, "factors": DIURNAL, "begins": "midnight"}},
}
GRIDS: dict[str, Changes] = {
    "clean": {"carbon.scale_to_g_per_kwh": [20.0, 120.0]},
    "mixed": {},
    "dirty": {"carbon.scale_to_g_per_kwh": [500.0, 800.0]},
}
CLOCKS: Changes = {"gpu.clocks": [0.6, 0.7, 0.8, 0.9, 1.0], "policy.scaling": "throttle"}
GOLD_AT_FULL_CLOCK: Changes = {"pools.lp.clock": 1.0, "policy.scale_every_s": 5.0}
RATES = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0)
BASE = {"policy.name": "round-robin"}
ELASTIC = {"policy.name": "caps-elastic"}
SLO = {"policy.name": "slo-aware"}
NO_SLEEP, NO_OFF = {"gpu.sleep_w": None}, {"gpu.off_w": None}


def option(**options: float) -> Changes:
    return ELASTIC | {"policy.options": options}


HEADLINE: dict[str, Changes] = {
    "Round Robin": BASE,
    "SLO-Aware": SLO,
    "CAPS": {"policy.name": "caps"},
    "caps-elastic": ELASTIC,
}
ALONE: dict[str, Changes] = {
    "placement (`prompts`)": SLO | {"policy.placement": "prompts"},
    "right size (autoscale)": SLO | {"policy.scaling": "autoscale"},
    "sleep (power-down)": SLO | {"policy.scaling": "power-down"} | NO_OFF,
    "off (power-down)": SLO | {"policy.scaling": "power-down"} | NO_SLEEP,
    "clocks (throttle)": SLO | CLOCKS,
    "shifting (wait-awhile)": {"policy.name": "wait-awhile"},
    "CAPS + autoscale": {"policy.name": "caps", "policy.scaling": "autoscale"},
    "caps-adaptive": {"policy.name": "caps-adaptive"},
}
LEFT_OUT: dict[str, Changes] = {
    "caps-elastic": ELASTIC,
    "without placement": option(late_binding=0.0) | {"policy.tokens_per_resident": 1e6},
    "without lanes": option(toll=0.0, express=1e3),
    "without backfill": option(backfill=0.0),
    "without right size": option(min_replicas=10**6),
    "without sleep": ELASTIC | NO_SLEEP,
    "without off": ELASTIC | NO_OFF,
    "without shifting": ELASTIC | {"policy.beta": 0.0},
    "at the mean (quantile 0.5)": option(quantile=0.5),
    "with clocks": ELASTIC | CLOCKS,
    "with clocks, LP at the highest": option(slo_share=0.7) | CLOCKS | GOLD_AT_FULL_CLOCK,
    "nodes of one replica": ELASTIC | {"gpu.replicas_per_node": 1},
}
OVER_RATES: dict[str, Changes] = {
    "SLO-Aware": SLO,
    "caps-elastic": ELASTIC,
    "caps-adaptive": {"policy.name": "caps-adaptive"},
    "CAPS": {"policy.name": "caps"},
}


def fixed(sizes: tuple[int, ...]) -> dict[str, Changes]:
    """Whole fleets of other sizes: one queue, requests join the replica with the fewest prompt tokens to do."""
    one = {"policy.name": "edf", "policy.queueing": "central", "policy.placement": "prompts"}
    return {f"fixed {n}": one | {"cluster.gpus": n, "cluster.split": f"{n - 2}/1/1"} for n in sizes}


def held(lp: int, cp: int, **options: float) -> Changes:
    """caps-elastic over interactive pools that keep their size; the batch pool is as ever."""
    sizes = {"cluster.gpus": lp + cp + 8, "cluster.split": f"{lp}/{cp}/8"}
    return option(min_replicas=max(lp, cp), **options) | sizes


FRONTIER: dict[str, Changes] = {
    "SLO-Aware": SLO,
    "caps-elastic": ELASTIC,
    "nodes of one replica": ELASTIC | {"gpu.replicas_per_node": 1},
    "LP 2, CP 4": held(2, 4),
    "LP 2, CP 3": held(2, 3),
    "LP 1, CP 4": held(1, 4),
    "LP 2, CP 2": held(2, 2),
    "LP 2, CP 2, no backfill": held(2, 2, backfill=0.0),
}


def scenario(preset_name: str, days: float, seed: int, *changes: Changes) -> Scenario:
    config = preset(preset_name).replace({"days": days, "seed": seed})
    for change in changes:
        config = config.replace(change)
    return config


def play(study: Study, preset_name: str) -> Iterator[dict[str, Any]]:
    for seed in study.seeds:
        configs = [scenario(preset_name, study.days, seed, study.common, change) for change in study.rows.values()]
        for name, result in zip(study.rows, simulate_group(configs), strict=True):
            metrics = result.metrics
            attained = {tier: metrics[f"slo_attainment_{tier}"] for tier in TIERS}
            bounded = study.bounds and study.rows[name] is ELASTIC
            least = {"bound_kg": bound_of_run(result).kg if bounded else None}
            about = {"study": study.name, "preset": preset_name, "row": name, "seed": seed}
            yield about | {"bill_kg": metrics["bill_kg"]} | attained | least


def interval(values: list[float]) -> str:
    """Mean and half of its 95 % interval."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return f"{mean:.1f}"
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return f"{mean:.1f} ± {student.ppf(0.975, n - 1) * sd / math.sqrt(n):.1f}"


def table(frame: pl.DataFrame) -> list[str]:
    """A study as a Markdown table: bill, saving against its first row, attainment by tier, bill over bound."""
    names = frame["row"].unique(maintain_order=True).to_list()
    base = frame.filter(pl.col("row") == names[0])["bill_kg"].to_list()
    has_bounds = "bound_kg" in frame.columns and frame["bound_kg"].null_count() < len(frame)
    lines = [
        f"| | bill, kg | less than {names[0]}, % | Gold, % | Silver, % | Bronze, % |"
        + (" bill / bound |" if has_bounds else "")
    ]
    lines.append("|---|---|---|---|---|---|" + ("---|" if has_bounds else ""))
    for name in names:
        rows = frame.filter(pl.col("row") == name)
        bills = rows["bill_kg"].to_list()
        cells = [
            name,
            interval(bills),
            interval([100 * (1 - bill / whole) for bill, whole in zip(bills, base, strict=True)]),
        ]
        cells += [f"{100 * np.mean(rows[tier].to_numpy()):.2f}" for tier in TIERS]
        if has_bounds:
            ratios = (rows["bill_kg"] / rows["bound_kg"]).drop_nulls().to_numpy()
            cells.append(f"{np.mean(ratios):.2f}" if len(ratios) else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def over_rates(frame: pl.DataFrame) -> list[str]:
    """Attainment of SLO-Aware over rates by tier; what the others emit less, and how many points they are from it."""
    others = [name for name in OVER_RATES if name != "SLO-Aware"]
    tiers = "/".join(tier[0].upper() for tier in TIERS)
    lines = [
        f"| req/s | SLO-Aware, {tiers}, % | "
        + " | ".join(f"{name}, less, % | {tiers}, points" for name in others)
        + " |",
        "|---|---|" + "---|---|" * len(others),
    ]
    for (study,), rows in frame.group_by("study", maintain_order=True):
        base = rows.filter(pl.col("row") == "SLO-Aware")
        cells = [
            str(study).removeprefix("rate "),
            "/".join(f"{100.0 * np.mean(base[tier].to_numpy()):.1f}" for tier in TIERS),
        ]
        for name in others:
            part = rows.filter(pl.col("row") == name)
            off = [100.0 * np.mean(part[tier].to_numpy() - base[tier].to_numpy()) for tier in TIERS]
            less = 100.0 * (1.0 - np.mean(part["bill_kg"].to_numpy() / base["bill_kg"].to_numpy()))
            cells += [f"{less:.1f}", "/".join(f"{points:+.2f}" for points in off)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def by_pool(preset_name: str, days: float, seed: int) -> list[str]:
    """Where the bill of caps-elastic lies: by pool, beside the cleanest hours of each day in which that pool's whole
    size would be busy for as long.
    """
    config = scenario(preset_name, days, seed, ELASTIC)
    spent = simulate(config).outcome.spent
    trace = monitors_of(config)[0].trace
    at_s = np.arange(0.0, days * 86400.0, 900.0)
    g_per_kwh = trace.g_per_kwh[np.searchsorted(trace.times_s, at_s, side="right") - 1].reshape(-1, 96)
    cleanest = np.cumsum(np.sort(g_per_kwh, axis=1).mean(axis=0)) / np.arange(1, 97)
    lines = [
        "| pool | replicas busy | idle, on in a node | kg | of the bill, % | g/kWh | cleanest hours, g/kWh |",
        "|---|---|---|---|---|---|---|",
    ]
    whole_kg = spent["carbon_g"].sum() / 1e3
    for pool, rows in zip(config.fleet.pools, spent, strict=True):
        kg, kwh = rows["carbon_g"].sum() / 1e3, rows["energy_j"].sum() / J_PER_KWH
        busy, idle = (rows["seconds"][state] / (days * 86400.0) for state in (BUSY, IDLE))
        least = cleanest[min(max(math.ceil(96 * busy / pool.replicas), 1), 96) - 1]
        cells = [f"{busy:.2f}", f"{idle:.2f}", f"{kg:.1f}", f"{100 * kg / whole_kg:.0f}", f"{1e3 * kg / kwh:.0f}"]
        lines.append(f"| {pool.role} | " + " | ".join(cells) + f" | {least:.0f} |")
    return lines


class Study(NamedTuple):
    """Rows played on the requests of each seed, and what all of them share."""

    name: str
    rows: dict[str, Changes]
    common: Changes
    days: float
    seeds: range
    bounds: bool = False


def studies_of(preset_name: str, days: float, part: range, headline_days: float, whole: range) -> Iterator[Study]:
    sizes, small = ((6, 7, 8), (3, 4, 5)) if preset_name == "measured" else ((20, 22), (8, 12, 16))
    yield Study("headline", HEADLINE | fixed(sizes), {}, headline_days, whole, bounds=True)
    for rate in RATES:
        yield Study(f"rate {rate:g}", OVER_RATES, {"workload.rate_rps": rate}, headline_days, whole[:2])
    if preset_name == "measured":
        yield Study("frontier", FRONTIER, {}, days, part)
    at_peak = HEADLINE | {"CAPS + autoscale": ALONE["CAPS + autoscale"]}
    at_peak |= fixed((9, 10, 11, 12) if preset_name == "measured" else (22, 23, 24))
    yield Study("diurnal demand", at_peak, DEMANDS["diurnal"], headline_days, part)
    for grid, by_grid in GRIDS.items():
        for load, rate in (("100 %", 10.0), ("30 %", 3.0)):
            rows = HEADLINE | fixed(sizes if rate == 10.0 else small)
            yield Study(f"{grid} grid, load {load}", rows, by_grid | {"workload.rate_rps": rate}, days, part)
    for demand, by_demand in DEMANDS.items():
        rows = {"Round Robin": BASE, "SLO-Aware": SLO} | ALONE | LEFT_OUT
        yield Study(f"ablation {demand}", rows, by_demand, days, part)


def main(
    folder: Path,
    days: Annotated[float, typer.Option(help="days of ablations and grids")] = 2.0,
    seeds: Annotated[int, typer.Option(help="seeds of all but the headline, from 100 on")] = 3,
    headline_days: Annotated[float, typer.Option(help="days of the comparison with Round Robin")] = 7.0,
    headline_seeds: Annotated[
        int, typer.Option(help="its seeds, from 100 on: none of those that the policies were made with")
    ] = 5,
    only: Annotated[str, typer.Option(help="studies whose name holds this")] = "",
    presets: Annotated[str, typer.Option(help="presets, with commas")] = "measured,paper",
) -> None:
    """Play the studies of docs/bill.md."""
    whole, part = range(100, 100 + headline_seeds), range(100, 100 + seeds)
    folder.mkdir(parents=True, exist_ok=True)
    played: list[dict[str, Any]] = []
    lines: list[str] = []
    for name in presets.split(","):
        rates: list[dict[str, Any]] = []
        for study in studies_of(name, days, part, headline_days, whole):
            if only not in study.name:
                continue
            found = list(play(study, name))
            played += found
            title = f"{study.name}, `{name}`, {study.days:g} days, {len(study.seeds)} seeds"
            if study.name.startswith("rate "):
                rates += found
            tell(lines, title, table(pl.DataFrame(found)))
            keep(folder, played, lines)
        if rates:
            tell(lines, f"all rates, `{name}`", over_rates(pl.DataFrame(rates)))
        if only in "by pool":
            tell(lines, f"by pool, `{name}`, {headline_days:g} days", by_pool(name, headline_days, whole[0]))
        keep(folder, played, lines)


def tell(lines: list[str], title: str, found: list[str]) -> None:
    block = [f"### {title}", "", *found, ""]
    lines += block
    typer.echo("\n".join(block))


def keep(folder: Path, played: list[dict[str, Any]], lines: list[str]) -> None:
    if played:
        pl.DataFrame(played, infer_schema_length=None).write_csv(folder / "rows.csv")
    (folder / "tables.md").write_text("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
