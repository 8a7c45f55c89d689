"""Setups and requests for the reference engine, and how to read what comes out.

The hardware HW is chosen so that sums are exact: an iteration lasts 1 + 0.5 b + 0.25 c seconds (b decode, c prompt
tokens, 8 at most); Eq. 2 is linear, P(u) = 100 + 400 u, two devices a replica, 4 slots: 200 W idle, 400 W with one
member, 600 W with two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from naive_world import Carbon, Hardware, Outcome, Pool, Region, Request, Setup, Tier

HW = Hardware(0.25, 1.0, 0.5, 0.0, 100.0, 500.0, 1.0, 2, max_batch=4, chunk_tokens=8)
ONE_SLOT = replace(HW, max_batch=1)  # 1000 W when busy
GOLD, SILVER, BRONZE = 0, 1, 2


def setup(
    hardware: Hardware = HW,
    pools: Sequence[int] = (1,),
    roles: Sequence[str] = ("LP",),
    **changes: Any,
) -> Setup:
    """Pools of so many replicas of one kind in one region; `changes` are the region's fields or the setup's."""
    seen = {name: changes.pop(name) for name in ("thresholds", "forecasts", "gamma_mean") if name in changes}
    region = Region(changes.pop("carbon", Carbon([0.0], [360.0])), **seen)
    alike = [Pool(role, replicas, hardware, region) for role, replicas in zip(roles, pools, strict=True)]
    return replace(Setup(alike, [Tier()] * 3, horizon_s=1000.0, drain_s=1000.0, control_step_s=1000.0), **changes)


def request(arrival_s: float, tokens_in: int, tokens_out: int, tier: int = GOLD) -> Request:
    return Request(arrival_s, tier, 0, 0, tokens_in, tokens_out, float(tokens_out))


def column(outcome: Outcome, name: str) -> list[Any]:
    return [getattr(record, name) for record in outcome.records]


def idle(outcome: Outcome) -> tuple[float, float, float]:
    """Seconds, J and g of idle replicas, over all pools."""
    rows = [row for (_, state), row in outcome.accounts.items() if state == "idle"]
    seconds, energy_j, carbon_g = (math.fsum(row[i] for row in rows) for i in range(3))
    return seconds, energy_j, carbon_g
