"""caps-adaptive: CAPS whose prices and gates follow an attainment target online.

The paper leaves "adaptive tuning" open; this is the dual ascent of a primal-dual method (Nedic, Ozdaglar, "Approximate
primal solutions and rate analysis for dual subgradient methods", SIAM J. Optim. 19, 2009). Each tier has a price, its
Lagrange multiplier: at every completion that could have met its SLO on an empty replica it changes by `rate (target -
met)`, within 0 to `most`. Effects of a tier's price:

- while the tier's own pool is open, a request of the tier pays it for joining another pool, and a request of another
  tier pays it, times the share of the tier's first-token limit that its prompt takes, for joining that pool (`lanes`);
- the gate of CP opens up to `threshold (1 + prices of tiers with a first-token limit)`, that of BP in the hours that
  CAPS plans and up to `threshold` times Bronze's price.

At prices of 0 it is CAPS; at high ones SLO-Aware. An unreachable target therefore ends at the highest attainment that
separate pools achieve.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import BP, BRONZE, CP, N_TIERS, State
from caps_fast.policies import caps
from caps_fast.policies.caps import Outlook, by_role
from caps_fast.policies.lanes import alone_s, best_lane
from caps_fast.policies.risk import CLOSED_FORM, Risk
from caps_fast.policy import policy, rules
from caps_fast.records import dtype_of

OUTLOOK = [(name, dtype_of(Outlook)[name]) for name in dtype_of(Outlook).names or ()]


MEMORY = [*OUTLOOK, ("price", "f8"), ("need_s", "f8"), ("prices", "f8", (N_TIERS,))]


@policy(layout="pools", preempts=lambda policy: bool(policy.tiered), within={"target": (0.0, 1.0)}, memory=MEMORY)
class CapsAdaptive(NamedTuple):
    """CAPS's parameters; then the target of every tier (among requests that could meet their SLO), the step size, and
    the highest price.
    """

    alpha: float = 1.0
    beta: float = 0.5
    lambda_: float = 2.0
    risk_sharpness: float = 4.0
    plan_every_s: float = 300.0
    plan_margin: float = 1.5
    predicts: int = 1
    tiered: int = 1
    learned: Risk = CLOSED_FORM
    target: float = 0.995
    rate: float = 0.1
    most: float = 10.0
    express: float = 10.0


@rules.route(CapsAdaptive)
def at_prices(policy: Any, t_s: float, r: int, s: State) -> int:
    return best_lane(policy, t_s, r, s.run_memory[0].prices[s.live[r].tier], s)


rules.order(CapsAdaptive)(by_role)
in_clean_hours = inlined(caps.in_clean_hours)


@rules.gate(CapsAdaptive)
def up_to_the_price(policy: Any, t_s: float, q: int, s: State) -> bool:
    queue = s.queues[q]
    memory = s.memory[q]
    region = s.regions[queue.region]
    memory.price = s.run_memory[0].prices[queue.role]
    memory.need_s = math.inf
    if in_clean_hours(policy, t_s, q, s):
        return True
    reach = s.run_memory[0].prices[BRONZE] if queue.role == BP else 1.0
    for tier in range(N_TIERS):
        reach += s.run_memory[0].prices[tier] if queue.role == CP and s.tiers[tier].ttft_s < math.inf else 0.0
    if region.gamma > reach * region.threshold:
        return False
    memory.start_s = t_s
    memory.start_g_per_kwh = region.gamma
    return True


@rules.observe(CapsAdaptive)
def ascend(policy: Any, t_s: float, r: int, s: State) -> None:
    request = s.live[r]
    tier = s.tiers[request.tier]
    kind = s.gpus[request.gpu].kind
    first_s = alone_s(request.input_tokens, kind, s)
    if first_s > tier.ttft_s or first_s > tier.ttft_after_release_s:
        return
    prices = s.run_memory[0].prices
    moved = prices[request.tier] + policy.rate * (policy.target - (1.0 if request.met else 0.0))
    prices[request.tier] = min(max(moved, 0.0), policy.most)
