"""The built-in policies by name. One file a policy."""

from __future__ import annotations

from typing import Any

from caps_fast.policies.caps import Caps
from caps_fast.policies.carbon_aware import CarbonAware
from caps_fast.policies.edf import Edf
from caps_fast.policies.round_robin import RoundRobin
from caps_fast.policies.slo_aware import SloAware

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
MAIN = ("round-robin", "edf", "slo-aware", "carbon-aware", "caps")
ABLATIONS = ("caps-no-predictor", "caps-no-carbon", "caps-no-tiers")
