"""The section of a workload for conversations of several turns (docs/model.md, section 14)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from caps_fast.client_groups import Lengths
from caps_fast.section import NonNegative, Positive, Section, Tokens

LAWS = ("exponential", "lognormal", "fixed")


class Sessions(Section):
    """Conversations of several turns: the next turn follows the answer and a think time, with the whole context."""

    users: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="number of users with endless conversations, in place of a rate (closed loop); none = open loop",
    )
    turns_mean: float = Field(
        5.0, ge=1, le=10_000, allow_inf_nan=False, description="mean number of turns of a conversation"
    )
    turns_law: Literal["geometric", "fixed"] = Field("geometric", description="distribution of the number of turns")
    think_s: NonNegative = Field(30.0, le=1e7, description="mean time from an answer to the next turn; at least 1 ms")
    think_law: Literal["exponential", "lognormal", "fixed"] = Field(
        "exponential", description="distribution of think times"
    )
    think_cv: Positive = Field(1.0, le=50, description="think_law lognormal: coefficient of variation")
    pause_s: NonNegative | None = Field(
        None,
        le=1e7,
        description="users: mean time from a conversation's end to the next one, exponential; none = think_s",
    )
    max_context_tokens: Tokens = Field(32_768, description="longest prompt; older tokens are dropped")
    input_tokens: Lengths | None = Field(
        None, description="tokens that a turn adds to the context; none = as the workload's inputs"
    )
    output_tokens: Lengths | None = Field(None, description="tokens of an answer; none = as the workload's outputs")

    @field_validator("input_tokens", "output_tokens", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """A single number means that length."""
        return {"tokens": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.turns_law == "fixed" and self.turns_mean != int(self.turns_mean):
            raise ValueError(f"turns_mean {self.turns_mean:g} with turns_law fixed: expected a whole number")
        if self.users is None and self.pause_s is not None:
            raise ValueError(f"pause_s {self.pause_s:g}: expected users with it, who return")
        return self

    def expect_beside(self, played: str | None, differs: bool, said: str | None) -> None:
        """Raise ValueError for fields that exclude sessions: a file of requests, demands that differ, or a demand with
        users.
        """
        if played:
            raise ValueError(f"sessions together with {played}: expected drawn requests")
        if differs:
            raise ValueError("sessions together with by_tier or by_category: expected one demand for all conversations")
        if self.users is not None and said:
            raise ValueError(
                f"sessions.users {self.users} together with {said}: users set the rate themselves; expected no demand "
                "with them"
            )

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it names."""
        return tuple(one.trace for one in (self.input_tokens, self.output_tokens) if one is not None and one.trace)
