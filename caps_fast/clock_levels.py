"""Clocks of a kind of replica: speed and power at each level (docs/model.md, section 11)."""

from __future__ import annotations

import numpy as np

from caps_fast.fleet import Fleet
from caps_fast.records import Array
from caps_fast.replica_section import Kind

DECODE_TIMES = ("decode_s_per_seq", "decode_s_per_context_token", "mixed_s_per_context_token")
PREFILL_TIMES = ("prefill_s_per_token", "prefill_s_per_token_pair")


def levels(kind: Kind) -> list[Kind]:
    """A kind at each of its clocks, in order."""
    return [at_clock(kind, clock) for clock in kind.clocks]


def at_clock(kind: Kind, clock: float) -> Kind:
    """The kind at that clock: its speeds there, without other clocks; `busy_w` and `prompt_w` give its powers."""
    if clock == 1.0:
        return kind.model_copy(update={"clocks": (1.0,)})
    decode, prefill = (1.0 - share + share / clock for share in (kind.clock_decode_time, kind.clock_prefill_time))
    times = {name: getattr(kind, name) * decode for name in DECODE_TIMES} | {
        name: getattr(kind, name) * prefill for name in PREFILL_TIMES
    }
    base_s = kind.overhead_s + (kind.decode_base_s - kind.overhead_s) * decode
    return kind.model_copy(update={**times, "decode_base_s": base_s, "clocks": (clock,)})


def busy_w(kind: Kind, full_w: Array) -> Array:
    """Power of a GPU at the kind's highest clock if it draws `full_w` by its members (Eq. 2) at the full clock, W."""
    return _throttled_w(kind, full_w, kind.clock_decode_power)


def prompt_w(kind: Kind, full_w: Array) -> Array:
    """The same while it only processes prompts."""
    return _throttled_w(kind, np.maximum(full_w, kind.prefill_w or 0.0), kind.clock_prefill_power)


def _throttled_w(kind: Kind, full_w: Array, saving: float) -> Array:
    clock = kind.clocks[-1]
    if clock == 1.0:
        return full_w
    return np.maximum(full_w * (1.0 - saving * (1.0 - clock**3)), kind.idle_w)


def assumed_clocks(fleet: Fleet) -> list[str]:
    """Notes on kinds with several clocks without measured times and powers."""
    return [
        f"clocks of {name}: their times and powers are assumed (clock_source; docs/clocks.md)"
        for name, kind in fleet.kinds.items()
        if len(kind.clocks) > 1 and kind.clock_source == "assumed"
    ]
