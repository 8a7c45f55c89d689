"""The sections of a scenario that say which policy decides, and what it has learned before."""

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
    """`FILE.py+throttle` in parts; a file's name may have a + of its own."""
    further = _FURTHER.fullmatch(scaling)
    return (*_parts(further[1]), further[2]) if further else (scaling,)


class PolicyChoice(Section):
    """Which policy decides, and its weights."""

    name: str = Field(
        "caps",
        min_length=1,
        description="a built-in policy, or one of your own: FILE.py, or FILE.py:Type where it declares several",
    )
    alpha: NonNegative = Field(1.0, description="weight of goodput, Eq. 4")
    beta: NonNegative = Field(0.5, description="weight of carbon, Eq. 4")
    lambda_: NonNegative = Field(2.0, alias="lambda", description="weight of SLO violation, Eq. 4")
    queueing: Literal["central", "cyclic"] | None = Field(
        None, description="EDF and Carbon-Aware: one queue, or one a GPU, dealt to in turn"
    )
    risk_sharpness: Positive = Field(4.0, description="k of the closed-form V")
    placement: str = Field(
        "residents",
        min_length=1,
        description="replica that a request joins: residents, prompts, pack, fastest, or FILE.py with a place rule",
    )
    tokens_per_resident: NonNegative = Field(
        64.0, le=1e6, description="placement prompts: prompt tokens that a resident counts for"
    )
    pack_below: Share = Field(
        0.75, description="placement pack: share of max_batch up to which the fullest replica is taken"
    )
    scaling: str = Field(
        "none",
        min_length=1,
        description="how many replicas take work, at which clock: none, autoscale, power-down, lcp, throttle, "
        "power-limit, FILE.py with a scale or clock rule, or two joined by +, like autoscale+throttle",
    )
    fairness: Literal["none", "tier", "tenant"] = Field(
        "none",
        json_schema_extra=LATER,
        description="whose requests take turns by tokens served (virtual token counters); each one's own are in the "
        "policy's order",
    )
    fair_input_weight: NonNegative = Field(
        1.0, le=1e6, json_schema_extra=LATER, description="fairness: what a prompt token counts"
    )
    fair_output_weight: NonNegative = Field(
        2.0, le=1e6, json_schema_extra=LATER, description="fairness: what an output token counts"
    )
    scale_every_s: Positive = Field(60.0, le=1e9, description="scaling: how often it is decided, at control steps")
    off_after_s: NonNegative = Field(
        300.0, le=1e9, description="scaling: a drained replica is switched off, with its node, after so long"
    )
    plan_every_s: Positive = Field(300.0, description="BP's gate plans at most this often")
    plan_margin: Positive = Field(1.5, description="BP: backlog drain time is multiplied by this")
    options: dict[str, Finite] = Field(
        default_factory=dict, description="fields of your own policy; other policies pass over them"
    )

    @property
    def own(self) -> tuple[str, str | None] | None:
        """A user's own policy: its Python file, and its type where the name says which; None for a built-in one."""
        return _of_file(self.name)

    @property
    def own_placement(self) -> tuple[str, str | None] | None:
        """A user's own placement: its Python file, and its type where the name says which; None for a built-in one."""
        return _of_file(self.placement)

    @property
    def scalings(self) -> tuple[str, ...]:
        """The parts of `scaling`: names of built-in ones, or files."""
        return _parts(self.scaling)

    @property
    def own_scaling(self) -> tuple[str, str | None] | None:
        """A user's own scale or clock rule: its Python file, and its type where the name says which; None for
        built-in ones.
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
    """Where CAPS's output-length estimate and SLO risk come from."""

    source: Literal["learned", "declared"] = Field(
        "learned", description="learned: LightGBM; declared: the workload's own estimate and the closed-form risk"
    )
    train_days: Positive = Field(3.0, le=LONGEST_DAYS, description="days before t = 0 that the models are trained on")
    train_requests: int = Field(
        200_000, ge=1000, le=100_000_000, description="requests of those days that are learnt from, about"
    )
    train_share: Share = Field(
        0.3, description="replayed trace: the first part of its requests, which the models are trained on"
    )
    history_lag_s: NonNegative = Field(
        600.0, description="an answer enters its tenant's history so long after its request arrived"
    )
    model: str | None = Field(None, description="model file to use instead of training")
