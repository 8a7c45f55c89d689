"""The section of a workload that makes conversations of its requests (docs/model.md, section 14)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from caps_fast.client_groups import Lengths
from caps_fast.section import NonNegative, Positive, Section, Tokens

LAWS = ("exponential", "lognormal", "fixed")


class Sessions(Section):
    """Conversations of several turns: the next one comes after the answer and a time to think, with the whole
    context.
    """

    users: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="users who talk for ever, in place of a rate (closed loop); none = conversations start at the rate",
    )
    turns_mean: float = Field(
        5.0, ge=1, le=10_000, allow_inf_nan=False, description="mean number of turns of a conversation"
    )
    turns_law: Literal["geometric", "fixed"] = Field("geometric", description="of the number of turns")
    think_s: NonNegative = Field(
        30.0, le=1e7, description="mean time from an answer to the next turn; 1 ms at the least"
    )
    think_law: Literal["exponential", "lognormal", "fixed"] = Field("exponential", description="of times to think")
    think_cv: Positive = Field(1.0, le=50, description="think_law lognormal: coefficient of variation")
    pause_s: NonNegative | None = Field(
        None,
        le=1e7,
        description="users: mean time from a conversation's end to the next one, exponential; none = think_s",
    )
    max_context_tokens: Tokens = Field(32_768, description="longest prompt; what is older is cut off")
    input_tokens: Lengths | None = Field(
        None, description="tokens that a turn adds to the context; none = as the workload's inputs"
    )
    output_tokens: Lengths | None = Field(None, description="tokens of an answer; none = as the workload's outputs")

    @field_validator("input_tokens", "output_tokens", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """A number alone means that length."""
        return {"tokens": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.turns_law == "fixed" and self.turns_mean != int(self.turns_mean):
            raise ValueError(f"turns_mean {self.turns_mean:g} with turns_law fixed: expected a whole number")
        if self.users is None and self.pause_s is not None:
            raise ValueError(f"pause_s {self.pause_s:g}: expected users beside it, who come back")
        return self

    def expect_beside(self, played: str | None, differs: bool, said: str | None) -> None:
        """Raise ValueError for what cannot be beside sessions: a file that requests are played from, demands that
        differ, or one beside users.
        """
        if played:
            raise ValueError(f"sessions beside {played}: expected drawn requests")
        if differs:
            raise ValueError("sessions beside by_tier or by_category: expected one demand for all conversations")
        if self.users is not None and said:
            raise ValueError(
                f"sessions.users {self.users} beside {said}: users come by themselves; expected no demand beside them"
            )

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it names."""
        return tuple(one.trace for one in (self.input_tokens, self.output_tokens) if one is not None and one.trace)
