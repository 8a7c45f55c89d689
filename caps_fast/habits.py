"""What sessions do between their requests: how many turns, how long they think (docs/model.md, section 14)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from caps_fast.section import NonNegative, Positive, Section, Tokens

LAWS = ("exponential", "lognormal", "fixed")
LEAST_THINK_S = 1e-3
REQUESTS_PER_PART = 16_384  # of a closed loop, about


class Habits(Section):
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

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.turns_law == "fixed" and self.turns_mean != int(self.turns_mean):
            raise ValueError(f"turns_mean {self.turns_mean:g} with turns_law fixed: expected a whole number")
        if self.users is None and self.pause_s is not None:
            raise ValueError(f"pause_s {self.pause_s:g}: expected users with it, who return")
        return self

    @property
    def mean_pause_s(self) -> float:
        """Mean time from a conversation's end to a user's next one."""
        return self.think_s if self.pause_s is None else self.pause_s

    @property
    def most_rps(self) -> float:
        """Turns per second of all users where answers take no time."""
        talk_s = (self.turns_mean - 1) * max(self.think_s, LEAST_THINK_S) + max(self.mean_pause_s, LEAST_THINK_S)
        return (self.users or 0) * self.turns_mean / talk_s


def parts_of(users: Iterable[Habits], from_s: float, horizon_s: float) -> Iterator[float]:
    """Times after `from_s` up to which a closed loop is to be played, one after another."""
    most_rps = sum((own.users or 0) / max(min(own.think_s, own.mean_pause_s), 1.0) for own in users)
    part_s = max(REQUESTS_PER_PART / most_rps, 60.0) if most_rps else math.inf
    while most_rps and from_s < horizon_s:
        from_s = min(from_s + part_s, horizon_s)
        yield from_s
