"""The results of the searches as tables: each policy's best fleet, tried fleets, fleets that are too small and why,
savings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from caps_fast.errors import InputError
from caps_fast.metrics import METRICS
from caps_fast.sections import TIERS
from caps_fast.sizing.fleets import REPLICAS
from caps_fast.sizing.search import MONEY, Tried
from caps_fast.sizing.targets import LIMITS, SLO, UNFINISHED, Target
from caps_fast.sweep.compare import compare
from caps_fast.text_table import counted

BILLS = tuple(name for name in ("bill_kg", MONEY) if name in METRICS)
SHOWN = (SLO, *(f"{SLO}_{tier}" for tier in TIERS), *BILLS)
SAID = {"ttft_s": "TTFT", "ttft_after_release_s": "TTFT after release", "tpot_s": "TPOT", "e2e_s": "E2E"}


@dataclass(frozen=True, repr=False)
class Sized:
    """The outcome of `size`. Figures are means over seeds; `_low` and `_high` end their intervals.

    answers     a row per policy and rate: policy, rate_rps, replicas, split, the axes, metrics with intervals, seeds,
                certain (whether the intervals meet the targets too); null if no fleet meets them
    tried       a row per fleet tried over the full horizon: the same, and `keeps`
    too_small   a row per next smaller fleet that misses a target: the same, and `why`
    savings     a row per policy, rate and metric: paired difference of its answer from the baseline's (see `compare`)
    baseline    the policy that savings are relative to
    objective   minimised metric, or `replicas`
    targets     of the search
    axes        fields in which fleets differ apart from their replicas
    notes       lines for the user
    """

    answers: pl.DataFrame
    tried: pl.DataFrame
    too_small: pl.DataFrame
    savings: pl.DataFrame
    baseline: str
    objective: str
    targets: tuple[Target, ...]
    axes: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        """One line per policy and rate; the frames have the rest."""
        names = [
            "policy",
            "rate_rps",
            "replicas",
            "split",
            *self.axes,
            *(target.metric for target in self.targets),
            "bill_kg",
        ]
        answers = self.answers.select(name for name in dict.fromkeys(names) if name in self.answers.columns)
        lines = [
            ", ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
            )
            for row in answers.to_dicts()
        ]
        frames = ("answers", "tried", "too_small", "savings")
        return "\n".join(
            ["least " + self.objective, *(f"  {line}" for line in lines), f"  frames: {', '.join(frames)}"]
        )

    def rows(self) -> list[dict[str, Any]]:
        """A row per policy and rate as plain data, with its `savings`, its `too_small` and its `tried` fleets."""
        found = []
        for row in self.answers.iter_rows(named=True):
            own: dict[str, Any] = {MONEY: None} | row
            at_rate = pl.col("rate_rps").eq_missing(pl.lit(row["rate_rps"], pl.Float64))
            here = (pl.col("policy") == row["policy"]) & at_rate
            for name in ("savings", "too_small", "tried"):
                own[name] = getattr(self, name).filter(here).drop("policy", "rate_rps").to_dicts()
            found.append(own)
        return found


def outcome(searched: Sequence[Tried], baseline: str | None) -> Sized:
    """The tables. Raises InputError if no search found a fleet that meets the targets, and if no request arrived."""
    if empty := next((one for one in searched if one.is_empty()), None):
        asked = ", ".join(target.metric for target in empty.problem.targets)
        raise InputError(f"days {empty.days:g}: no request arrives for {asked}; expected a longer run or a higher rate")
    found = [one.best() for one in searched]
    if all(fleet is None for fleet in found):
        raise InputError(_unreachable(max(searched, key=_nearest)))
    problem = searched[0].problem
    answers, tried, too_small, notes = [], [], [], []
    for one, best in zip(searched, found, strict=True):
        answers.append(_asked(one) | (_row(one, best) if best is not None else {}))
        order = sorted(one.runs, key=lambda fleet: (int(one.problem.fleets.replicas[fleet]), fleet))
        tried += [_asked(one) | _row(one, fleet) | {"keeps": one.verdict(fleet).keeps} for fleet in order]
        if best is None:
            notes.append(_unreachable(one))
            continue
        smaller = [fleet for fleet in one.problem.fleets.smaller(best) if not one.verdict(fleet).keeps]
        too_small += [_asked(one) | _row(one, fleet) | {"keeps": False, "why": why(one, fleet)} for fleet in smaller]
        notes += _doubts(one, best)
    answered = [one for one, best in zip(searched, found, strict=True) if best is not None]
    base = baseline or answered[0].problem.fleets.base.policy.name
    tried_frame = _frame(tried)
    return Sized(
        answers=_frame(answers),
        tried=tried_frame,
        too_small=_frame(too_small) if too_small else tried_frame.clear().with_columns(pl.lit("").alias("why")),
        savings=_savings(searched, found, base),
        baseline=base,
        objective=problem.objective,
        targets=problem.targets,
        axes=problem.fleets.axes,
        notes=tuple(notes),
    )


def why(tried: Tried, fleet: int) -> str:
    """The target that a fleet misses, its tier, and the limit that is missed most."""
    if error := tried.errors(fleet):
        return error
    verdict = tried.verdict(fleet)
    metric = verdict.missed.metric
    figure = _percent(tried.interval(fleet, metric).mean)
    said = f"{METRICS[metric].heading} {figure} of {100 * verdict.missed.least:g}%"
    tiers = [tier for tier in TIERS if metric in (SLO, f"{SLO}_{tier}")]
    config = tried.problem.fleets.base
    weights = {tier: getattr(config.slo, tier).share for tier in tiers}
    misses = {tier: weights[tier] * (1 - _mean(tried.figures(fleet, f"{SLO}_{tier}"))) for tier in tiers}
    worst = max(tiers, key=lambda tier: misses[tier] if math.isfinite(misses[tier]) else -1.0)
    runs = tried.runs[fleet]
    beyond = {name: _mean([run.misses.get(f"{worst} {name}", 0.0) for run in runs]) for name in (*LIMITS, UNFINISHED)}
    limit = max(beyond, key=lambda name: beyond[name])
    if not beyond[limit] > 0:
        return said
    what = "not finished"
    if limit != UNFINISHED:
        what = f"{SAID[limit]} above {getattr(getattr(config.slo, worst), limit):g} s"
    return f"{said}; most in {worst.capitalize()}: {_percent(beyond[limit])} {what}"


def _frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    types: dict[str, Any] = {"rate_rps": pl.Float64, REPLICAS: pl.Int64, "split": pl.String}
    return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)


def _asked(tried: Tried) -> dict[str, Any]:
    base = tried.problem.fleets.base
    return {"policy": base.policy.name, "rate_rps": base.workload.asked_rps}


def _row(tried: Tried, fleet: int) -> dict[str, Any]:
    fleets = tried.problem.fleets
    found: dict[str, Any] = {"replicas": int(fleets.replicas[fleet]), "split": split_of(fleets.sizes[fleet].tolist())}
    found |= fleets.changes[fleet]
    for name in SHOWN:
        one = None if tried.errors(fleet) else tried.interval(fleet, name)
        ends = {"": one.mean, "_low": one.low, "_high": one.high} if one else dict.fromkeys(("", "_low", "_high"))
        defined = {end: value for end, value in ends.items() if value is not None and math.isfinite(value)}
        found |= {f"{name}{end}": defined.get(end) for end in ends}
    return found | {"seeds": len(tried.runs[fleet]), "certain": tried.verdict(fleet).decided}


def split_of(sizes: Sequence[int]) -> str:
    """Replicas per pool, like 8/8/8."""
    return "/".join(map(str, sizes))


def _doubts(tried: Tried, best: int) -> list[str]:
    """Assumptions that did not hold, or only hold by the mean."""
    fleets, asked = tried.problem.fleets, asked_by(tried)
    notes = []
    if not fleets.smaller(best):
        advice = "a wider one (--over) may contain a cheaper fleet"
        notes.append(f"{asked}: {called(tried, best)} is the smallest of its range; {advice}")
    if not tried.verdict(best).decided:
        doubt = "by the mean, not by the whole interval; more seeds would decide"
        notes.append(f"{asked}: {called(tried, best)} meets its targets {doubt}")
    for fleet in tried.runs:
        if fleet != best and fleets.within[fleet, best] and not tried.verdict(fleet).keeps:
            sure = "" if tried.verdict(fleet).decided else ", within the interval"
            larger = f"{called(tried, fleet)}, though larger than {called(tried, best)},"
            notes.append(f"{asked}: {larger} misses a target{sure}: {why(tried, fleet)}")
    return notes


def asked_by(tried: Tried) -> str:
    """A search as text: its policy and rate."""
    base = tried.problem.fleets.base
    return base.policy.name + (f" at {base.workload.asked_rps:g} req/s" if base.workload.asked_rps else "")


def called(tried: Tried, fleet: int) -> str:
    """A fleet as text."""
    fleets = tried.problem.fleets
    changes = "".join(f", {name} {value}" for name, value in fleets.changes[fleet].items())
    return f"{counted(int(fleets.replicas[fleet]), 'replica')} in {split_of(fleets.sizes[fleet].tolist())}{changes}"


def _nearest(tried: Tried) -> float:
    return max(tried.verdict(fleet).margin for fleet in tried.runs)


def _unreachable(tried: Tried) -> str:
    """How close the best fleet comes to targets that none meets; or why none is valid."""
    fleets = tried.problem.fleets
    best = max(tried.runs, key=lambda fleet: tried.verdict(fleet).margin)
    if error := tried.errors(best):
        return error
    missed = tried.verdict(best).missed
    found = tried.interval(best, missed.metric)
    low, high = max(found.low, 0.0), min(found.high, 1.0)
    within = f" (interval {_percent(low)} to {_percent(high)})" if math.isfinite(found.half) else ""
    return (
        f"{_option(missed)}: no fleet of {fleets.replicas.min()} to {fleets.replicas.max()} replicas meets it with "
        f"{asked_by(tried)}: the closest, {called(tried, best)}, has {_percent(found.mean)}{within}; "
        "expected a lower target or a wider range (--over)"
    )


def _option(target: Target) -> str:
    tier = target.metric.removeprefix(SLO)[1:]
    return f"--tier {tier}={target.least:g}" if tier else f"--slo {target.least:g}"


def _savings(searched: Sequence[Tried], found: Sequence[int | None], baseline: str) -> pl.DataFrame:
    """Paired differences between the policies' own best fleets, on common seeds."""
    rows = []
    for one, best in zip(searched, found, strict=True):
        if best is not None:
            for seed, run in zip(one.seeds, one.runs[best], strict=False):
                own = {REPLICAS: float(one.problem.fleets.replicas[best])} | {m: run.metrics[m] for m in (*BILLS, SLO)}
                rows.append(_asked(one) | {"seed": seed} | own)
    runs = pl.DataFrame(rows, schema_overrides={"rate_rps": pl.Float64}, infer_schema_length=None)
    names = ["policy", "rate_rps", "metric", "pairs", "baseline", "mean", "difference", "low", "high", "relative"]
    parts = []
    for part in runs.partition_by("rate_rps", maintain_order=True):
        if part["policy"].n_unique() > 1 and baseline in part["policy"]:
            differences = compare(part, baseline, [REPLICAS, *BILLS, SLO])
            rate = pl.lit(part["rate_rps"][0], pl.Float64).alias("rate_rps")
            parts.append(differences.with_columns(rate).select(names))
    empty = pl.DataFrame(schema={name: pl.String if name in ("policy", "metric") else pl.Float64 for name in names})
    return pl.concat(parts) if parts else empty


def _mean(figures: Sequence[float]) -> float:
    return math.fsum(figures) / len(figures)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
