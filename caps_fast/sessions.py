"""The section of a workload for conversations of several turns (docs/model.md, section 14)."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from caps_fast.client_groups import Lengths
from caps_fast.habits import Habits


class Sessions(Habits):
    """Conversations of the whole workload, and how long their turns are."""

    input_tokens: Lengths | None = Field(
        None, description="tokens that a turn adds to the context; none = as the workload's inputs"
    )
    output_tokens: Lengths | None = Field(None, description="tokens of an answer; none = as the workload's outputs")

    @field_validator("input_tokens", "output_tokens", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """A single number means that length."""
        return {"tokens": value} if isinstance(value, int) and not isinstance(value, bool) else value

    def expect_beside(self, played: str | None, differs: bool, said: str | None) -> None:
        """Raise ValueError for fields that exclude sessions: a file of requests, demands that differ, or a demand with
        users.
        """
        if played:
            raise ValueError(
                f"sessions together with {played}: expected drawn requests, or sessions of its client groups"
            )
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
