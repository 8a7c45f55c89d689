"""From a scenario to the arrays of a scaled fleet (docs/model.md, section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from caps_fast import records, scenario
from caps_fast.clock_levels import levels
from caps_fast.policy import sets_clocks
from caps_fast.replica_section import Kind
from caps_fast.standing import Change, Scaling, Standing, Strength


@dataclass(frozen=True)
class Levels:
    """The kinds in kernels: those of the fleet, each at all of its clocks if a run changes clocks or has a pool below
    the highest.

    rows        kinds at one clock, kind by kind, in rising order of the clock
    first       by kind's name: its first row, and the end
    start       of each pool: the row that its replicas begin at
    in_play     whether any clock below the highest may occur
    """

    rows: tuple[Kind, ...]
    first: dict[str, tuple[int, int]]
    start: tuple[int, ...]
    in_play: bool

    def of(self, kind: str) -> tuple[Kind, ...]:
        """A kind's rows."""
        return self.rows[slice(*self.first[kind])]

    def span(self, row: int) -> tuple[int, int]:
        """First row and end of the kind of a row."""
        return next(span for span in self.first.values() if span[0] <= row < span[1])


def levels_of(config: scenario.Scenario, policy: Any) -> Levels:
    """The kinds of a run at the clocks that may occur."""
    fleet = config.fleet
    changes = sets_clocks(type(policy)) and any(len(kind.clocks) > 1 for kind in fleet.kinds.values())
    in_play = changes or any(pool.clock not in (None, 1.0) for pool in fleet.pools)
    rows: list[Kind] = []
    first = {}
    for name, kind in fleet.kinds.items():
        own = levels(kind) if in_play else [kind]
        first[name] = len(rows), len(rows) + len(own)
        rows += own
    start = [first[pool.gpu][1] - 1 for pool in fleet.pools]
    if in_play:
        start = [
            first[pool.gpu][0] + fleet.kinds[pool.gpu].clocks.index(pool.clock) if pool.clock else highest
            for pool, highest in zip(fleet.pools, start, strict=True)
        ]
    return Levels(tuple(rows), first, tuple(start), in_play)


def scaling_rows(config: scenario.Scenario, levels: Levels) -> dict[str, Any]:
    """Fields of `arrays.State` by name; all replicas are on."""
    fleet = config.fleet
    ends = np.cumsum(fleet.sizes)
    scaling, strength, changes = (
        records.zeros(Scaling, 1),
        records.zeros(Strength, len(ends)),
        records.zeros(Change, len(levels.rows)),
    )
    scaling["every_s"], scaling["off_after_s"] = config.policy.scale_every_s, config.policy.off_after_s
    strength["first_gpu"], strength["end_gpu"], strength["serving"] = ends - fleet.sizes, ends, fleet.sizes
    strength["kind"], strength["keeps_clock"] = levels.start, [pool.clock is not None for pool in fleet.pools]
    for at, (row, kind) in enumerate(zip(changes, levels.rows, strict=True)):
        _set_change(row, kind)
        row["first_clock"], row["end_clock"] = levels.span(at)
    return {
        "scaling": scaling,
        "standing": records.zeros(Standing, fleet.replicas),
        "strength": strength,
        "changes": changes,
    }


def host_share_w(kind: Kind) -> float:
    """A replica's share of its node's host."""
    return kind.host_w / kind.replicas_per_node


def _set_change(row: Any, kind: Kind) -> None:
    gpus, host_w, clock = kind.gpus_per_replica, host_share_w(kind), kind.clocks[-1]
    row["host_w"], row["busy_share"] = host_w, 1.0 - kind.clock_decode_power * (1.0 - clock**3)
    row["can_sleep"], row["can_stop"] = kind.sleep_w is not None, kind.off_w is not None
    row["standby_w"], row["rise_w"] = gpus * kind.idle_w + host_w, gpus * (kind.peak_w - kind.idle_w)
    row["asleep_w"], row["off_w"] = gpus * (kind.sleep_w or 0.0) + host_w, gpus * (kind.off_w or 0.0)
    row["can_fail"], row["failed_w"] = kind.mtbf_s is not None, row["off_w"] + host_w
    row["starting_w"] = gpus * (kind.idle_w if kind.start_w is None else kind.start_w) + host_w
    row["clock"], row["clock_change_s"] = clock, kind.clock_change_s
    for name in ("power_exponent", "wake_s", "start_s", "stop_s", "replicas_per_node"):
        row[name] = getattr(kind, name)
