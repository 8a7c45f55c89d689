"""The value of forecasts: a policy's saving by the error of the forecast that it sees (docs/forecasts.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import t as student

from caps_fast.errors import InputError
from caps_fast.foresight.choices import DEFAULT, Choice, choices_of
from caps_fast.foresight.runs import OF, Outcome, day, outcomes
from caps_fast.inputs import expect_inputs
from caps_fast.policies import BUILT_IN
from caps_fast.scenario import Scenario
from caps_fast.sweep.fanout import Workers

ALL = "all"
DAYS = 4  # lead days whose error the table shows


@dataclass(frozen=True)
class Value:
    """The value of forecasts.

    rows        one per grid, region, policy and forecast, see docs/forecasts.md
    baseline    policy that savings are relative to
    of          bill or busy
    notes       lines for the user
    """

    rows: pl.DataFrame
    baseline: str
    of: str
    notes: list[str]


def forecast_value(  # noqa: PLR0913 - all but three by name
    scenario: Scenario,
    policies: Sequence[str] = (),
    forecasts: Sequence[str] = tuple(DEFAULT.split(",")),
    *,
    files: Mapping[str, str] | None = None,
    grids: Sequence[str] = (),
    baseline: str | None = None,
    seeds: Sequence[int] = range(5),
    of: str = "bill",
    confidence: float = 0.95,
    workers: Workers | None = None,
) -> Value:
    """Run each policy under each forecast, on the same requests as a baseline, and compare carbon by region.

    policies    default: the scenario's
    forecasts   `perfect`, `noise:K`, `persistence`, `yesterday`, `last-week`, `learned`, `carboncast`, `file:PATH`
    files       `carboncast`: its file
    grids       carbon files in place of the scenario's, one study per file; for fleets of one region
    baseline    a policy that sees no forecast; default `caps-no-carbon` with variants of CAPS, else `edf`
    seeds       at least two for intervals
    of          `bill` (carbon of all states, PUE included) or `busy`

    Raises InputError for bad inputs.
    """
    names = list(dict.fromkeys(policies or [scenario.policy.name]))
    chosen = choices_of(forecasts, files)
    _check(scenario, chosen, grids, seeds, of, confidence)
    against = baseline or (
        "caps-no-carbon" if all(name.startswith("caps") and name in BUILT_IN for name in names) else "edf"
    )
    studies = {label: scenario.replace(changes) for label, changes in _grids(scenario, grids).items()}
    settings: list[tuple[str, str, Choice | None]] = []
    configs = []
    for label, config in studies.items():
        for policy, choice in [(against, None), *((name, choice) for name in names for choice in chosen)]:
            own = {} if choice is None else choice.fields(config)
            fixed = config.replace(own | {"policy.name": policy})
            settings.append((label, policy, choice))
            configs += [fixed.replace({"seed": seed}) for seed in seeds]
    expect_inputs(configs)
    played = outcomes(configs, of, workers or Workers())
    found = {key: played[at * len(seeds) : (at + 1) * len(seeds)] for at, key in enumerate(settings)}
    rows = []
    for (label, policy, choice), runs in found.items():
        if choice is None:
            continue
        before = found[label, against, None]
        for region in _regions(studies[label]):
            rows.append(
                {
                    "grid": label,
                    "region": region,
                    "policy": policy,
                    "forecast": choice.label,
                    "oracle": choice.is_oracle,
                }
            )
            rows[-1] |= _row(runs, before, region, confidence)
    table = pl.DataFrame(rows, infer_schema_length=None)
    notes = dict.fromkeys(note for one in played for note in one.notes)
    return Value(_with_share_kept(table), against, of, list(notes))


def _check(
    scenario: Scenario, chosen: Sequence[Choice], grids: Sequence[str], seeds: Sequence[int], of: str, confidence: float
) -> None:
    if of not in OF:
        raise InputError(f"of {of!r}: expected one of {', '.join(OF)}")
    if not chosen or not seeds:
        raise InputError(f"{'seeds' if chosen else 'forecasts'}: none; expected at least one")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence {confidence:g}: expected a number between 0 and 1")
    if grids and len(scenario.fleet.regions) > 1:
        raise InputError(
            f"--grid {grids[0]}: the fleet has {len(scenario.fleet.regions)} regions; expected a fleet in one"
        )


def _grids(scenario: Scenario, grids: Sequence[str]) -> dict[str, dict[str, str]]:
    only = next(iter(scenario.fleet.regions))
    found = {Path(path).name.partition(".")[0]: {f"regions.{only}.carbon.file": path} for path in grids}
    if len(found) < len(grids):
        raise InputError(
            f"--grid: two files named {Path(grids[-1]).name.partition('.')[0]}; expected names that differ"
        )
    return found or {"": {}}


def _regions(config: Scenario) -> list[str]:
    names = list(config.fleet.regions)
    return names if len(names) == 1 else [ALL, *names]


def _row(
    runs: Sequence[Outcome], before: Sequence[Outcome], region: str, confidence: float
) -> dict[str, float | int | None]:
    def kg(one: Outcome) -> float:
        return sum(one.kg.values()) if region == ALL else one.kg[region]

    base, own = np.array([kg(one) for one in before]), np.array([kg(one) for one in runs])
    saved = np.where(base > 0.0, 1.0 - own / np.where(base > 0.0, base, 1.0), np.nan)
    half = None
    if len(saved) > 1:
        half = float(student.ppf((1.0 + confidence) / 2.0, len(saved) - 1) * saved.std(ddof=1) / np.sqrt(len(saved)))
    errors = [one.errors[name] for one in runs for name in (one.errors if region == ALL else [region])]
    mean = float(saved.mean())
    return {
        "seeds": len(runs),
        **{f"error_day_{at + 1}": day(errors, at) for at in range(DAYS)},
        "kg": float(own.mean()),
        "baseline_kg": float(base.mean()),
        "saving": mean,
        "low": None if half is None else mean - half,
        "high": None if half is None else mean + half,
        "slo_attainment": float(np.mean([one.slo for one in runs])),
        "baseline_slo": float(np.mean([one.slo for one in before])),
    }


def _with_share_kept(table: pl.DataFrame) -> pl.DataFrame:
    """Add `of_perfect`: the saving over that under the perfect forecast; null without one, or if that saves nothing."""
    keys = ["grid", "region", "policy"]
    best = table.filter(pl.col("forecast") == "perfect").select(*keys, pl.col("saving").alias("best"))
    share = pl.when(pl.col("best") > 0.0).then(pl.col("saving") / pl.col("best"))
    return table.join(best, on=keys, how="left", maintain_order="left").with_columns(of_perfect=share).drop("best")


__all__ = ["Value", "forecast_value"]
