"""Forecast of a pool's load from past arrivals: recent work, its daily pattern, and the forecast's error.

Work of a request is the time that it adds to iterations, `decode_s_per_seq m + prefill_s_per_token n`; its stay is the
time for which it takes a slot of a full replica. The exponentially weighted mean of the last `RECENT_S` is scaled by
the ratio of the hours of the day, estimated from previous days. The error of these forecasts, hour by hour, is kept as
a relative spread in addition to that of Poisson arrivals.
"""

from __future__ import annotations

import math
from typing import Any

from caps_fast._jit import inlined

RECENT_S = 900.0
HOUR_S = 3600.0
HOURS = 24
DAY_S = HOURS * HOUR_S
NEWEST = 0.5  # weight of the last day in the mean of an hour of the day
ERRORS = 0.1  # weight of the last hour in the spread of the forecast
ENOUGH = 100.0  # completions needed before the spread of lengths is used
DEMAND = [
    ("new_work_s", "f8"),  # since the last decision
    ("new_work_s2", "f8"),
    ("new_stay_s", "f8"),
    ("until_s", "f8"),  # the last decision
    ("seconds", "f8"),  # exponentially weighted sums: time, work, work squared, stay
    ("work_s", "f8"),
    ("work_s2", "f8"),
    ("stay_s", "f8"),
    ("hour", "i8"),  # 1 + the current hour
    ("hour_work_s", "f8"),
    ("hour_s", "f8"),
    ("foreseen", "f8"),  # forecast of its work per second
    ("error2", "f8"),  # relative, squared
    ("by_hour", "f8", (HOURS,)),  # work per second
]
LENGTHS = [  # of the run
    ("done", "f8"),
    ("work_seen_s", "f8"),
    ("work_thought_s", "f8"),
    ("work_seen_s2", "f8"),
    ("work_thought_s2", "f8"),
]


@inlined
def work_s(input_tokens: float, output_tokens: float, kind: Any) -> float:
    """Time that a request adds to iterations."""
    return kind.decode_s_per_seq * output_tokens + kind.prefill_s_per_token * input_tokens


@inlined
def note_arrival(memory: Any, input_tokens: float, output_tokens: float, kind: Any) -> None:
    """A request joins the pool of this memory."""
    work = work_s(input_tokens, output_tokens, kind)
    memory.new_work_s += work
    memory.new_work_s2 += work * work
    memory.new_stay_s += work + (kind.decode_base_s + kind.decode_s_per_seq * (kind.max_batch - 1)) * output_tokens


@inlined
def note_length(run_memory: Any, input_tokens: float, predicted_tokens: float, output_tokens: float, kind: Any) -> None:
    """A request has finished with this output length."""
    seen = work_s(input_tokens, output_tokens, kind)
    thought = work_s(input_tokens, predicted_tokens, kind)
    run_memory.done += 1.0
    run_memory.work_seen_s += seen
    run_memory.work_thought_s += thought
    run_memory.work_seen_s2 += seen * seen
    run_memory.work_thought_s2 += thought * thought


@inlined
def bias(run_memory: Any, squared: bool) -> float:
    """Actual over predicted work, or the ratio of their squares; 1 until enough requests have finished."""
    if run_memory.done < ENOUGH or run_memory.work_thought_s2 == 0.0:
        return 1.0
    return (
        run_memory.work_seen_s2 / run_memory.work_thought_s2
        if squared
        else run_memory.work_seen_s / run_memory.work_thought_s
    )


@inlined
def take_in(memory: Any, t_s: float) -> None:
    """Add the arrivals since the last decision to the means."""
    passed_s = t_s - memory.until_s
    memory.until_s = t_s
    kept = math.exp(-passed_s / RECENT_S)
    memory.seconds = memory.seconds * kept + passed_s
    memory.work_s = memory.work_s * kept + memory.new_work_s
    memory.work_s2 = memory.work_s2 * kept + memory.new_work_s2
    memory.stay_s = memory.stay_s * kept + memory.new_stay_s
    memory.hour_work_s += memory.new_work_s
    memory.hour_s += passed_s
    memory.new_work_s = 0.0
    memory.new_work_s2 = 0.0
    memory.new_stay_s = 0.0
    hour = 1 + math.floor(t_s / HOUR_S)
    if hour != memory.hour:
        if memory.hour > 0 and memory.hour_s > 0.0:
            _close_hour(memory)
        memory.hour = hour
        memory.hour_work_s = 0.0
        memory.hour_s = 0.0
        memory.foreseen = (
            memory.work_s / memory.seconds * growth(memory, t_s, HOUR_S / 2) if memory.seconds >= RECENT_S else 0.0
        )


@inlined
def _close_hour(memory: Any) -> None:
    seen = memory.hour_work_s / memory.hour_s
    at = (memory.hour - 1) % HOURS
    if memory.foreseen > 0.0:
        error = seen / memory.foreseen - 1.0
        by_chance = memory.work_s2 / memory.seconds / (memory.foreseen * memory.foreseen * memory.hour_s)
        memory.error2 += ERRORS * (max(error * error - by_chance, 0.0) - memory.error2)
    before = memory.by_hour[at]
    memory.by_hour[at] = seen if before == 0.0 else before + NEWEST * (seen - before)


@inlined
def growth(memory: Any, t_s: float, ahead_s: float) -> float:
    """Ratio of the work that arrives after `ahead_s` to recent work, by hours of the day; 1 where those are unknown."""
    lately = _of_day(memory, t_s - RECENT_S)
    then = _of_day(memory, t_s + ahead_s)
    return then / lately if lately > 0.0 and then > 0.0 else 1.0


@inlined
def _of_day(memory: Any, t_s: float) -> float:
    """Work per second at a time of day, interpolated between the middles of hours; 0 where unknown."""
    hours = t_s / HOUR_S - 0.5
    first = math.floor(hours)
    before = memory.by_hour[first % HOURS]
    after = memory.by_hour[(first + 1) % HOURS]
    if before == 0.0 or after == 0.0:
        return 0.0
    return before + (hours - first) * (after - before)


@inlined
def replicas_for(memory: Any, run_memory: Any, t_s: float, ahead_s: float, z: float, tier: Any, kind: Any) -> float:
    """Replicas (fractional) that meet the limits of `tier` at the pool's forecast load, z standard deviations above the
    mean.

    Work that arrives within the first-token limit must be done within it; iterations then take `decode_base_s / (1 -
    work per second)`, at most `tpot_s` or the longest possible iteration; and there must be slots for all residents,
    whose number is Poisson.
    """
    more = max(growth(memory, t_s, ahead_s), 1.0)
    mean = bias(run_memory, False) * memory.work_s / memory.seconds
    window_s = min(tier.ttft_s, tier.ttft_after_release_s)
    by_chance = bias(run_memory, True) * memory.work_s2 / memory.seconds / window_s
    sd = math.sqrt(more * by_chance + memory.error2 * (more * mean) ** 2)
    room = room_of(tier, kind)
    stay = more * bias(run_memory, False) * memory.stay_s / memory.seconds
    stay_sd = math.sqrt(stay + memory.error2 * stay * stay)
    return max((more * mean + z * sd) / room, (stay + z * stay_sd) / kind.max_batch)


@inlined
def room_of(tier: Any, kind: Any) -> float:
    """Work per second that a replica can take with iterations within `tpot_s`, or within the longest possible one: a
    whole chunk with a full batch.
    """
    longest_s = math.inf
    if kind.chunk_tokens > 0:
        longest_s = kind.decode_base_s + kind.decode_s_per_seq * kind.max_batch
        longest_s += kind.prefill_s_per_token * kind.chunk_tokens
    return max(1.0 - kind.decode_base_s / min(tier.tpot_s, longest_s), 0.05)


@inlined
def spare_work(memory: Any, run_memory: Any, t_s: float, ahead_s: float, z: float, capacity: float) -> float:
    """Work per second of `capacity` that remains after the forecast load, z standard deviations of its error above the
    mean.

    Poisson noise is excluded: work that may wait is served after such arrivals.
    """
    mean = max(growth(memory, t_s, ahead_s), 1.0) * bias(run_memory, False) * memory.work_s / memory.seconds
    return max(capacity - mean * (1.0 + z * math.sqrt(memory.error2)), 0.0)


@inlined
def busy_s(input_tokens: float, output_tokens: float, kind: Any) -> float:
    """Seconds of a full replica that requests of these tokens take."""
    return work_s(input_tokens, output_tokens, kind) + kind.decode_base_s / kind.max_batch * output_tokens


@inlined
def busy_share(memory: Any, run_memory: Any, kind: Any) -> float:
    """Full replicas that the arrivals would keep busy: over the known hours of the day, else recently."""
    if memory.seconds == 0.0 or memory.work_s == 0.0:
        return 0.0
    tokens = (memory.stay_s - memory.work_s) / (kind.decode_base_s + kind.decode_s_per_seq * (kind.max_batch - 1))
    per_work = 1.0 + kind.decode_base_s / kind.max_batch * tokens / memory.work_s
    work = 0.0
    hours = 0
    for hour in range(HOURS):
        work += memory.by_hour[hour]
        hours += memory.by_hour[hour] > 0.0
    return bias(run_memory, False) * per_work * (work / hours if hours > 0 else memory.work_s / memory.seconds)
