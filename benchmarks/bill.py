"""What saves how much: the runs behind docs/bill.md.

`python -m benchmarks.bill FOLDER` writes `rows.csv` and `tables.md` there.

In a study every row is a change of the scenario, played on the same requests; savings against Round Robin on the whole
fleet are paired by seed, intervals are those of Student's t at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from scipy.stats import t as student

from caps_fast import bound_of_run, preset, simulate_group
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
}


def fixed(sizes: tuple[int, ...]) -> dict[str, Changes]:
    """Whole fleets of other sizes: one queue, requests join the replica with the fewest prompt tokens to do."""
    one = {"policy.name": "edf", "policy.queueing": "central", "policy.placement": "prompts"}
    return {f"fixed {n}": one | {"cluster.gpus": n, "cluster.split": f"{n - 2}/1/1"} for n in sizes}


def scenario(preset_name: str, days: float, seed: int, *changes: Changes) -> Scenario:
    config = preset(preset_name).replace({"days": days, "seed": seed})
    for change in changes:
        config = config.replace(
            {
                name: value
                for name, value in change.items()
                if not name.startswith("gpu.") or hasattr(config.gpu, name[4:])
            }
        )
    return config


def play(
    study: str, preset_name: str, rows: dict[str, Changes], common: Changes, days: float, seeds: range, bounds: bool
) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        configs = [scenario(preset_name, days, seed, common, change) for change in rows.values()]
        for name, result in zip(rows, simulate_group(configs), strict=True):
            metrics = result.metrics
            attained = {tier: metrics[f"slo_attainment_{tier}"] for tier in TIERS}
            least = {"bound_kg": bound_of_run(result).kg if bounds and rows[name] is ELASTIC else None}
            yield {
                "study": study,
                "preset": preset_name,
                "row": name,
                "seed": seed,
                "bill_kg": metrics["bill_kg"],
                **attained,
                **least,
            }


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


def main(
    folder: Path,
    days: Annotated[float, typer.Option(help="days of the ablations")] = 1.0,
    seeds: Annotated[int, typer.Option(help="seeds of the ablations, from 100 on")] = 3,
    headline_days: Annotated[float, typer.Option(help="days of the comparison with Round Robin")] = 7.0,
    headline_seeds: Annotated[
        int, typer.Option(help="its seeds, from 100 on: none of those that the policies were made with")
    ] = 5,
    only: Annotated[str, typer.Option(help="studies whose name holds this")] = "",
    presets: Annotated[str, typer.Option(help="presets, with commas")] = "measured,paper",
) -> None:
    """Play the studies of docs/bill.md."""
    studies: list[tuple[str, str, dict[str, Changes], Changes, float, range, bool]] = []
    whole, part = range(100, 100 + headline_seeds), range(100, 100 + seeds)
    for name in presets.split(","):
        sizes, small = ((6, 7, 8), (3, 4, 5)) if name == "measured" else ((20, 22), (8, 12, 16))
        studies.append(("headline", name, HEADLINE | fixed(sizes), {}, headline_days, whole, True))
        for demand, by_demand in DEMANDS.items():
            studies.append(
                (
                    f"ablation {demand}",
                    name,
                    {"Round Robin": BASE, "SLO-Aware": SLO} | ALONE | LEFT_OUT,
                    by_demand,
                    days,
                    part,
                    False,
                )
            )
        for grid, by_grid in GRIDS.items():
            for load, rate in (("100 %", 10.0), ("30 %", 3.0)):
                rows = HEADLINE | fixed(sizes if rate == 10.0 else small)
                studies.append(
                    (f"{grid} grid, load {load}", name, rows, by_grid | {"workload.rate_rps": rate}, days, part, False)
                )
        peak = (
            HEADLINE
            | {"caps-elastic, quantile 0.9": option(quantile=0.9)}
            | fixed((10, 11, 12) if name == "measured" else (24,))
        )
        studies.append(("diurnal demand", name, peak, DEMANDS["diurnal"], 3 * days, part, False))
    folder.mkdir(parents=True, exist_ok=True)
    played: list[dict[str, Any]] = []
    lines: list[str] = []
    for study, name, changes, common, length, over, bounds in studies:
        if only not in study:
            continue
        found = list(play(study, name, changes, common, length, over, bounds))
        played += found
        lines += [f"### {study}, `{name}`, {length:g} days, {len(over)} seeds", "", *table(pl.DataFrame(found)), ""]
        pl.DataFrame(played, infer_schema_length=None).write_csv(folder / "rows.csv")
        (folder / "tables.md").write_text("\n".join(lines))
        typer.echo("\n".join(lines[-len(table(pl.DataFrame(found))) - 3 :]))


if __name__ == "__main__":
    typer.run(main)
