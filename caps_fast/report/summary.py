"""The page's summary: what was run, which policy wins, by how much, and whether that is significant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from caps_fast.errors import InputError
from caps_fast.metrics import METRICS, SHARE
from caps_fast.report.phrases import Difference, amount, listed, share
from caps_fast.report.style import FAINT, INK, WIDTH_IN, colour_of, name_of, new_figure, policy_name, styled
from caps_fast.sweep.compare import compare
from caps_fast.text_table import counted

SLO = "slo_attainment"
COSTS = ("bill_kg", "carbon_g_per_1k_tokens")  # the first of these that the runs have decides
COMPARED = (SLO, *COSTS, "ttft_after_release_p95_s", "cost")
BASELINES = ("round-robin", "slo-aware", "edf")
TOLERATED = 0.005  # greatest loss of attainment of a winner relative to the baseline
SHORT = {"bill_kg": "bill", "carbon_g_per_1k_tokens": "carbon"}
CALLED = {"bill_kg": ("carbon bill", "kg"), "carbon_g_per_1k_tokens": ("attributed carbon", "g per 1,000 tokens")}


@dataclass(frozen=True)
class Comparison:
    """Policies compared with a baseline, on the same requests at one rate.

    means           by policy and metric
    differences     from the baseline, by policy and metric
    cost            the metric that decides
    lead            by which the second of the eligible policies costs more than the first
    """

    baseline: str
    policies: list[str]
    means: dict[str, dict[str, float]]
    differences: dict[str, dict[str, Difference]]
    cost: str
    lead: Difference | None = None

    @property
    def eligible(self) -> list[str]:
        """Policies that keep the baseline's SLO attainment, within TOLERATED; lowest cost first."""
        least = self.means[self.baseline][SLO] - TOLERATED
        return sorted((name for name in self.policies if self.means[name][SLO] >= least), key=self.cost_of)

    def cost_of(self, policy: str) -> float:
        """Mean of the deciding metric."""
        return self.means[policy][self.cost]


def compared(runs: pl.DataFrame, baseline: str | None = None) -> Comparison | None:
    """The comparison of runs at one rate; None if there is only one policy, or none can be paired."""
    policies = runs["policy"].unique(maintain_order=True).to_list()
    if baseline is None:
        baseline = next((name for name in BASELINES if name in policies), policies[0])
    metrics = [name for name in COMPARED if name in runs.columns and runs[name].is_finite().all()]
    cost = next((name for name in COSTS if name in metrics), None)
    if len(policies) < 2 or cost is None or SLO not in metrics:
        return None
    try:
        found = compare(runs, baseline, metrics)
    except InputError:
        return None
    means: dict[str, dict[str, float]] = {}
    for row in runs.group_by("policy").agg(pl.col(metrics).mean()).iter_rows(named=True):
        means[row["policy"]] = {name: float(row[name]) for name in metrics}
    differences: dict[str, dict[str, Difference]] = {}
    for row in found.iter_rows(named=True):
        if own := _difference(row):
            differences.setdefault(row["policy"], {})[row["metric"]] = own
    policies = [name for name in policies if name == baseline or name in differences]
    plain = Comparison(baseline, policies, means, differences, cost)
    if len(plain.eligible) < 2:
        return plain
    first, second = plain.eligible[:2]
    (between,) = compare(runs.filter(pl.col("policy").is_in([first, second])), first, [cost]).iter_rows(named=True)
    return replace(plain, lead=_difference(between))


def _difference(row: dict[str, Any]) -> Difference | None:
    """A row of `compare`; None if there is no baseline."""
    metric = METRICS[row["metric"]]
    scale, unit = (0.01, "points") if metric.unit == SHARE else (abs(row["baseline"]) / 100, "%")
    mean, low, high = (float("nan") if row[name] is None else row[name] for name in ("difference", "low", "high"))
    return Difference(mean, low, high, row["pairs"], metric.better == "larger", scale, unit) if scale else None


def what_ran(runs: pl.DataFrame, rate: str, chosen: str) -> str:
    """A sentence on the compared runs."""
    policies = [policy_name(name) for name in runs["policy"].unique(maintain_order=True)]
    seeds = runs["seed"].n_unique()
    parts = [
        f"{counted(len(policies), 'policy') if len(policies) == 1 else f'{len(policies)} policies'} "
        f"({listed(policies)})"
    ]
    parts.append(f"{counted(seeds, 'seed')} each at {rate}")
    if "days" in runs.columns:
        parts.append(f"{amount(runs['days'][0])} simulated days")
    if "split" in runs.columns and runs["split"].n_unique() == 1:
        sizes = str(runs["split"][0])
        total = sum(int(part) for part in sizes.split("/") if part.isdecimal())
        parts.append(f"{total} replicas" + (f" in pools of {sizes}" if "/" in sizes else ""))
    text = f"{', '.join(parts)}; preset {runs['preset'][0]}."
    return text + (f" Where other settings vary, one value of each is shown: {chosen}." if chosen else "")


def verdicts(found: Comparison) -> list[str]:
    """The winner, its lead and significance; the next policy; policies that would win at a lower attainment."""
    baseline, (called, unit) = policy_name(found.baseline), CALLED[found.cost]
    best, *others = found.eligible
    kept = f"of the policies that keep SLO attainment within {100 * TOLERATED:g} points of {baseline}'s"
    said = []
    if best == found.baseline:
        said.append(f"{baseline} has the lowest {called} {kept}: {amount(found.cost_of(best))} {unit}.")
    else:
        by = found.differences[best][found.cost].sentence(baseline)
        said.append(f"{policy_name(best)} has the lowest {called} {kept}: {amount(found.cost_of(best))} {unit}, {by}.")
        slo = found.differences[best][SLO].sentence(baseline)
        said.append(f"Its SLO attainment is {share(found.means[best][SLO])}, {slo}.")
    if others and found.lead:
        said.append(f"Next comes {policy_name(others[0])}: its {called} is {found.lead.sentence(policy_name(best))}.")
    below = [
        name for name in found.policies if name not in found.eligible and found.cost_of(name) < found.cost_of(best)
    ]
    if below:
        lost = [
            f"{policy_name(name)} ({called} {found.differences[name][found.cost].text}, SLO attainment "
            f"{found.differences[name][SLO].text})"
            for name in sorted(below, key=found.cost_of)
        ]
        said.append(f"Lower in {called}, but lower in SLO attainment too: {listed(lost, 3)}.")
    return said


def single(runs: pl.DataFrame) -> list[str]:
    """The results of the runs of one policy."""
    means = {
        name: float(runs[name].mean())  # type: ignore[arg-type]
        for name in METRICS
        if name in runs.columns and runs[name].drop_nulls().len()
    }
    cost = next(name for name in COSTS if name in means)
    called, unit = CALLED[cost]
    said = [
        f"{policy_name(runs['policy'][0])} keeps the SLO of {share(means[SLO])} of requests, with "
        f"{amount(means[cost])} {unit} of {called}."
    ]
    by_tier = [
        f"{tier.capitalize()} {share(means[name])}"
        for tier in ("gold", "silver", "bronze")
        if (name := f"{SLO}_{tier}") in means
    ]
    if by_tier:
        said.append(f"SLO attainment by tier: {listed(by_tier)}.")
    if means.get("unfinished"):
        said.append(f"{amount(means['unfinished'])} requests do not finish.")
    return said


def comparison_table(found: Comparison, label: str) -> dict[str, Any]:
    """Means and differences by policy, each with its verdict in words."""
    metrics = [name for name in COMPARED if name in found.means[found.baseline]]
    if not found.means[found.baseline].get("cost"):
        metrics = [name for name in metrics if name != "cost"]
    rows = []
    for policy in sorted(found.policies, key=found.cost_of):
        cells = []
        for name in metrics:
            own = found.differences.get(policy, {}).get(name)
            shown = METRICS[name].shown(found.means[policy][name])
            cells.append({"value": shown, "difference": own.text if own else "", "verdict": own.verdict if own else ""})
        rows.append({"name": policy_name(policy) + (" (baseline)" if policy == found.baseline else ""), "cells": cells})
    heads = [METRICS[name].heading for name in metrics]
    baseline = policy_name(found.baseline)
    caption = (
        f"{label}: means over seeds; below them the paired difference from {baseline} with its 95 % interval. "
        f"Lowest {CALLED[found.cost][0]} first."
    )
    return {"caption": caption, "heads": heads, "rows": rows}


def difference_figure(found: Comparison) -> Figure:
    """Differences from the baseline in attainment and in the deciding metric, with intervals; one row per policy."""
    policies = sorted((name for name in found.policies if name != found.baseline), key=found.cost_of)
    with styled():
        figure = new_figure(WIDTH_IN, 1.2 + 0.3 * len(policies))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, metric, title in zip(
            panels, (SLO, found.cost), ("SLO met (points)", f"{SHORT[found.cost]} (%)"), strict=True
        ):
            for at, policy in enumerate(policies):
                own = found.differences[policy].get(metric)
                if own is None:
                    continue
                spread = [[own.mean - own.low], [own.high - own.mean]] if own.low == own.low else None
                values = None if spread is None else [[part[0] / own.scale] for part in spread]
                axes.errorbar(
                    own.mean / own.scale,
                    at,
                    xerr=values,
                    fmt="o",
                    color=colour_of(policy, found.policies),
                    elinewidth=2.5,
                    markersize=5,
                )
            axes.axvline(0, color=INK, linewidth=0.9, linestyle="--")
            axes.set_title(title)
            axes.set_yticks(range(len(policies)), [name_of(name) for name in policies])
            axes.margins(x=0.12, y=0.12)
            axes.tick_params(length=0, axis="y")
        panels[0].invert_yaxis()
        figure.supxlabel(f"difference from {name_of(found.baseline)}, 95 % intervals", fontsize=8.5, color=FAINT)
    return figure


def difference_sentence(found: Comparison) -> str:
    """What the figure of differences shows."""
    called = CALLED[found.cost][0]
    if all(one.verdict == "one seed" for own in found.differences.values() for one in own.values()):
        return "One seed has no intervals, so that none of these differences is known to be more than chance."
    lower, higher = (
        [
            policy_name(name)
            for name, own in found.differences.items()
            if found.cost in own and own[found.cost].verdict == verdict
        ]
        for verdict in ("better", "worse")
    )
    parts = [
        f"significantly {word} for {listed(names)}" for word, names in (("lower", lower), ("higher", higher)) if names
    ]
    baseline = policy_name(found.baseline)
    said = (
        f"The {called} is {' and '.join(parts)} than for {baseline}"
        if parts
        else f"No {called} differs significantly from that of {baseline}"
    )
    return f"{said}. A bar that does not reach the dashed line is a significant difference."
