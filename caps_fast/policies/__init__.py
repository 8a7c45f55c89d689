"""The built-in policies by name. One file a policy."""

from __future__ import annotations

from typing import Any

from caps_fast.policies.autoscale import Autoscale
from caps_fast.policies.caps import Caps
from caps_fast.policies.carbon_aware import CarbonAware
from caps_fast.policies.edf import Edf
from caps_fast.policies.lcp import Lcp
from caps_fast.policies.power_down import PowerDown
from caps_fast.policies.round_robin import RoundRobin
from caps_fast.policies.slo_aware import SloAware
from caps_fast.policies.throttle import Throttle
from caps_fast.policy_names import ABLATIONS, ABOUT, MAIN

__all__ = ["ABLATIONS", "ABOUT", "BUILT_IN", "MAIN", "SCALERS"]

BUILT_IN: dict[str, Any] = {
    "round-robin": RoundRobin(),
    "edf": Edf(),
    "slo-aware": SloAware(),
    "carbon-aware": CarbonAware(),
    "caps": Caps(),
    "caps-no-predictor": Caps(predicts=0),
    "caps-no-carbon": Caps(beta=0.0),
    "caps-no-tiers": Caps(tiered=0),
}
SCALERS: dict[str, Any] = {"autoscale": Autoscale(), "power-down": PowerDown(), "lcp": Lcp(), "throttle": Throttle()}
