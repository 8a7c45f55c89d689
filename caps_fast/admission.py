"""The section of a scenario that limits what may wait (docs/model.md, section 12)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from caps_fast.limits import NO_LIMIT
from caps_fast.section import MOST_TOKENS, Positive, Section

MOST_WAITING = 1_000_000_000


class Limited(Section):
    """Limits of one queue; an arrival that would wait beyond one of them is rejected."""

    max_waiting: int | None = Field(None, ge=0, le=MOST_WAITING, description="requests that may wait in a queue")
    max_waiting_tokens: int | None = Field(
        None, ge=0, le=MOST_TOKENS * 1000, description="prompt tokens of requests that may wait in a queue"
    )
    max_ttft_s: Positive | None = Field(None, description="predicted time to first token, from release, of who waits")


class Admission(Limited):
    """Limits for all tiers, and what is different for arrivals of some."""

    by_tier: dict[Literal["gold", "silver", "bronze"], Limited] = Field(
        default_factory=dict, description="limits that arrivals of a tier face where they differ"
    )

    def of_tier(self, tier: str) -> tuple[int, int, float]:
        """Most requests and most prompt tokens that may wait and longest predicted TTFT (s) for an arrival of
        `tier`.
        """
        own = self.by_tier.get(tier)  # type: ignore[call-overload]

        def limit(name: str) -> float | None:
            said = None if own is None else getattr(own, name)
            found: float | None = getattr(self, name) if said is None else said
            return found

        waiting, tokens, ttft_s = (limit(name) for name in Limited.model_fields)
        return (
            NO_LIMIT if waiting is None else int(waiting),
            NO_LIMIT if tokens is None else int(tokens),
            float("inf") if ttft_s is None else ttft_s,
        )

    @property
    def limits(self) -> bool:
        """Whether any limit is given."""
        given = (getattr(one, name) for one in (self, *self.by_tier.values()) for name in Limited.model_fields)
        return any(value is not None for value in given)
