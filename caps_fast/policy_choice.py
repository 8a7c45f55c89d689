"""The sections of a scenario about its policy and predictor."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from caps_fast.errors import did_you_mean
from caps_fast.section import LATER, Finite, NonNegative, Positive, Section, Share

PLACEMENTS = ("residents", "prompts", "pack", "fastest")
LONGEST_DAYS = 3660
SCALINGS = ("none", "autoscale", "power-down", "lcp", "throttle", "power-limit")
_FURTHER = re.compile(rf"(.+)\+({'|'.join(SCALINGS[1:])})")


def _of_file(name: str) -> tuple[str, str | None] | None:
    named = re.fullmatch(r"(.+\.py)(?::(\w+))?", name)
    return (named[1], named[2]) if named else None


def _parts(scaling: str) -> tuple[str, ...]:
    """`FILE.py+throttle` in parts; a file's name may contain a +."""
    further = _FURTHER.fullmatch(scaling)
    return (*_parts(further[1]), further[2]) if further else (scaling,)


class PolicyChoice(Section):
    """The policy and its weights."""

    name: str = Field(
        "caps",
        min_length=1,
        description="a built-in policy, or your own: FILE.py, or FILE.py:Type if it declares several",
    )
    alpha: NonNegative = Field(1.0, description="weight of goodput, Eq. 4")
    beta: NonNegative = Field(0.5, description="weight of carbon, Eq. 4")
    lambda_: NonNegative = Field(2.0, alias="lambda", description="weight of SLO violation, Eq. 4")
    queueing: Literal["central", "cyclic"] | None = Field(
        None, description="EDF and Carbon-Aware: one queue, or one per GPU, used in turn"
    )
    risk_sharpness: Positive = Field(4.0, description="k of the closed-form V")
    placement: str = Field(
        "residents",
        min_length=1,
        description="replica that a request joins: residents, prompts, pack, fastest, or FILE.py with a place rule",
    )
    tokens_per_resident: NonNegative = Field(
        64.0, le=1e6, description="placement prompts: prompt tokens that a resident counts as"
    )
    pack_below: Share = Field(
        0.75, description="placement pack: share of max_batch up to which the fullest replica is used"
    )
    scaling: str = Field(
        "none",
        min_length=1,
        description="rules for the number of replicas and their clock: none, autoscale, power-down, lcp, throttle, "
        "power-limit, FILE.py with a scale or clock rule, or two joined by +, like autoscale+throttle",
    )
    fairness: Literal["none", "tier", "tenant"] = Field(
        "none",
        json_schema_extra=LATER,
        description="owners of requests that take turns by tokens served (virtual token counters)",
    )
    fair_input_weight: NonNegative = Field(
        1.0, le=1e6, json_schema_extra=LATER, description="fairness: weight of a prompt token"
    )
    fair_output_weight: NonNegative = Field(
        2.0, le=1e6, json_schema_extra=LATER, description="fairness: weight of an output token"
    )
    scale_every_s: Positive = Field(60.0, le=1e9, description="scaling: period of decisions, at control steps")
    off_after_s: NonNegative = Field(
        300.0, le=1e9, description="scaling: time after which a drained replica is switched off, with its node"
    )
    plan_every_s: Positive = Field(300.0, description="shortest period between plans of BP's gate")
    plan_margin: Positive = Field(1.5, description="BP: factor of the drain time of the backlog")
    options: dict[str, Finite] = Field(
        default_factory=dict, description="fields of your own policy; other policies ignore them"
    )

    @property
    def own(self) -> tuple[str, str | None] | None:
        """A user's own policy: its Python file, and its type if the name states it; None for a built-in one."""
        return _of_file(self.name)

    @property
    def own_placement(self) -> tuple[str, str | None] | None:
        """A user's own placement: its Python file, and its type if the name states it; None for a built-in one."""
        return _of_file(self.placement)

    @property
    def scalings(self) -> tuple[str, ...]:
        """The parts of `scaling`: names of built-in ones, or files."""
        return _parts(self.scaling)

    @property
    def own_scaling(self) -> tuple[str, str | None] | None:
        """A user's own scale or clock rule: its Python file, and its type if the name states it; None for built-in
        ones.
        """
        return _of_file(self.scalings[0])

    @field_validator("placement", "scaling")
    @classmethod
    def _known_rule(cls, value: str, info: ValidationInfo) -> str:
        known = PLACEMENTS if info.field_name == "placement" else SCALINGS
        parts = (value,) if info.field_name == "placement" else _parts(value)
        if not (parts[0] in known or _of_file(parts[0])) or (parts[0] == "none" and len(parts) > 1):
            raise ValueError(f"{value!r}{did_you_mean(value, known)}: expected one of {', '.join(known)} or FILE.py")
        return value


class Predictor(Section):
    """The source of CAPS's output-length estimate and SLO risk."""

    source: Literal["learned", "declared"] = Field(
        "learned", description="learned: LightGBM; declared: the workload's own estimate and the closed-form risk"
    )
    train_days: Positive = Field(3.0, le=LONGEST_DAYS, description="days before t = 0 for training the models")
    train_requests: int = Field(
        200_000, ge=1000, le=100_000_000, description="approximate number of requests of those days for training"
    )
    train_share: Share = Field(
        0.3, description="replayed trace: share of its requests, from the start, for training the models"
    )
    history_lag_s: NonNegative = Field(
        600.0, description="time from a request's arrival until its answer enters its tenant's history"
    )
    model: str | None = Field(None, description="model file to use instead of training")
