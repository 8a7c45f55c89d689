"""A replica's clock frequency: that of its pool, except for the iteration in progress (docs/model.md, section 11)."""

from __future__ import annotations

from typing import Any

from caps_fast.arrays import State
from caps_fast.engine.placing import price
from caps_fast.traits import only_if


@only_if("clocks")
def follow_clock(s: State, policy: Any, g: int) -> None:
    """Give replica `g`, which is between iterations or off, the clock of its pool; a change stalls it for a while."""
    gpu = s.gpus[g]
    pool = s.strength[gpu.pool]
    if gpu.kind != pool.kind:
        gpu.kind = pool.kind
        s.standing[g].ready_s = s.clock[0].now_s + s.changes[gpu.kind].clock_change_s
        pool.clock_changes += 1
        price(s, policy, g)
