"""Demand: how the rate of requests changes over time, and how bursty arrivals are (docs/model.md, section 8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from caps_fast.section import Finite, NonNegative, Positive, Section

SECONDS_PER_DAY = 86400.0
SHAPES = ("rate_profile", "profile_from", "rate_table")
"""Three ways to state the rate over time; at most one is used."""
MOST_STEPS = 1_000_000  # of a rate table
LEAST_STEP_S = 0.1
MOST_LEVELS = 16
MOST_FACTOR = 1e15  # of a rate table, so that sums stay finite
Factor = Annotated[float, Field(ge=0, le=MOST_FACTOR, allow_inf_nan=False)]


class RateTable(Section):
    """A rate over time, piecewise constant and repeated; only its shape counts: its mean is scaled to the rate."""

    step_s: float = Field(3600.0, ge=LEAST_STEP_S, le=7 * SECONDS_PER_DAY, description="duration of each factor")
    factors: tuple[Factor, ...] = Field(min_length=1, max_length=MOST_STEPS, description="relative rates")
    begins: Literal["monday", "midnight", "start"] = Field(
        "monday", description="start of the first factor: Monday 00:00 or midnight in profile_zone, or t = 0"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if max(self.factors) <= 0:
            raise ValueError("factors: all are 0; expected at least one above 0")
        expect_whole(self.span_s, self.begins)
        return self

    @property
    def span_s(self) -> float:
        return len(self.factors) * self.step_s


def expect_whole(span_s: float, begins: str) -> None:
    """Raise ValueError if a repeating table drifts from the hours of the day or the week that it starts at."""
    unit_s = {"monday": 7 * SECONDS_PER_DAY, "midnight": SECONDS_PER_DAY}.get(begins)
    if unit_s is not None and abs(span_s / unit_s - round(span_s / unit_s)) * unit_s > 1e-6 * span_s:
        unit = "weeks" if begins == "monday" else "days"
        raise ValueError(f"a table of {span_s / 3600:g} h that begins at {begins}; expected whole {unit}")


class Surge(Section):
    """A period in which the rate is multiplied."""

    at_h: Finite = Field(description="start, in hours from t = 0")
    hours: Positive = Field(le=1e6, description="duration")
    factor: NonNegative = Field(le=1e6, description="factor of the rate")


class Levels(Section):
    """A rate that jumps between levels at random: a Markov-modulated Poisson process."""

    levels: tuple[NonNegative, ...] = Field(min_length=1, max_length=MOST_LEVELS, description="relative rates")
    sojourn_s: tuple[Positive, ...] = Field(
        min_length=1, max_length=MOST_LEVELS, description="mean seconds at each level"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if len(self.levels) != len(self.sojourn_s):
            raise ValueError(f"{len(self.levels)} levels and {len(self.sojourn_s)} sojourn_s: expected as many")
        if max(self.levels) <= 0:
            raise ValueError("levels: all are 0; expected at least one above 0")
        if not all(1 <= sojourn <= 1e9 for sojourn in self.sojourn_s):
            raise ValueError(f"sojourn_s {self.sojourn_s}: expected 1 s to 1e9 s")
        return self

    @property
    def time_shares(self) -> tuple[float, ...]:
        """Share of time at each level: the next level is any of the others with equal probability."""
        return tuple(sojourn / sum(self.sojourn_s) for sojourn in self.sojourn_s)

    @property
    def mean(self) -> float:
        return sum(level * share for level, share in zip(self.levels, self.time_shares, strict=True))


class Demand(Section):
    """The arrivals of some requests; None = not set."""

    rate_profile: str | None = Field(
        None,
        min_length=1,
        description="rate over the week: flat (the default), office, evening, global, or a file (docs/demand.md)",
    )
    profile_from: str | None = Field(None, min_length=1, description="request trace whose rate over time is the shape")
    rate_table: RateTable | None = Field(None, description="rate over time, written out: step_s, factors, begins")
    profile_zone: str | None = Field(None, description="time zone of the hours of profiles; none = UTC")
    growth_per_month: float | None = Field(
        None,
        gt=-1,
        le=10,
        allow_inf_nan=False,
        description="growth of the rate in 30.4375 days, compound, day by day from t = 0 (0.05 = 5 %)",
    )
    surges: tuple[Surge, ...] | None = Field(None, max_length=1000, description="periods with a multiple of the rate")
    gap_cv: float | None = Field(
        None,
        ge=0,
        le=50,
        allow_inf_nan=False,
        description="coefficient of variation of the gaps between arrivals (Gamma); 1 = Poisson, the default",
    )
    rate_levels: Levels | None = Field(None, description="rate that jumps between levels (MMPP): levels, sojourn_s")
    batch_size: float | None = Field(
        None, ge=1, le=1e6, description="mean number of requests that arrive together; default 1"
    )
    batch_size_law: Literal["geometric", "fixed"] | None = Field(
        None, description="distribution of batch sizes; default geometric"
    )

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        given = [name for name in SHAPES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: expected one of them")
        if self.batch_size_law == "fixed" and self.batch_size is not None and self.batch_size != int(self.batch_size):
            raise ValueError(f"batch_size {self.batch_size:g} with batch_size_law fixed: expected a whole number")
        return self

    @property
    def said(self) -> dict[str, Any]:
        """The fields of `Demand` that are given."""
        return {name: value for name in Demand.model_fields if (value := getattr(self, name)) is not None}

    @property
    def is_flat(self) -> bool:
        """Whether arrivals are a Poisson process of constant rate."""
        return all(name in STEADY and STEADY[name] in (value, ANY) for name, value in self.said.items())

    @property
    def shape_files(self) -> tuple[str, ...]:
        """The files that its shape comes from."""
        named = (self.rate_profile if self.rate_profile not in NAMED else None, self.profile_from)
        return tuple(path for path in named if path)


NAMED = ("flat", "office", "evening", "global", None)
ANY = object()
STEADY: dict[str, Any] = {
    "rate_profile": "flat",
    "profile_zone": ANY,
    "growth_per_month": 0.0,
    "surges": (),
    "gap_cv": 1.0,
    "batch_size": 1.0,
    "batch_size_law": ANY,
}
"""Values for which arrivals are a Poisson process of constant rate."""


def laid_over(demands: Iterable[Demand]) -> Demand:
    """Later demands override earlier ones, field by field; one form of the shape replaces another."""
    fields: dict[str, Any] = {}
    for demand in demands:
        said = demand.said
        if any(name in said for name in SHAPES):
            fields = {name: value for name, value in fields.items() if name not in SHAPES}
        fields |= said
    return Demand(**fields)
