"""Decomposition of a saving: cleaner hours, cheaper tokens and their overlap; and its share of the possible saving."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from caps_fast.reproduce.evidence import Evidence, Floats
from caps_fast.reproduce.physics import bound
from caps_fast.reproduce.statistics import estimate


@dataclass(frozen=True)
class Saving:
    """Saving over Round Robin in attributed carbon per token, by seed, as fractions: total = shifting + packing + rest.

    shifting    from a lower mean intensity, at Round Robin's energy per token
    packing     from using less energy per token, at Round Robin's mean intensity
    rest        the overlap, minus shifting x packing: one cannot save again what the other saves
    """

    total: Floats
    shifting: Floats
    packing: Floats

    @property
    def rest(self) -> Floats:
        return self.total - self.shifting - self.packing


def decompose(evidence: Evidence, policy: str = "caps") -> Saving:
    """The exact decomposition of a policy's saving at 10 req/s: carbon per token = intensity x energy per token."""
    intensity = g_per_kwh(evidence, policy) / g_per_kwh(evidence, "round-robin")
    energy = kwh_per_token(evidence, policy) / kwh_per_token(evidence, "round-robin")
    return Saving(1 - intensity * energy, 1 - intensity, 1 - energy)


def g_per_kwh(evidence: Evidence, policy: str) -> Floats:
    """Mean intensity during a policy's work, by seed."""
    return 1000 * evidence.of(policy, "carbon_kg") / evidence.of(policy, "energy_kwh")


def kwh_per_token(evidence: Evidence, policy: str) -> Floats:
    """Attributed energy per output token, by seed."""
    return evidence.of(policy, "energy_kwh") / evidence.of(policy, "output_tokens")


def decomposition(evidence: Evidence, policies: tuple[str, ...] = ("carbon-aware", "caps")) -> pl.DataFrame:
    """Decomposed savings with intervals, and the physical bounds: part, saving, low, high, one block per policy."""
    rows = []
    for policy in policies:
        parts = decompose(evidence, policy)
        for part in ("total", "shifting", "packing", "rest"):
            found = estimate(getattr(parts, part))
            rows.append(
                {
                    "preset": evidence.preset,
                    "policy": policy,
                    "part": part,
                    "saving": found.mean,
                    "low": found.low,
                    "high": found.high,
                }
            )
    limits = bound(evidence.base)
    now = evidence.of("round-robin", "carbon_g_per_1k_tokens")
    for part, g in (
        ("least energy per token, at once", limits.now_g_per_kwh),
        ("least energy per token, cleanest hours that deadlines allow", limits.tiers_wait_g_per_kwh),
        ("least energy per token, all in the cleanest hour of 24", limits.all_wait_g_per_kwh),
    ):
        found = estimate(1 - limits.floor_g_per_1k_tokens(g) / now)
        rows.append(
            {
                "preset": evidence.preset,
                "policy": "bound",
                "part": part,
                "saving": found.mean,
                "low": found.low,
                "high": found.high,
            }
        )
    return pl.DataFrame(rows)
