"""Physical limits: the absolute bound on carbon per token, and the lowest carbon of any scheduler."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from caps_fast.arrays import J_PER_KWH
from caps_fast.carbon.trace import CarbonTrace, carbon_trace
from caps_fast.pack_kinds import replica_power_w
from caps_fast.scenario import Scenario
from caps_fast.workload.synthetic import SyntheticWorkload

DAY_S = 86400.0
GRID_S = 900.0
"""Distance of assumed arrivals in the search for the cleanest reachable hour."""


@dataclass(frozen=True)
class Bound:
    """Bounds of carbon.

    least_j_per_1k_tokens       energy of 1,000 output tokens, prompts included: decoding at the cheapest occupancy per
                                token, prompts at the power of one member
    now_g_per_kwh               mean intensity if all work runs at once
    tiers_wait_g_per_kwh        ... if every tier without a limit on its first token waits for the cleanest hour within
                                its deadline
    all_wait_g_per_kwh          ... if all requests wait for the cleanest hour of the next 24
    ceiling_g_per_1k_tokens     all GPUs at peak power in the dirtiest hour, over the tokens that arrive: no run can be
                                above
    """

    least_j_per_1k_tokens: float
    now_g_per_kwh: float
    tiers_wait_g_per_kwh: float
    all_wait_g_per_kwh: float
    ceiling_g_per_1k_tokens: float

    def floor_g_per_1k_tokens(self, g_per_kwh: float) -> float:
        """Carbon per 1,000 tokens at the lowest energy and that mean intensity."""
        return self.least_j_per_1k_tokens * g_per_kwh / J_PER_KWH


def bound(config: Scenario) -> Bound:
    """The bounds of a scenario with synthetic requests.

    The capacity of hours is ignored, so the bound holds for any scheduler.
    """
    work = SyntheticWorkload(config)
    gpu = config.fleet.only_kind
    members = np.arange(1, gpu.max_batch + 1)
    watts = replica_power_w(gpu, members)
    token_j = float((watts * (gpu.decode_base_s / members + gpu.decode_s_per_seq)).min())
    request_j = float(watts[0]) * gpu.prefill_s_per_token * work.mean_input_tokens + token_j * (
        work.mean_output_tokens - 1
    )
    trace = carbon_trace(config.fleet.only_region.carbon, config.horizon_s)
    arrivals_s = np.arange(0.0, config.horizon_s, GRID_S)
    now = float(trace.integral(0.0, config.horizon_s)) / config.horizon_s

    def waiting(deadline_s: float) -> float:
        return float(np.mean([cleanest(trace, t_s, t_s + deadline_s) for t_s in arrivals_s]))

    by_tier = sum(tier.share * (now if tier.ttft_s else waiting(tier.e2e_s or DAY_S)) for tier in config.slo.all)
    within = trace.g_per_kwh[(trace.times_s >= 0) & (trace.times_s < config.horizon_s)]
    tokens_per_s = (config.workload.rate_rps or math.nan) * work.mean_output_tokens
    ceiling = config.fleet.replicas * float(watts[-1]) / tokens_per_s * 1000 * float(within.max()) / J_PER_KWH
    return Bound(request_j / work.mean_output_tokens * 1000, now, by_tier, waiting(DAY_S), ceiling)


def cleanest(trace: CarbonTrace, from_s: float, to_s: float) -> float:
    """The lowest intensity in force in [from_s, to_s)."""
    first = max(int(np.searchsorted(trace.times_s, from_s, side="right")) - 1, 0)
    last = max(int(np.searchsorted(trace.times_s, to_s, side="left")), first + 1)
    return float(trace.g_per_kwh[first:last].min())
