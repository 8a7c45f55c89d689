"""CAPS: Eq. 4 over the pools, with a forecast for the batch pool, pre-emption in the low-latency pool, and gates on
carbon (docs/model.md, section 7).

The ablations are the same policy with a part disabled: `predicts = 0`, `beta = 0`, `tiered = 0`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import ANY_TIER, BP, BRONZE, CP, GOLD, LP, State
from caps_fast.containers.queue import may_hold, peek
from caps_fast.outlook import (
    cleaner_s,
    cleanest_slot,
    first_slot,
    first_slot_below,
    first_token_s,
    queueing_s,
    slot_start_s,
    step_s,
)
from caps_fast.policies.risk import CLOSED_FORM, Risk, load_of, odds, probability, request_bins
from caps_fast.policy import policy, rules
from caps_fast.records import Record, f8
from caps_fast.traits import has_clocks, scales

GOLD_FIRST_S = 1e9  # puts Gold before the rest in a queue ordered by arrival


class Outlook(Record):
    """CAPS's memory of a pool: its plan for work that arrives now."""

    start_s: f8  # predicted start
    start_g_per_kwh: f8  # forecast intensity there
    next_plan_s: f8


@policy(layout="pools", preempts=lambda caps: bool(caps.tiered), memory=Outlook)
class Caps(NamedTuple):
    """Weights of Eq. 4, the knobs of the closed forms, and the learned risk."""

    alpha: float = 1.0
    beta: float = 0.5
    lambda_: float = 2.0
    risk_sharpness: float = 4.0
    plan_every_s: float = 300.0
    plan_margin: float = 1.5
    predicts: int = 1
    tiered: int = 1
    learned: Risk = CLOSED_FORM


class Expected(NamedTuple):
    """The expected conditions of a request in a pool."""

    present: int  # residents and waiting requests before it, at most those that fill all slots
    step_s: float
    hold_s: float
    ttft_s: float
    e2e_s: float


@rules.route(Caps)
def best_score(policy: Any, t_s: float, r: int, s: State) -> int:
    """The pool with the highest score, the lower one on ties."""
    tier = s.live[r].tier if policy.tiered else ANY_TIER
    roles = s.tiers[tier].roles
    choices = 0
    best = -1
    for q in range(s.queues.shape[0]):
        allowed = may_enter(roles, r, q, s)
        choices += allowed
        best = q if allowed else best
    if choices == 0:  # it fits in no pool: the kernel reports that for the first that it might have entered
        best = 0
        while not roles >> s.queues[best].role & 1:
            best += 1
        return best
    if choices == 1:
        return best
    bins = (0, 0)
    if policy.learned.edges.shape[0] > 0:
        bins = request_bins(policy.learned, s.live[r].input_tokens, s.live[r].predicted_tokens)
    best_score = -math.inf
    for q in range(s.queues.shape[0]):
        if may_enter(roles, r, q, s):
            found = score(policy, t_s, r, tier, bins, q, s)
            better = found > best_score
            best = q if better else best
            best_score = found if better else best_score
    return best


@inlined
def may_enter(roles: int, r: int, q: int, s: State) -> bool:
    """May live request `r`, whose tier may enter pools of these roles, join queue `q`?"""
    return bool(roles >> s.queues[q].role & 1) and may_hold(s, q, r)


@inlined
def score(policy: Any, t_s: float, r: int, tier: int, bins: tuple[int, int], q: int, s: State) -> float:
    """Eq. 4 for live request `r`, judged as `tier`, in queue `q`; `bins` are the risk model's, of input and
    predicted output.
    """
    setup = s.setup[0]
    kind = s.kinds[s.queues[q].kind]
    request = s.live[r]
    output_tokens = request.predicted_tokens if policy.predicts else setup.mean_output_tokens
    expected = expect(t_s, request.input_tokens, output_tokens, q, s)
    if expected.hold_s >= s.tiers[tier].ttft_s or expected.hold_s >= s.tiers[tier].e2e_s:
        violation = 1.0
    elif policy.learned.edges.shape[0] > 0:
        violation = probability(odds(policy.learned, tier, s.queues[q].role, bins, request.input_tokens, load_of(q, s)))
    elif policy.predicts:
        violation = risk(policy, expected, s.tiers[tier])
    else:
        violation = 0.0
    tau_s = kind.prefill_s_per_token * request.input_tokens + expected.step_s * output_tokens
    energy_j = share_w(expected.present, q, s) * tau_s
    gamma = s.memory[q].start_g_per_kwh if s.queues[q].role == BP else s.regions[s.queues[q].region].gamma
    goodput = output_tokens * (1.0 - violation) / setup.mean_output_tokens
    return policy.alpha * goodput - policy.beta * gamma * energy_j / setup.average_request - policy.lambda_ * violation


@inlined
def share_w(present: int, q: int, s: State) -> float:
    """Power share of one more request in queue `q`, W: P(u) / batch, from a table if the fleet is fixed."""
    queue = s.queues[q]
    if not scales(s):
        at = queue.share_at + present
        if has_clocks(s):
            at += (queue.kind - s.changes[queue.kind].first_clock) * (queue.slots + 1)
        share_w: Any = s.share_w[at]
        return share_w
    change = s.changes[queue.kind]
    max_batch = s.kinds[queue.kind].max_batch
    batch = min(1.0 + present * queue.per_gpu, max_batch)
    power_w = change.standby_w + change.rise_w * (batch / max_batch) ** change.power_exponent
    if has_clocks(s) and change.busy_share < 1.0:
        power_w = max((power_w - change.host_w) * change.busy_share + change.host_w, change.standby_w)
    return power_w / batch


@inlined
def expect(t_s: float, input_tokens: int, output_tokens: float, q: int, s: State) -> Expected:
    """Closed-form expectation of the conditions of a request in queue `q`."""
    queue = s.queues[q]
    filled = queue.slots
    hold_s = 0.0
    wait_s = queueing_s(s, q)
    if queue.open:
        filled = min(queue.residents + queue.waiting, queue.slots)
    else:
        hold_s = max(s.memory[q].start_s - t_s, 0.0)
    prompt_tokens = queue.prompt_tokens + queue.waiting_prompt_tokens
    if not queue.open or queue.backlog:
        hold_s += wait_s
        wait_s = 0.0
        prompt_tokens = queue.prompt_tokens
    step = step_s(s, q, filled)
    ttft_s = first_token_s(s, q, input_tokens, prompt_tokens, step, hold_s + wait_s)
    return Expected(filled, step, hold_s, ttft_s, ttft_s + (output_tokens - 1.0) * step)


@inlined
def risk(policy: Any, expected: Expected, tier: Any) -> float:
    """Closed-form probability that a limit of `tier` is broken after a hold that breaks none."""
    k = policy.risk_sharpness
    after_release_s = expected.ttft_s - expected.hold_s
    odds = 1.0 + _power(after_release_s / (tier.ttft_s - expected.hold_s), k)
    odds *= 1.0 + _power(after_release_s / tier.ttft_after_release_s, k)
    odds *= 1.0 + _power(expected.step_s / tier.tpot_s, k)
    odds *= 1.0 + _power((expected.e2e_s - expected.hold_s) / (tier.e2e_s - expected.hold_s), k)
    return 1.0 - 1.0 / odds


@inlined
def _power(x: float, k: float) -> float:
    """`x ** k` for x of at most 1e6; the default k without a logarithm."""
    x = min(x, 1e6)
    return (x * x) * (x * x) if k == 4.0 else x**k


@rules.order(Caps)
def by_role(policy: Any, t_s: float, r: int, q: int, s: State) -> float:
    """LP: Gold first, then arrival; CP: arrival; BP: the deadline."""
    request = s.live[r]
    role = s.queues[q].role
    if role == LP and policy.tiered and request.tier == GOLD:
        return request.arrival_s - GOLD_FIRST_S
    if role == BP:
        e2e_s = _judged_as(policy, request.tier, s).e2e_s
        return request.arrival_s + (0.0 if e2e_s == math.inf else e2e_s)
    return request.arrival_s


@inlined
def _judged_as(policy: Any, tier: int, s: State) -> Any:
    """The limits that a request of `tier` is judged by: its own, or all tiers' mean."""
    return s.tiers[tier if policy.tiered else ANY_TIER]


@rules.gate(Caps)
def in_clean_hours(policy: Any, t_s: float, q: int, s: State) -> bool:
    """LP: open; CP: at or below the threshold; BP: in the cleanest hours that the backlog needs before its deadline."""
    queue = s.queues[q]
    region = s.regions[queue.region]
    memory = s.memory[q]
    if policy.beta == 0.0 or queue.role == LP:
        memory.start_s = t_s
        memory.start_g_per_kwh = region.gamma
        return True
    if queue.role == CP:
        is_open = region.gamma <= region.threshold
        memory.start_s = (
            t_s
            if is_open
            else max(t_s, slot_start_s(s, queue.region, first_slot_below(s, queue.region, t_s, region.threshold)))
        )
        return is_open
    if t_s < memory.next_plan_s:
        return bool(queue.open)
    memory.next_plan_s = t_s + policy.plan_every_s
    need_s = policy.plan_margin * queue.waiting * s.kinds[queue.kind].service_s / queue.slots
    return in_cleanest_hours(policy, t_s, q, need_s, region.gamma, s)


@inlined
def in_cleanest_hours(policy: Any, t_s: float, q: int, need_s: float, below_g_per_kwh: float, s: State) -> bool:
    """Is now among the cleanest hours of queue `q` before its head is due, if it needs `need_s` of them?

    Hours that are forecast below `below_g_per_kwh` count as cleaner. Sets the predicted start of work that comes now.
    """
    queue = s.queues[q]
    memory = s.memory[q]
    z = queue.region
    service_s = s.kinds[queue.kind].service_s
    gamma = s.regions[z].gamma
    due_s = t_s + _judged_as(policy, BRONZE, s).e2e_s
    if queue.waiting > 0:
        head = s.live[peek(s, q)]
        due_s = head.arrival_s + _judged_as(policy, head.tier, s).e2e_s
    is_open = need_s > 0.0 and (
        cleaner_s(s, z, t_s, due_s, below_g_per_kwh) < need_s or due_s - t_s - service_s <= need_s
    )
    if is_open or due_s <= t_s:
        memory.start_s = t_s
        memory.start_g_per_kwh = gamma
    else:
        slot = cleanest_slot(s, z, t_s, due_s)
        memory.start_s = max(t_s, slot_start_s(s, z, slot))
        memory.start_g_per_kwh = s.forecast_g_per_kwh[first_slot(s, z) + slot]
    return is_open
