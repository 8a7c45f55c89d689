"""The section of the failures of a kind of replica (docs/fleet.md)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from caps_fast.section import LATER, NonNegative, Section

MOST_REPAIR_S = 366 * 86400.0


class Failures(Section):
    """Time between failures of a replica, and time to repair it."""

    mtbf_s: float | None = Field(
        None,
        ge=1,
        allow_inf_nan=False,
        json_schema_extra=LATER,
        description="mean time that a replica is on between failures; none = never fails",
    )
    repair_s: NonNegative | None = Field(
        None,
        le=MOST_REPAIR_S,
        json_schema_extra=LATER,
        description="mean time to repair a failed replica; it starts afterwards",
    )

    @model_validator(mode="after")
    def _repaired(self) -> Self:
        if self.mtbf_s is not None and self.repair_s is None:
            raise ValueError(
                f"repair_s is missing: with mtbf_s {self.mtbf_s:g}, expected the mean time to repair, like 3600"
            )
        return self


FAILURE_FIELDS = tuple(Failures.model_fields)
