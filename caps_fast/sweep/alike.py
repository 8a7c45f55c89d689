"""Comparable runs: one value of every setting that varies, the same in every table and figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from caps_fast import scenario
from caps_fast.metrics import metric_of
from caps_fast.outcome import parameters
from caps_fast.sweep.compare import SERVING, followers
from caps_fast.sweep.frames import shown
from caps_fast.sweep.rows import fields, type_of
from caps_fast.sweep.summary import one_of_rates

OWN_SETTINGS = ("split", "alpha", "beta", "lambda", "days", "preset")
FREE = ("policy", "rate_rps", "seed")
MANY = 6
LONGEST = 40  # letters of a value


@dataclass(frozen=True)
class Alike:
    """Runs that differ in policy, rate and seed only.

    runs        in the order that they had
    choice      description, as `beta 0.5 (of 0, 0.5, 1)`; empty if there was no choice
    """

    runs: pl.DataFrame
    choice: str


def alike(runs: pl.DataFrame) -> Alike:
    """For each setting that varies, the value with most rates, among those the one with most runs, then the preset's
    (of presets, `paper`), then the first in order.

    A setting of serving that changes with the policy (one value for each) belongs to the policy. Runs without a rate
    are ignored if others have one.
    """
    rated = runs.filter(pl.col("rate_rps").is_not_null())
    chosen, choices = runs if rated.is_empty() else rated, []
    names = [
        name
        for name in chosen.columns
        if name in OWN_SETTINGS or ((type_of(name) or "." in name) and not metric_of(name))
    ]
    with_policy = {name for name in followers(chosen, "policy") if SERVING.fullmatch(name)}
    for name in sorted(names, key=lambda name: name != "preset"):
        if chosen[name].n_unique() > 1 and name not in with_policy:
            value, others = _most(chosen, name)
            chosen = chosen.filter(pl.col(name).eq_missing(pl.lit(value, dtype=chosen.schema[name])))
            choices.append(f"{name} {_text(value)} (of {others})")
    return Alike(chosen.unique(FREE, keep="first", maintain_order=True), ", ".join(choices))


def alike_at_one_rate(runs: pl.DataFrame) -> Alike:
    """Of the runs that `alike` chooses, those at 10 req/s, or else at the middle rate; of another horizon if it has
    more policies there.
    """
    found = alike(runs)
    at_rate = pl.col("rate_rps").eq_missing(one_of_rates(found.runs["rate_rps"].unique().sort()))
    if "days" in runs.columns:
        policies = (
            runs.filter(at_rate)
            .group_by("days")
            .agg(pl.col("policy").n_unique())
            .sort("policy", "days", descending=True)
        )
        own = policies.filter(pl.col("days") == found.runs["days"][0])
        if own.is_empty() or policies["policy"][0] > own["policy"][0]:
            days = policies["days"][0]
            other = alike(runs.filter(at_rate, pl.col("days") == days))
            return Alike(
                other.runs,
                ", ".join(
                    part for part in (f"days {_text(days)} (of {_values(policies['days'])})", other.choice) if part
                ),
            )
    return Alike(found.runs.filter(at_rate), found.choice)


def choices(runs: pl.DataFrame) -> str:
    """The choice of `alike` for each preset's runs, as text; empty without a choice."""
    told = {str(preset): alike(block).choice for (preset,), block in runs.group_by("preset", maintain_order=True)}
    return "; ".join(
        f"{choice}, preset {preset}" if len(told) > 1 else choice for preset, choice in told.items() if choice
    )


def is_preset(runs: pl.DataFrame, names: Sequence[str]) -> bool:
    """Whether all runs are of one of these presets, except for policy, weights, rate, split, days and seed."""
    preset = runs["preset"][0]
    usual = fields(scenario.preset(preset)) | {"preset": preset} if preset in names else {}
    return bool(usual) and all(runs[name].unique().to_list() == [value] for name, value in usual.items())


def _most(runs: pl.DataFrame, name: str) -> tuple[Any, str]:
    """The value to use, and all values as text."""
    usual = (
        "paper" if name == "preset" else _of_preset(runs["preset"][0]).get(name) if "preset" in runs.columns else None
    )
    counts = runs.group_by(name).agg(pl.col("rate_rps").n_unique().alias("rates"), pl.len().alias("runs"))
    best = counts.sort(
        "rates", "runs", pl.col(name).eq_missing(pl.lit(usual)), name, descending=[True, True, True, False]
    )
    return best[name][0], _values(counts[name])


def _of_preset(name: Any) -> dict[str, Any]:
    """A built-in preset's own values by column; none for other names."""
    if name not in scenario.presets():
        return {}
    config = scenario.preset(name)
    return parameters(config) | fields(config)


def _values(column: pl.Series) -> str:
    found = column.unique().sort().to_list()
    return ", ".join(map(_text, found[:MANY])) + (f", ... {len(found)} values" if len(found) > MANY else "")


def _text(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
