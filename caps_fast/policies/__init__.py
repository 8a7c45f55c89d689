"""The built-in policies by name. One file per policy."""

from __future__ import annotations

from typing import Any

from caps_fast.policies.autoscale import Autoscale
from caps_fast.policies.caps import Caps
from caps_fast.policies.caps_adaptive import CapsAdaptive
from caps_fast.policies.caps_elastic import CapsElastic
from caps_fast.policies.caps_geo import CapsGeo
from caps_fast.policies.carbon_aware import CarbonAware
from caps_fast.policies.carbon_scaler import CarbonScaler
from caps_fast.policies.edf import Edf
from caps_fast.policies.follow_the_sun import FollowTheSun
from caps_fast.policies.gaia import Gaia
from caps_fast.policies.green import Green
from caps_fast.policies.greencourier import GreenCourier
from caps_fast.policies.lcp import Lcp
from caps_fast.policies.power_down import PowerDown
from caps_fast.policies.power_limit import PowerLimit
from caps_fast.policies.round_robin import RoundRobin
from caps_fast.policies.slo_aware import SloAware
from caps_fast.policies.throttle import Throttle
from caps_fast.policies.wait_awhile import WaitAwhile
from caps_fast.policy_names import ABLATIONS, ABOUT, MAIN

__all__ = ["ABLATIONS", "ABOUT", "BUILT_IN", "MAIN", "OTHERS", "SCALERS"]

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
OTHERS: dict[str, Any] = {  # not used to reproduce the paper
    "caps-geo": CapsGeo(),
    "greencourier": GreenCourier(),
    "follow-the-sun": FollowTheSun(),
    "gaia": Gaia(),
    "carbon-scaler": CarbonScaler(),
    "green": Green(),
    "wait-awhile": WaitAwhile(),
    "caps-elastic": CapsElastic(),
    "caps-adaptive": CapsAdaptive(),
}
SCALERS: dict[str, Any] = {
    "autoscale": Autoscale(),
    "power-down": PowerDown(),
    "lcp": Lcp(),
    "throttle": Throttle(),
    "power-limit": PowerLimit(),
}
