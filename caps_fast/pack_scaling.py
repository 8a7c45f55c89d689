"""From a scenario to the arrays of a fleet that is scaled (docs/model.md, section 9)."""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast import records, scenario
from caps_fast.sections import Kind
from caps_fast.standing import Change, Scaling, Standing, Strength


def scaling_rows(config: scenario.Scenario) -> dict[str, Any]:
    """Fields of `arrays.State` by name; all replicas are on."""
    fleet = config.fleet
    ends = np.cumsum(fleet.sizes)
    scaling, strength, changes = records.zeros(Scaling, 1), records.zeros(Strength, len(ends)), records.zeros(Change, len(fleet.kinds))
    scaling["every_s"], scaling["off_after_s"] = config.policy.scale_every_s, config.policy.off_after_s
    strength["first_gpu"], strength["end_gpu"], strength["serving"] = ends - fleet.sizes, ends, fleet.sizes
    for row, kind in zip(changes, fleet.kinds.values(), strict=True):
        _set_change(row, kind)
    return {"scaling": scaling, "standing": records.zeros(Standing, fleet.replicas), "strength": strength, "changes": changes}


def host_share_w(kind: Kind) -> float:
    """A replica's share of its node's host."""
    return kind.host_w / kind.replicas_per_node


def _set_change(row: Any, kind: Kind) -> None:
    gpus, host_w = kind.gpus_per_replica, host_share_w(kind)
    row["can_sleep"], row["can_stop"] = kind.sleep_w is not None, kind.off_w is not None
    row["standby_w"], row["rise_w"] = gpus * kind.idle_w + host_w, gpus * (kind.peak_w - kind.idle_w)
    row["asleep_w"], row["off_w"] = gpus * (kind.sleep_w or 0.0) + host_w, gpus * (kind.off_w or 0.0)
    row["starting_w"] = gpus * (kind.idle_w if kind.start_w is None else kind.start_w) + host_w
    for name in ("power_exponent", "wake_s", "start_s", "stop_s", "replicas_per_node"):
        row[name] = getattr(kind, name)
