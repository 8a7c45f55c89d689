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
SCALERS: dict[str, Any] = {"autoscale": Autoscale(), "power-down": PowerDown(), "lcp": Lcp()}
ABOUT = {
    "round-robin": "every request to the next GPU",
    "edf": "earliest deadline first, in one queue or one a GPU (policy.queueing)",
    "slo-aware": "a pool a tier: Gold to LP, Silver to CP, Bronze to BP",
    "carbon-aware": "starts work only in low-carbon hours, blind to SLOs",
    "caps": "the best score of goodput, carbon and SLO risk (Eq. 4) over the pools, with gates and pre-emption",
    "caps-no-predictor": "CAPS with mean output lengths and no SLO risk",
    "caps-no-carbon": "CAPS with beta = 0: all gates open",
    "caps-no-tiers": "CAPS with all requests judged alike and none pre-empted",
}
MAIN = ("round-robin", "edf", "slo-aware", "carbon-aware", "caps")
ABLATIONS = ("caps-no-predictor", "caps-no-carbon", "caps-no-tiers")
