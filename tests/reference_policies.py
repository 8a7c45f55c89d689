"""The reference engine's policy of a scenario."""

from __future__ import annotations

from typing import Any

import naive
import naive_geo
import naive_policies
import naive_related
from caps_fast.scenario import Scenario

WITH_OPTIONS: dict[str, Any] = {
    "greencourier": naive_geo.GreenCourier,
    "gaia": naive_geo.Gaia,
    "carbon-scaler": naive_related.CarbonScaler,
    "green": naive_related.Green,
}


def reference_policy(config: Scenario) -> naive.Policy:
    chosen = config.policy
    cyclic = chosen.queueing == "cyclic"
    simple = {
        "round-robin": naive_policies.RoundRobin(),
        "edf": naive_policies.Edf(cyclic=cyclic),
        "slo-aware": naive_policies.SloAware(),
        "carbon-aware": naive_policies.CarbonAware(cyclic=cyclic),
    }
    if chosen.name in simple:
        return simple[chosen.name]
    if chosen.name in WITH_OPTIONS:
        policy: naive.Policy = WITH_OPTIONS[chosen.name](**chosen.options if chosen.scaling == "none" else {})
        return policy
    if chosen.name == "follow-the-sun":
        return naive_geo.FollowTheSun(
            longitudes={name: region.longitude or 0.0 for name, region in config.fleet.regions.items()}
        )
    weights = {
        name: getattr(chosen, name)
        for name in ("alpha", "beta", "lambda_", "risk_sharpness", "plan_every_s", "plan_margin")
    }
    if chosen.name == "caps-geo":
        return naive_geo.CapsGeo(**weights)
    return naive_policies.Caps(
        **weights | ({"beta": 0.0} if chosen.name == "caps-no-carbon" else {}),
        no_predictor=chosen.name == "caps-no-predictor",
        no_tiers=chosen.name == "caps-no-tiers",
    )
