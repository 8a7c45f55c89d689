"""CAPS over several regions: Eq. 4 with the way to a region in V, and its forecast, its PUE and its links in E.

The paper's Eq. 4 scores the pools of one site and leaves several sites open. Here a pool's round trip and the time that
moving a request's context takes come on top of what V expects of it; E is taken at the intensity that is forecast for
the predicted start, times the region's PUE over the least one, and has the energy of links (docs/model.md, section 10).
Gates, order and pre-emption are those of CAPS.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import BP, NONE, State
from caps_fast.outlook import first_slot, slot_at
from caps_fast.policies.caps import Expected, Outlook, by_role, expect, in_clean_hours, may_enter, risk, share_w
from caps_fast.policies.geo import first_of_its_roles
from caps_fast.policies.risk import CLOSED_FORM, Risk, load_of, odds, probability, request_bins
from caps_fast.policy import policy, rules
from caps_fast.reach import away_s, moves_from


@policy(layout="pools", preempts=lambda caps: bool(caps.tiered), memory=Outlook)
class CapsGeo(NamedTuple):
    """The fields of CAPS."""

    alpha: float = 1.0
    beta: float = 0.5
    lambda_: float = 2.0
    risk_sharpness: float = 4.0
    plan_every_s: float = 300.0
    plan_margin: float = 1.5
    predicts: int = 1
    tiered: int = 1
    learned: Risk = CLOSED_FORM


rules.order(CapsGeo)(by_role)
rules.gate(CapsGeo)(in_clean_hours)


@rules.route(CapsGeo)
def best_score(policy: Any, t_s: float, r: int, s: State) -> int:
    """The pool with the highest score, the lower one on ties."""
    request = s.live[r]
    bins = (0, 0)
    if policy.learned.edges.shape[0] > 0:
        bins = request_bins(policy.learned, request.input_tokens, request.predicted_tokens)
    best = -1
    highest = -math.inf
    for q in range(s.queues.shape[0]):
        if may_enter(s.tiers[request.tier].roles, r, q, s):
            found = score(policy, t_s, r, bins, q, s)
            if best < 0 or found > highest:
                best = q
                highest = found
    return best if best >= 0 else first_of_its_roles(r, s)


@inlined
def score(policy: Any, t_s: float, r: int, bins: tuple[int, int], q: int, s: State) -> float:
    """Eq. 4 for live request `r` in queue `q`; `bins` are the risk model's, of input and predicted output."""
    setup = s.setup[0]
    request = s.live[r]
    kind = s.kinds[s.queues[q].kind]
    output_tokens = request.predicted_tokens
    here = expect(t_s, request.input_tokens, output_tokens, q, s)
    violation = _risk_there(policy, here, r, bins, q, s)
    tau_s = kind.prefill_s_per_token * request.input_tokens + here.step_s * output_tokens
    region = s.regions[s.queues[q].region]
    carbon = _start_gamma(t_s, here.hold_s, q, s) * region.relative_pue * share_w(here.present, q, s) * tau_s + _moving(
        r, q, s
    )
    goodput = output_tokens * (1.0 - violation) / setup.mean_output_tokens
    return policy.alpha * goodput - policy.beta * carbon / setup.average_request - policy.lambda_ * violation


@inlined
def _risk_there(policy: Any, here: Expected, r: int, bins: tuple[int, int], q: int, s: State) -> float:
    """V with the way there: 1 if it breaks a limit with the hold alone; else the chance that limits are kept falls
    as in the closed form.
    """
    request = s.live[r]
    tier = s.tiers[request.tier]
    way_s = away_s(s, q, r) + _moving_s(r, q, s)
    if here.hold_s + way_s >= min(tier.ttft_s, tier.e2e_s) or way_s >= tier.ttft_after_release_s:
        return 1.0
    there = Expected(here.present, here.step_s, here.hold_s, here.ttft_s + way_s, here.e2e_s + way_s)
    violation = risk(policy, there, tier)
    if policy.learned.edges.shape[0] > 0:
        learned = probability(
            odds(policy.learned, request.tier, s.queues[q].role, bins, request.input_tokens, load_of(q, s))
        )
        violation = 1.0 - (1.0 - learned) * (1.0 - violation) / max(1.0 - risk(policy, here, tier), 1e-300)
    return violation


@inlined
def _start_gamma(t_s: float, hold_s: float, q: int, s: State) -> float:
    """Intensity at the predicted start: what is seen now, where it starts now; else the forecast, of BP that of its
    plan.
    """
    z = s.queues[q].region
    if s.queues[q].role == BP:
        return s.memory[q].start_g_per_kwh
    if hold_s == 0.0:
        return s.regions[z].gamma
    return s.forecast_g_per_kwh[first_slot(s, z) + slot_at(s, z, t_s + hold_s)]


@inlined
def _moving_s(r: int, q: int, s: State) -> float:
    """How long the context of request `r` is on its way to queue `q`."""
    home = moves_from(s, q, r)
    return 0.0 if home == NONE else s.move_s[home, s.queues[q].region] * s.live[r].input_tokens


@inlined
def _moving(r: int, q: int, s: State) -> float:
    """Carbon of moving the context of request `r` to queue `q`, J g/kWh."""
    home = moves_from(s, q, r)
    if home == NONE:
        return 0.0
    z = s.queues[q].region
    return 0.5 * (s.regions[home].gamma + s.regions[z].gamma) * s.move_j[home, z] * s.live[r].input_tokens
