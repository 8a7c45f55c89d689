"""Lanes: a tier's own pool, and the toll by Eq. 4 of a request that enters a pool where it delays others.

Gold's own pool is LP, Silver's CP, Bronze's BP, as in SLO-Aware. But a prompt that would take up the tightest
first-token limit all by itself goes to the pool of the next tier, because it delays every request that decodes with it:
sizes are separated, as in SITA (Harchol-Balter, Crovella, Murta, "On choosing a task assignment policy for a
distributed server system", JPDC 59, 1999).
"""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined
from caps_fast.arrays import CP, GOLD, State
from caps_fast.policies.caps import may_enter, score
from caps_fast.policies.risk import request_bins


@inlined
def alone_s(input_tokens: float, kind: int, s: State) -> float:
    """Time to the first token of a prompt on an empty replica of that kind."""
    row = s.kinds[kind]
    step_s = row.decode_base_s + row.decode_s_per_seq
    rounds = max(1.0, input_tokens / row.chunk_tokens) if row.chunk_tokens > 0 else 1.0
    return rounds * step_s + row.prefill_s_per_token * input_tokens


@inlined
def own_role(policy: Any, r: int, s: State) -> int:
    """The role of the pools that live request `r` belongs to."""
    request = s.live[r]
    if (
        request.tier == GOLD
        and alone_s(request.input_tokens, s.queues[0].kind, s) > policy.express * s.tiers[GOLD].ttft_s
    ):
        return CP
    return int(request.tier)


@inlined
def toll(policy: Any, r: int, q: int, s: State) -> float:
    """The toll of live request `r` for entering queue `q`, which is not of its own role: the share of the first-token
    limit of the tier at home there that its prompt takes up, times the queue's price.
    """
    limit_s = s.tiers[s.queues[q].role].ttft_s
    if limit_s == math.inf:
        return 0.0
    return s.memory[q].price * alone_s(s.live[r].input_tokens, s.queues[q].kind, s) / limit_s


@inlined
def best_lane(policy: Any, t_s: float, r: int, homing: float, s: State) -> int:
    """The queue of the highest score less toll for live request `r`, the lower one on ties; `homing` is a toll for
    leaving its own pools at all.

    Work that may wait goes to its own pool while that can finish its waiting work in time.
    """
    tier = s.live[r].tier
    roles = s.tiers[tier].roles
    own = own_role(policy, r, s)
    first = -1
    home = -1
    choices = 0
    for q in range(s.queues.shape[0]):
        if may_enter(roles, r, q, s):
            choices += 1
            first = q if first < 0 else first
            home = q if home < 0 and s.queues[q].role == own else home
    if choices == 0:  # it fits in no pool: the kernel reports that for the first that it might have entered
        first = 0
        while not roles >> s.queues[first].role & 1:
            first += 1
        return first
    if choices == 1:
        return first
    if home >= 0 and s.tiers[tier].ttft_s == math.inf and s.memory[home].need_s < s.tiers[tier].e2e_s:
        return home
    bins = (0, 0)
    if policy.learned.edges.shape[0] > 0:
        bins = request_bins(policy.learned, s.live[r].input_tokens, s.live[r].predicted_tokens)
    best = first
    best_score = -math.inf
    for q in range(s.queues.shape[0]):
        if may_enter(roles, r, q, s):
            found = score(policy, t_s, r, tier, bins, q, s)
            if home >= 0 and s.queues[home].open and s.queues[q].role != own:
                found -= homing + toll(policy, r, q, s)
            better = found > best_score
            best = q if better else best
            best_score = found if better else best_score
    return best
