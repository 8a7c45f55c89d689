"""The section of the clocks of a kind of replica (docs/clocks.md)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from caps_fast.section import LATER, NonNegative, Section, Share

Clock = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]  # over the highest clock


class Clocks(Section):
    """Clocks of a GPU, and speed and power at each."""

    clocks: tuple[Clock, ...] = Field(
        (1.0,),
        min_length=1,
        max_length=32,
        json_schema_extra=LATER,
        description="levels of the GPUs' clock over the highest, rising to 1",
    )
    clock_decode_time: Share = Field(
        0.25, json_schema_extra=LATER, description="share of the decode part of an iteration that scales with 1 / clock"
    )
    clock_prefill_time: Share = Field(
        1.0, json_schema_extra=LATER, description="share of the prompt part of an iteration that scales with 1 / clock"
    )
    clock_decode_power: Share = Field(
        0.55, json_schema_extra=LATER, description="d of decoding: power scales with 1 - d (1 - clock^3)"
    )
    clock_prefill_power: Share = Field(
        0.7, json_schema_extra=LATER, description="d of prompt processing: power scales with 1 - d (1 - clock^3)"
    )
    clock_change_s: NonNegative = Field(
        0.05, le=100, json_schema_extra=LATER, description="seconds for which a replica stalls when its clock changes"
    )
    clock_source: Literal["assumed", "fitted"] = Field(
        "assumed",
        json_schema_extra=LATER,
        description="whether the clock_ coefficients are assumed, or fitted to measurements of this kind",
    )

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if self.clocks[-1] != 1.0 or any(low >= high for low, high in pairwise(self.clocks)):
            raise ValueError(f"clocks {self.clocks}: expected levels that rise to 1, like 0.6, 0.8, 1.0")
        return self


CLOCK_FIELDS = tuple(Clocks.model_fields)
