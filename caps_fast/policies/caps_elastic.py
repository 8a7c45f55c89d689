"""caps-elastic: CAPS's score and gates, with fleet scaling.

- *Route*: Eq. 4 of CAPS, minus a toll for joining a pool where the prompt delays others (`lanes`). Work that may wait
  goes to its own pool.
- *Gate*: pools of tiers without a first-token limit open when the cleaner hours before the deadlines of their backlog
  do not suffice for it, or when the cleaner hours of the next day do not suffice for it and for the arrivals until
  then. An hour counts as cleaner only if it is cleaner at the given quantile of the forecast's error. All other pools
  are open.
- *Scale*: open pools have the replicas that the forecast load needs at the same quantile (`demand`); gated ones those
  that their backlog fills.

The quantile (0.82) replaces the mean in every decision under uncertainty; z is that of a logistic distribution with the
observed standard deviation: of arrivals, of lengths against their predictions, of the load against its forecast, of the
grid against its forecast.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import NONE, State
from caps_fast.containers.queue import peek
from caps_fast.outlook import cleaner_s, first_slot, slot_at, slot_end_s
from caps_fast.policies.caps import Outlook, in_cleanest_hours, may_enter
from caps_fast.policies.demand import (
    DAY_S,
    DEMAND,
    HOUR_S,
    LENGTHS,
    bias,
    busy_s,
    busy_share,
    note_arrival,
    note_length,
    replicas_for,
    spare_work,
    take_in,
    work_s,
)
from caps_fast.policies.lanes import alone_s, best_lane
from caps_fast.policies.load import RECENT, most_of_window, residents_of
from caps_fast.policies.risk import CLOSED_FORM, Risk
from caps_fast.policy import policy, rules
from caps_fast.records import dtype_of

LATE_S = 3600.0  # by which requests that missed their first-token limit are ordered later
DEADLINES = 4  # of a backlog at which it is checked
AHEAD = 6  # hours ahead at which errors of grid forecasts are measured
GRID = [("foreseen_g_per_kwh", "f8", (AHEAD,)), ("grid_hour", "i8"), ("grid_error2", "f8")]
OWN = [("price", "f8"), ("need_s", "f8"), ("spare_s", "f8"), ("clean", "i1")]
OUTLOOK = [(name, dtype_of(Outlook)[name]) for name in dtype_of(Outlook).names or ()]


@policy(
    layout="pools",
    like="prompts",
    within={"quantile": (0.0, 1.0)},
    memory=[*OUTLOOK, *OWN, *RECENT, *DEMAND, *LENGTHS, *GRID],
)
class CapsElastic(NamedTuple):
    """Weights of Eq. 4 and CAPS's parameters; then its own (docs/model.md, section 7).

    quantile      used in decisions under uncertainty
    toll          price of a prompt as long as the first-token limit in another tier's pool, in units of lambda
    express       share of Gold's first-token limit that a single prompt may take in Gold's own pool
    backfill      greatest share of a pool's first-token limit that a prompt of work that may wait takes there
    pace          share of `tpot_s` that iterations may last with such work
    late_binding  iterations of prompts after which a replica admits no request; 0 = no limit
    warm_up_s     time before which only pools of waiting work shrink
    window_s      time for which a pool keeps the most replicas that it needed
    min_replicas  of an open pool
    """

    alpha: float = 1.0
    beta: float = 0.5
    lambda_: float = 2.0
    risk_sharpness: float = 4.0
    plan_every_s: float = 300.0
    predicts: int = 1
    tiered: int = 1
    learned: Risk = CLOSED_FORM
    quantile: float = 0.82
    toll: float = 1.15
    express: float = 0.9
    backfill: float = 0.3
    pace: float = 0.8
    late_binding: float = 1.0
    warm_up_s: float = 300.0
    window_s: float = 900.0
    min_replicas: int = 2


@inlined
def deviations(quantile: float) -> float:
    """Quantile of a logistic distribution, in standard deviations above the mean."""
    return math.sqrt(3.0) / math.pi * math.log(quantile / (1.0 - quantile))


@inlined
def output_tokens(policy: Any, r: int, s: State) -> float:
    """The predicted length of the answer at arrival."""
    return s.live[r].predicted_tokens if policy.predicts else s.setup[0].mean_output_tokens


@inlined
def at_full_clock(kind: int, s: State) -> int:
    """The row of the same kind at its highest clock: sizes do not grow because a clock rule saves power."""
    return int(s.changes[kind].end_clock) - 1


@rules.route(CapsElastic)
def by_lanes(policy: Any, t_s: float, r: int, s: State) -> int:
    q = room_beside(policy, r, s) if policy.backfill > 0.0 and s.tiers[s.live[r].tier].ttft_s == math.inf else NONE
    if q == NONE:
        q = best_lane(policy, t_s, r, 0.0, s)
        note_arrival(
            s.memory[q],
            s.live[r].input_tokens,
            output_tokens(policy, r, s),
            s.kinds[at_full_clock(s.queues[q].kind, s)],
        )
    return q


@inlined
def room_beside(policy: Any, r: int, s: State) -> int:
    """The pool of replicas that are on anyway with the most spare capacity for live request `r`, which may wait and
    whose prompt takes at most a share of the first-token limit there; NONE if there is none. Deducts what it takes.
    """
    request = s.live[r]
    best = NONE
    most = 0.0
    for q in range(s.queues.shape[0]):
        spare_s = s.memory[q].spare_s
        if spare_s > most and may_enter(s.tiers[request.tier].roles, r, q, s):
            fits = (
                alone_s(request.input_tokens, s.queues[q].kind, s) <= policy.backfill * s.tiers[s.queues[q].role].ttft_s
            )
            best = q if fits else best
            most = spare_s if fits else most
    if best != NONE:
        kind = s.kinds[at_full_clock(s.queues[best].kind, s)]
        s.memory[best].spare_s -= work_s(request.input_tokens, output_tokens(policy, r, s), kind)
    return best


@rules.order(CapsElastic)
def by_deadline(policy: Any, t_s: float, r: int, q: int, s: State) -> float:
    """Earliest deadline first; requests that can no longer meet theirs come last."""
    request = s.live[r]
    deadline_s = s.tiers[request.tier].deadline_s
    if deadline_s == math.inf:
        return request.arrival_s
    late = alone_s(request.input_tokens, s.queues[q].kind, s) > s.tiers[request.tier].ttft_s
    return request.arrival_s + deadline_s + (LATE_S if late else 0.0)


@rules.place(CapsElastic)
def when_prompts_are_done(policy: Any, g: int, s: State) -> float:
    """The replica with the fewest prompt tokens left; none while those fill an iteration, so that the queue's order
    decides which request is next.
    """
    gpu = s.gpus[g]
    chunk_tokens = max(s.kinds[gpu.kind].chunk_tokens, 1)
    if policy.late_binding > 0.0 and gpu.prompt_counted >= policy.late_binding * chunk_tokens:
        return math.inf
    return s.setup[0].tokens_per_resident * gpu.residents + gpu.prompt_counted


@rules.observe(CapsElastic)
def lengths(policy: Any, t_s: float, r: int, s: State) -> None:
    request = s.live[r]
    note_length(
        s.run_memory[0],
        request.input_tokens,
        output_tokens(policy, r, s),
        request.output_tokens,
        s.kinds[at_full_clock(s.gpus[request.gpu].kind, s)],
    )


@inlined
def may_wait(policy: Any, q: int, s: State) -> bool:
    """Does the home tier of queue `q` have no first-token limit, so that its work may wait for clean hours?"""
    return policy.beta > 0.0 and s.tiers[s.queues[q].role].ttft_s == math.inf


@rules.gate(CapsElastic)
def in_clean_hours(policy: Any, t_s: float, q: int, s: State) -> bool:
    queue = s.queues[q]
    memory = s.memory[q]
    gamma = s.regions[queue.region].gamma
    if not may_wait(policy, q, s):
        memory.start_s = t_s
        memory.start_g_per_kwh = gamma
        return True
    kind = s.kinds[at_full_clock(queue.kind, s)]
    if t_s < memory.next_plan_s:
        return bool(memory.clean) and queue.waiting > 0
    memory.next_plan_s = t_s + policy.plan_every_s
    change = s.changes[queue.kind]
    replicas = queue.end_gpu - queue.first_gpu
    z = deviations(policy.quantile)
    waits_s = busy_s(queue.waiting_prompt_tokens, bias(s.run_memory[0], False) * queue.waiting_predicted_tokens, kind)
    sd_s = math.sqrt(queue.waiting + 1.0) * kind.service_s / kind.max_batch
    memory.need_s = (waits_s + z * sd_s) / replicas
    late_s = policy.plan_every_s + (change.start_s if change.can_stop else change.wake_s)
    counted = gamma / (1.0 + z * math.sqrt(memory.grid_error2))
    clean = in_cleanest_hours(policy, t_s, q, late_s, counted, s) or needs_now(policy, t_s, q, late_s, counted, s)
    share = busy_share(memory, s.run_memory[0], kind) / replicas
    if not clean and more_than_cleaner(memory.need_s, share, t_s, queue.region, counted, s):
        clean = True
        memory.start_s = t_s
        memory.start_g_per_kwh = gamma
    memory.clean = clean
    return clean and queue.waiting > 0


@inlined
def more_than_cleaner(need_s: float, share: float, t_s: float, z: int, counted_g_per_kwh: float, s: State) -> bool:
    """Do the backlog and the arrivals until the last cleaner hour of the next 24 need more than the cleaner hours?"""
    cleaner = 0.0
    last_s = t_s
    slot = slot_at(s, z, t_s)
    at_s = t_s
    while at_s < t_s + DAY_S:
        end_s = min(slot_end_s(s, z, slot), t_s + DAY_S)
        if s.forecast_g_per_kwh[first_slot(s, z) + slot] < counted_g_per_kwh:
            cleaner += end_s - at_s
            last_s = end_s
        at_s = end_s
        slot += 1
    return cleaner < need_s + share * (last_s - t_s)


@inlined
def needs_now(policy: Any, t_s: float, q: int, late_s: float, counted_g_per_kwh: float, s: State) -> bool:
    """Are there too few cleaner hours for the backlog of queue `q`, by any of several deadlines?

    Deadlines are assumed to be evenly spaced from the head's to that of a request that arrives now.
    """
    if s.queues[q].waiting == 0:
        return False
    head = s.live[peek(s, q)]
    first_s = head.arrival_s + s.tiers[head.tier].e2e_s
    last_s = t_s + s.tiers[head.tier].e2e_s
    if first_s == math.inf:
        return False
    for i in range(1, DEADLINES + 1):
        share = i / DEADLINES
        due_s = first_s + share * (last_s - first_s)
        need_s = share * s.memory[q].need_s
        if cleaner_s(s, s.queues[q].region, t_s, due_s, counted_g_per_kwh) < need_s or due_s - t_s <= need_s + late_s:
            return True
    return False


@rules.scale(CapsElastic)
def at_quantile(policy: Any, t_s: float, p: int, s: State) -> int:
    pool = s.strength[p]
    q = s.gpus[pool.first_gpu].queue
    memory = s.memory[q]
    memory.price = policy.toll * policy.lambda_
    take_in(memory, t_s)
    _judge_grid(memory, t_s, s.queues[q].region, s)
    queue = s.queues[q]
    waits = may_wait(policy, q, s)
    if waits and not memory.clean:
        memory.asked = 0
        return 0
    if memory.seconds == 0.0 or (not waits and t_s < policy.warm_up_s):
        return pool.serving
    kind = s.kinds[at_full_clock(queue.kind, s)]
    change = s.changes[queue.kind]
    ahead_s = s.scaling[0].every_s + (change.start_s if change.can_stop else change.wake_s)
    z = deviations(policy.quantile)
    tier = s.tiers[queue.role]
    needed = replicas_for(memory, s.run_memory[0], t_s, ahead_s, z, tier, kind)
    full = pool.end_gpu - pool.first_gpu
    wanted = math.ceil(min(needed, float(full)))
    capacity = 0.0 if waits else pool.serving * (1.0 - kind.decode_base_s / (policy.pace * tier.tpot_s))
    memory.spare_s = spare_work(memory, s.run_memory[0], t_s, ahead_s, z, capacity) * s.scaling[0].every_s
    if waits:
        filled = math.ceil((residents_of(p, s) + queue.waiting) / kind.max_batch)
        wanted = max(wanted, min(filled, full))
    return most_of_window(memory, t_s, max(wanted, policy.min_replicas), policy.window_s)


@inlined
def _judge_grid(memory: Any, t_s: float, z: int, s: State) -> None:
    """Compare the forecast of this hour with its actual value, and record the forecast of a later hour."""
    hour = 1 + math.floor(t_s / HOUR_S)
    if hour == memory.grid_hour:
        return
    memory.grid_hour = hour
    foreseen = memory.foreseen_g_per_kwh[hour % AHEAD]
    if foreseen > 0.0:
        error = s.regions[z].gamma / foreseen - 1.0
        memory.grid_error2 += 0.1 * (error * error - memory.grid_error2)
    memory.foreseen_g_per_kwh[hour % AHEAD] = s.forecast_g_per_kwh[
        first_slot(s, z) + slot_at(s, z, t_s + AHEAD * HOUR_S)
    ]
