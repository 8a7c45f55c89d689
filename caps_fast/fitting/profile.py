"""A complete profile from a fit: speed, power if there is any, and what the data do not determine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from caps_fast.errors import InputError
from caps_fast.fitting.inputs import Inputs
from caps_fast.fitting.power import POWER, PowerFit, fit_power, idle_w_of
from caps_fast.fitting.speed import FITTED, SpeedFit, fit_speed
from caps_fast.fitting.terms import SPEED
from caps_fast.profiles.fit import Given, fit
from caps_fast.profiles.measurements import Measurements
from caps_fast.profiles.step_tables import steps_of
from caps_fast.validation.replay import engine_scenario

HELD = (*SPEED, "lag_iterations")


@dataclass(frozen=True)
class FittedProfile:
    """A fitted profile: speed, power (`power` fitted, or `borrowed`, or none), and the batch of a full replica."""

    speed: SpeedFit
    power: PowerFit | None
    borrowed: Mapping[str, float]
    gpus: int
    max_batch: int
    label: str
    notes: tuple[str, ...]
    power_errors: dict[str, Any] = field(default_factory=dict)

    def profile(self, about: str, source: str) -> dict[str, Any]:
        """The content of a profile file."""
        power = self.power.fields if self.power else self.borrowed
        coefficients = self.speed.coefficients
        fit: dict[str, Any] = {"max_batch": self.max_batch} if power else {}
        fit |= {**self.speed.summary(), **(self.power.summary() if self.power else self.power_errors)}
        fit["told"] = [one.field for one in coefficients if one.origin == FITTED]
        fit["not_told"] = [one.field for one in coefficients if one.origin != FITTED]
        fit |= {f"{one.field}_interval": list(one.interval) for one in coefficients if one.interval}
        return {
            "about": about,
            "source": source,
            **self.speed.fields,
            **power,
            "gpus_per_replica": self.gpus,
            "fit": fit,
        }


def held(changes: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Coefficients that `--set gpu.FIELD=...` fixes, and the other settings.

    Raises InputError for a field that is not fitted.
    """
    fixed: dict[str, float] = {}
    limits: dict[str, Any] = {}
    for name, value in changes.items():
        head, _, leaf = name.partition(".")
        if head != "gpu":
            limits[name] = value
        elif leaf not in HELD:
            raise InputError(f"--set {name}: expected a coefficient of the speed: {', '.join(HELD)}")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"--set {name}={value}: expected a number")
        else:
            fixed[leaf] = float(value)
    return fixed, limits


def fit_measurements(
    measured: Measurements, given: Given, fixed: Mapping[str, float]
) -> tuple[FittedProfile, pl.DataFrame]:
    """Fit all terms of the speed, and Eq. 2, to a table of prompt times, decode steps and power; and the points of
    power.

    Raises InputError.
    """
    largest = given.max_batch or int(measured.frame["batch"].max() or 0)  # type: ignore[arg-type]
    used = measured.frame.filter(pl.col("batch") <= largest)
    if given.max_prompt_tokens is not None:
        used = used.filter((pl.col("prompt_tokens") <= given.max_prompt_tokens) | pl.col("prompt_tokens").is_null())
    held_fields = dict(fixed) | (
        {"prefill_s_per_token": given.prefill_s_per_token} if given.prefill_s_per_token is not None else {}
    )
    speed = fit_speed([steps_of(replace(measured, frame=used))], [], None, held_fields)
    found = fit(measured, replace(given, prefill_s_per_token=float(speed.fields["prefill_s_per_token"])))
    power = {name: float(value) for name, value in {**found.fields, **(given.power or {})}.items() if name in POWER}
    errors = {name: value for name, value in found.summary().items() if name.startswith("power_")}
    watts = found.points.filter(pl.col("what") == "power").with_columns(
        file=pl.lit(measured.path), at=pl.format("batch {}", pl.col("at").round(1))
    )
    profile = FittedProfile(speed, None, power, measured.gpus, largest, measured.label, speed.notes, errors)
    return profile, watts.select(speed.points.columns)


def fit_profile_to(
    inputs: Inputs,
    fixed: Mapping[str, float],
    limits: Mapping[str, Any],
    borrowed: Mapping[str, float] | None,
    idle_w: float | None,
    cpu_s: float,
) -> FittedProfile:
    """Fit speed and, if it was measured and is not `borrowed`, power. Raises InputError."""
    config = engine_scenario(None, 1, {**limits, **{f"gpu.{name}": value for name, value in fixed.items()}})
    kind = config.fleet.only_kind
    speed = fit_speed(inputs.tables, inputs.logs, config, fixed, cpu_s)
    measured = bool(inputs.powers) or any(bool((one.power_w == one.power_w).any()) for one in inputs.tables)
    power = None
    if measured and borrowed is None:
        power = fit_power(inputs.tables, inputs.runs, config, speed.fields, idle_w_of(inputs.tables, idle_w))
    notes = [*speed.notes, *(note for log in inputs.logs for note in log.notes)]
    if not measured and borrowed is None:
        notes.append(
            f"power was not measured: the profile has no {', '.join(POWER[:3])}; a scenario uses its own "
            "(--power-from adds them)"
        )
    if inputs.logs:
        memory = f"{kind.kv_capacity_tokens:,} tokens" if kind.kv_capacity_tokens else "no limit"
        notes.append(
            f"logs were replayed with max_batch {kind.max_batch}, chunk_tokens {kind.chunk_tokens}, KV memory: "
            f"{kind.kv}, {memory}"
        )
    paths = [*(one.path for one in inputs.tables), *(log.path for log in inputs.logs)]
    label = next((one.label for one in inputs.tables if one.label), "") or ", ".join(
        path.rpartition("/")[2] for path in paths
    )
    return FittedProfile(speed, power, dict(borrowed or {}), inputs.gpus, kind.max_batch, label, tuple(notes))
