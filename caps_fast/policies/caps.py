"""CAPS: Eq. 4 over the pools, with a forecast for the batch pool, pre-emption in the low-latency pool, and gates on carbon (docs/model.md, section
7).

The ablations are the same policy with a part taken out: `predicts = 0`, `beta = 0`, `tiered = 0`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import BP, BRONZE, CP, GOLD, LP, Risk, State
from caps_fast.containers.queue import peek
from caps_fast.outlook import cleaner_s, cleanest_slot, first_slot_below, slot_start_s
from caps_fast.policies.risk import CLOSED_FORM, load_of, odds, probability, request_bins
from caps_fast.policy import policy, rules

GOLD_FIRST_S = 1e9  # puts Gold before the rest in a queue ordered by arrival


@policy(layout="pools", preempts=lambda caps: bool(caps.tiered))
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
    """What a request would meet in a pool."""

    present: int  # residents and waiting requests before it, at most those that fill all slots
    step_s: float
    hold_s: float
    ttft_s: float
    e2e_s: float


@rules.route(Caps)
def best_score(policy: Any, t_s: float, r: int, s: State) -> int:
    """The pool with the highest score, the lower one on ties."""
    tier = s.live[r].tier if policy.tiered else 3
    roles = s.tiers[tier].roles
    choices = 0
    best = -1
    for q in range(s.queues.shape[0]):
        allowed = roles >> s.queues[q].role & 1
        choices += allowed
        best = q if allowed else best
    if choices == 1:
        return best
    bins = (0, 0)
    if policy.learned.edges.shape[0] > 0:
        bins = request_bins(policy.learned, s.live[r].input_tokens, s.live[r].predicted_tokens)
    best_score = -math.inf
    for q in range(s.queues.shape[0]):
        if roles >> s.queues[q].role & 1:
            found = score(policy, t_s, r, tier, bins, q, s)
            better = found > best_score
            best = q if better else best
            best_score = found if better else best_score
    return best


@inlined
def score(policy: Any, t_s: float, r: int, tier: int, bins: tuple[int, int], q: int, s: State) -> float:
    """Eq. 4 for live request `r`, judged as `tier`, in queue `q`; `bins` are the risk model's, of input and predicted output."""
    setup = s.setup[0]
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
    tau_s = setup.prefill_s_per_token * request.input_tokens + expected.step_s * output_tokens
    energy_j = s.share_w[s.queues[q].share_at + expected.present] * tau_s
    gamma = s.queues[q].start_g_per_kwh if s.queues[q].role == BP else s.clock[0].gamma
    goodput = output_tokens * (1.0 - violation) / setup.mean_output_tokens
    return policy.alpha * goodput - policy.beta * gamma * energy_j / setup.average_request - policy.lambda_ * violation


@inlined
def expect(t_s: float, input_tokens: int, output_tokens: float, q: int, s: State) -> Expected:
    """Closed-form expectation of what a request would meet in queue `q`."""
    setup = s.setup[0]
    queue = s.queues[q]
    slots = queue.slots
    present = queue.residents + queue.waiting
    filled = slots
    hold_s = 0.0
    queueing_s = 0.0 if present < slots else (queue.waiting + 1) * setup.service_s / slots
    if queue.open:
        filled = min(present, slots)
    else:
        hold_s = max(queue.start_s - t_s, 0.0)
    prompt_tokens = queue.prompt_tokens + queue.waiting_prompt_tokens
    if not queue.open or queue.backlog:
        hold_s += queueing_s
        queueing_s = 0.0
        prompt_tokens = queue.prompt_tokens
    step_s = setup.decode_base_s + setup.decode_s_per_seq * min(1.0 + filled * queue.per_gpu, setup.max_batch)
    ahead_tokens = input_tokens + prompt_tokens * queue.per_gpu
    rounds = max(1.0, ahead_tokens / setup.chunk_tokens) if setup.chunk_tokens > 0 else 1.0
    ttft_s = hold_s + queueing_s + (rounds + 0.5) * step_s + setup.prefill_s_per_token * ahead_tokens
    return Expected(filled, step_s, hold_s, ttft_s, ttft_s + (output_tokens - 1.0) * step_s)


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
    return s.tiers[tier if policy.tiered else 3]


@rules.gate(Caps)
def in_clean_hours(policy: Any, t_s: float, q: int, s: State) -> bool:
    """LP: open; CP: at or below the threshold; BP: in the cleanest hours that the backlog needs before its deadline."""
    queue = s.queues[q]
    clock = s.clock[0]
    if policy.beta == 0.0 or queue.role == LP:
        queue.start_s = t_s
        queue.start_g_per_kwh = clock.gamma
        return True
    if queue.role == CP:
        is_open = clock.gamma <= clock.threshold
        queue.start_s = t_s if is_open else max(t_s, slot_start_s(s, first_slot_below(s, t_s, clock.threshold)))
        return is_open
    if t_s < queue.next_plan_s:
        return bool(queue.open)
    queue.next_plan_s = t_s + policy.plan_every_s
    return _plan(policy, t_s, q, s)


@inlined
def _plan(policy: Any, t_s: float, q: int, s: State) -> bool:
    """Is now among the cleanest hours that batch queue `q` needs? Sets the predicted start of work that comes now."""
    queue = s.queues[q]
    setup = s.setup[0]
    gamma = s.clock[0].gamma
    due_s = t_s + _judged_as(policy, BRONZE, s).e2e_s
    if queue.waiting > 0:
        head = s.live[peek(s, q)]
        due_s = head.arrival_s + _judged_as(policy, head.tier, s).e2e_s
    need_s = policy.plan_margin * queue.waiting * setup.service_s / queue.slots
    is_open = queue.waiting > 0 and (cleaner_s(s, t_s, due_s, gamma) < need_s or due_s - t_s - setup.service_s <= need_s)
    if is_open or due_s <= t_s:
        queue.start_s = t_s
        queue.start_g_per_kwh = gamma
    else:
        slot = cleanest_slot(s, t_s, due_s)
        queue.start_s = max(t_s, slot_start_s(s, slot))
        queue.start_g_per_kwh = s.forecast_g_per_kwh[s.clock[0].issue_at, slot]
    return is_open
