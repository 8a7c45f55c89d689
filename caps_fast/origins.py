"""The sections of a scenario about origins of requests, the regions that may serve them, and links between regions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from caps_fast.section import NonNegative, Positive, Section

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""Names of regions; one alone may be given without a list."""
SLOWEST_RTT_MS = 1e6
MOST_ORIGINS = 100


class Origin(Section):
    """A place that requests come from."""

    share: NonNegative = Field(1.0, le=1e9, description="share of the requests, relative to the other origins' shares")
    share_by_tier: dict[Literal["gold", "silver", "bronze"], NonNegative] = Field(
        default_factory=dict, description="share of a tier's requests, if it differs"
    )
    rtt_ms: dict[str, Annotated[NonNegative, Field(le=SLOWEST_RTT_MS)]] = Field(
        default_factory=dict,
        description="round-trip time to a region, ms, by its name, in TTFT and E2E; 0 for regions not named",
    )
    home: str | None = Field(None, description="region where the context of its requests lies; none = nothing to move")
    regions: Names | None = Field(None, min_length=1, description="regions that may serve its requests; none = all")

    def share_of(self, tier: str) -> float:
        """Its share of a tier's requests, relative to those of the other origins."""
        return self.share_by_tier.get(tier, self.share)  # type: ignore[call-overload, no-any-return]


class LinkTerms(Section):
    """Bandwidth, latency and energy of moving a request's context from one region to another."""

    gbit_per_s: Positive = Field(
        10.0, le=1e9, description="bandwidth for the context of a request, in 1e9 bits per second"
    )
    kwh_per_gb: NonNegative = Field(0.0, le=1e6, description="energy of moving 1e9 bytes, half of it at each end")


class Links(LinkTerms):
    """The links between regions."""

    bytes_per_token: NonNegative = Field(
        4.0, le=1e12, description="bytes of context per input token: 4 of text, or those of its KV"
    )
    between: dict[str, LinkTerms] = Field(
        default_factory=dict, description="pairs of regions with their own terms: FROM/TO"
    )

    def terms(self, a: str, b: str) -> LinkTerms:
        """The terms of the link from region `a` to region `b`; those of the reverse link if only they are given."""
        return self.between.get(f"{a}/{b}") or self.between.get(f"{b}/{a}") or self


def expect_known_places(
    origins: dict[str, Origin], tiers: dict[str, Names | None], links: Links | None, regions: Names
) -> None:
    """Raise ValueError if a name is not a region's, or if no region may serve a tier's requests of an origin."""
    if len(origins) > MOST_ORIGINS:
        raise ValueError(f"origins: {len(origins)}: expected at most {MOST_ORIGINS}")
    said = [(f"origins.{name}.{field}", named) for name, one in origins.items() for field, named in _named(one)]
    said += [(f"slo.{tier}.regions", named) for tier, names in tiers.items() for named in names or ()]
    for pair in links.between if links else ():
        if pair.count("/") != 1:
            raise ValueError(f"links.between {pair!r}: expected two regions as FROM/TO")
        if len(set(pair.split("/"))) == 1:
            raise ValueError(f"links.between {pair!r}: within a region nothing moves; expected two regions as FROM/TO")
        said += [(f"links.between.{pair}", named) for named in pair.split("/")]
    for field, named in said:
        if named not in regions:
            raise ValueError(f"{field} {named!r}: expected one of {', '.join(regions)}")
    for name, one in origins.items():
        for tier, names in tiers.items():
            if not set(one.regions or regions) & set(names or regions):
                raise ValueError(
                    f"origins.{name}.regions and slo.{tier}.regions have none in common: expected at least one"
                )
    for tier in tiers:
        if origins and not any(one.share_of(tier) for one in origins.values()):
            raise ValueError(f"origins: all shares of {tier} are 0: expected one above 0")


def _named(one: Origin) -> list[tuple[str, str]]:
    homes = [("home", one.home)] if one.home is not None else []
    return [*(("rtt_ms", name) for name in one.rtt_ms), *homes, *(("regions", name) for name in one.regions or ())]
