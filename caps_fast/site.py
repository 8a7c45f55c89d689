"""What the replicas of a region may draw, as a utility or an operator allows it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from caps_fast.section import LATER, Finite, NonNegative, Positive, Section


class Site(Section):
    """A power limit, and a reduction between two times."""

    limit_kw: Positive | None = Field(
        None,
        json_schema_extra=LATER,
        description="what its replicas may draw, without PUE, for policy.scaling power-limit; none = no limit",
    )
    reduced_kw: NonNegative | None = Field(
        None, json_schema_extra=LATER, description="what they may draw from reduced_from_h to reduced_to_h"
    )
    reduced_from_h: Finite | None = Field(
        None, json_schema_extra=LATER, description="when the reduction begins, in hours from t = 0"
    )
    reduced_to_h: Finite | None = Field(None, json_schema_extra=LATER, description="when it ends")

    @model_validator(mode="after")
    def _whole_reduction(self) -> Self:
        given = (self.reduced_kw, self.reduced_from_h, self.reduced_to_h)
        if any(one is not None for one in given) and any(one is None for one in given):
            raise ValueError("expected reduced_kw, reduced_from_h and reduced_to_h together")
        from_h, to_h = self.reduced_from_h, self.reduced_to_h
        if from_h is not None and to_h is not None and from_h >= to_h:
            raise ValueError(f"reduced_to_h {to_h:g}: expected more than reduced_from_h {from_h:g}")
        return self

    @property
    def has_limit(self) -> bool:
        """Whether it says what its replicas may draw."""
        return self.limit_kw is not None or self.reduced_kw is not None
