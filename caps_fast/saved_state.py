"""Consistency checks of a saved state.

Kernels trust indices, links and counts: a wrong one would crash the process, or loop forever.

`RANGES` is the table of indices and counts: a field that a kernel uses as one belongs there. Links must form lists and
heaps in which every live request is once, and counts and sums must match the requests.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast.arrays import BUSY, N_CATEGORIES, N_LEVELS, N_STATES, N_TIERS, NONE, State
from caps_fast.outcomes import OUTCOMES
from caps_fast.records import Array
from caps_fast.saved_fairness import expect_lines
from caps_fast.saved_places import Places
from caps_fast.saved_scaling import expect_clocks, expect_states, has_end
from caps_fast.saved_sessions import expect_sessions
from caps_fast.soundness import Unsound
from caps_fast.soundness import expect as _expect
from caps_fast.soundness import expect_equal as _expect_equal
from caps_fast.traits import fails, grows, has_origins
from caps_fast.workload.synthetic import TASKS

MANY = 2**62
RANGES: dict[str, dict[str, tuple[float, float | str]]] = {
    # array: field: least value, and the first that is too large: a number, or the length of that array
    "clock": {
        **{"now_s": (0, MANY), "next_control_s": (0, MANY)},
        **{
            "seq": (0, MANY),
            "touched": (0, 1),
            "dirty": (0, 1),
            "refused": (0, 1),
            "unpriced": (0, 1),
            "controls": (0, MANY),
        },
        **{"samples": (0, MANY), "events": (0, MANY), "preemptions": (0, MANY), "claims": (0, MANY), "done": (0, MANY)},
        **{"recomputed_tokens": (0, MANY), "admissions": (0, MANY)},
    },
    "queues": {
        **{"waiting": (0, MANY), "returned": (0, MANY)},
        "residents": (0, MANY),
        "prompt_tokens": (0, MANY),
        "open": (0, 2),
        "backlog": (0, 2),
        "dirty": (0, 1),
        "region": (0, "regions"),
    },
    "spans": {"open": (0, 2)},
    "gpus": {
        **{
            "prompt_counted": (0, MANY),
            "leap_iterations": (0, 2**31),
            "prompt_tokens": (0, MANY),
            "kv_tokens": (0, MANY),
        },
        **{
            "chunk": (0, MANY),
            "members": (0, "power_w"),
            "heap_len": (0, MANY),
            "residents": (0, "power_w"),
            "state": (0, N_STATES),
        },
        **{"step_s": (0, MANY), "since_s": (0, MANY), "touched": (0, 1), "barred": (0, 2)},
    },
    "standing": {"draining": (0, 2), "rested": (0, 2), "ready_s": (0, MANY)},
    "strength": {
        "serving": (0, MANY),
        "starts": (0, MANY),
        "wakes": (0, MANY),
        "clock_changes": (0, MANY),
        "clock_s": (0, MANY),
        "failures": (0, MANY),
    },
    "scaling": {"decisions": (0, MANY), "clock_decisions": (0, MANY), "fails_next": (0, "gpus")},
    "transit": {"moved": (0, MANY), "moved_tokens": (0, MANY)},
    "live": {
        **{
            "input_tokens": (1, MANY),
            "output_tokens": (1, MANY),
            "prompt_left": (0, MANY),
            "tenant": (0, MANY),
            "seq": (0, MANY),
        },
        **{
            "tier": (0, N_TIERS),
            "category": (0, N_CATEGORIES),
            "level": (0, N_LEVELS),
            "task": (0, len(TASKS)),
            "arrival_s": (0, MANY),
            "held": (0, 2),
            "admitted": (0, 2),
        },
    },
    "done": {
        "gpu": (NONE, "gpus"),
        "pool": (NONE, "pools"),
        "tier": (0, 3),
        "category": (0, 3),
        "outcome": (0, len(OUTCOMES)),
    },
    "held": {
        "arrival_s": (0, MANY),
        "input_tokens": (1, MANY),
        "output_tokens": (1, MANY),
        "tenant": (0, MANY),
        "tier": (0, 3),
        "category": (0, 3),
    },
}
FIXED = {  # equal to those of a fresh state
    "gpus": ("queue", "pool"),
    "queues": ("first_gpu", "end_gpu", "first_span", "end_span", "role", "share_at", "kv_capacity_tokens"),
    "spans": ("first_gpu", "end_gpu", "region", "tree_at", "width", "kv_capacity_tokens"),
    "pools": ("slice_at", "region", "span", "max_batch"),
    "strength": ("first_gpu", "end_gpu", "keeps_clock"),
    "scaling": ("every_s", "off_after_s"),
    "regions": (
        *("carbon_first", "carbon_last", "threshold_last", "issue_first", "issue_last"),
        *("forecast_at", "leads", "forecast_step_s"),
    ),
}


def expect_ranges(name: str, rows: Array, state: State) -> None:
    """Raise Unsound for a value of `rows` outside the range of the table for an array of this name."""
    for field, (least, end) in RANGES[name].items():
        most = len(getattr(state, end)) if isinstance(end, str) else end
        _expect((least <= rows[field]) & (rows[field] < most), f"{name}.{field}", rows[field])


def expect_sound(state: State, fresh: State, done: Array) -> None:
    """Raise Unsound for a saved state that kernels cannot continue from.

    `live` and `free` hold the used entries; `fresh` is the run's first state.
    """
    clock = state.clock[0]
    used, free = int(clock["used"]), int(clock["free"])
    _expect_equal("clock.used", used, len(state.live))
    _expect_equal("clock.free", free, len(state.free))
    _expect_equal("clock.live", int(clock["live"]), used - free)
    for name in ("clock", "queues", "spans", "gpus", "standing", "strength", "scaling", "transit"):
        expect_ranges(name, getattr(state, name), state)
    expect_ranges("done", done, state)
    for name, fields in FIXED.items():
        for field in fields:
            _expect_equal(f"{name}.{field}", getattr(state, name)[field], getattr(fresh, name)[field])
    _expect(state.free < used, "free", state.free)
    is_live = np.ones(used, bool)
    is_live[state.free] = False
    _expect_equal("free", int(is_live.sum()), used - free)
    live = state.live[is_live]
    expect_ranges("live", live, state)
    if has_origins(state):
        _expect((live["origin"] >= 0) & (live["origin"] < len(state.origins)), "live.origin", live["origin"])
    _expect(live["seq"] < clock["seq"], "live.seq", live["seq"])
    _expect(~np.isnan(live["key"]), "live.key", live["key"])
    longest = live["input_tokens"].astype(np.int64) + (live["output_tokens"] if grows(state) or fails(state) else 0)
    _expect(live["prompt_left"] <= longest, "live.prompt_left", live["prompt_left"])
    _expect_equal(
        "clock.next_control_s",
        float(clock["next_control_s"]),
        float(clock["controls"] * state.setup[0]["control_step_s"]),
    )
    _expect(np.array([clock["samples"] <= len(state.series)]), "clock.samples", state.clock["samples"])
    for at, first, last in (("carbon_at", "carbon_first", "carbon_last"), ("issue_at", "issue_first", "issue_last")):
        _expect(
            (state.regions[first] <= state.regions[at]) & (state.regions[at] <= state.regions[last]),
            f"regions.{at}",
            state.regions[at],
        )
    thresholds = state.regions["threshold_at"]
    _expect(
        (fresh.regions["threshold_at"] <= thresholds) & (thresholds <= state.regions["threshold_last"]),
        "regions.threshold_at",
        thresholds,
    )
    expect_clocks(state, fresh)
    _expect_time(state)
    expect_states(state, fresh)
    expect_lines(state, live)
    expect_sessions(state, fresh, is_live)
    Places(state, is_live).expect_sound()


def expect_history(known: Any) -> None:
    """Raise Unsound for inconsistent histories of tenants."""
    first, count = known.ring.tolist()
    size = len(known.pending)
    _expect(np.array([0 <= first < size and 0 <= count <= size]), "history.ring", known.ring)
    _expect_equal("history.by_task", len(known.by_task), len(known.by_tenant))
    answers = known.pending[(first + np.arange(count)) % size]
    for field, most in (("tenant", len(known.by_tenant)), ("task", known.by_task.shape[1])):
        _expect((answers[field] >= 0) & (answers[field] < most), f"history.pending.{field}", answers[field])


def expect_source(state: Any) -> None:
    """Raise Unsound for an impossible position in the workload."""
    for name, kinds in (("now_s", (int, float)), ("at", (int,))):
        value = state.get(name, 0)
        if type(value) not in kinds or not 0 <= value < MANY:
            raise Unsound(f"source.{name} {repr(value)[:100]}")


def expect_held(held: Array, state: State) -> None:
    """Raise Unsound for inconsistent held requests."""
    expect_ranges("held", held, state)
    if has_origins(state):
        _expect((held["origin"] >= 0) & (held["origin"] < len(state.origins)), "held.origin", held["origin"])
    _expect(np.diff(held["arrival_s"]) >= 0, "held.arrival_s", held["arrival_s"][1:])
    _expect(held["arrival_s"] >= state.clock[0]["now_s"], "held.arrival_s", held["arrival_s"])


def _expect_time(state: State) -> None:
    """Leaps and changes of state do not end in the past, those of idle GPUs never end, and the agenda has the first."""
    end_s, now_s = state.leap_end_s, state.clock[0]["now_s"]
    must, may = (np.pad(some, (0, len(end_s) - len(some))) for some in has_end(state))
    _expect((end_s >= now_s) & np.where(np.isfinite(end_s), must | may, ~must), "leap_end_s", end_s)
    moving = state.gpus[state.gpus["state"] == BUSY]
    for field in ("leap_iterations", "members"):
        _expect(moving[field] >= 1, f"gpus.{field}", moving[field])
    _expect(state.gpus["since_s"] <= now_s, "gpus.since_s", state.gpus["since_s"])
    _expect(moving["step_s"] > 0, "gpus.step_s", moving["step_s"])
    width = len(end_s)
    level = np.arange(width)
    expected = [level]
    while len(level) > 1:
        left, right = level[::2], level[1::2]
        level = np.where(end_s[right] < end_s[left], right, left)
        expected.insert(0, level)
    _expect_equal("first_to_end", state.first_to_end[1:], np.concatenate(expected))
