"""From a scenario to the arrays of admission limits and fairness (docs/model.md, sections 12 and 13)."""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast import arrays, records, scenario, sections
from caps_fast.admission import Admission
from caps_fast.arrays import NONE
from caps_fast.errors import InputError
from caps_fast.fairness import Fairness, Line, Turn
from caps_fast.limits import Limits

MOST_LINES = 10_000_000


def waiting_rows(config: scenario.Scenario, queues: int, timed: bool) -> dict[str, Any]:
    """Fields of `arrays.State` by name: limits by the tier of the arrival, and lines by queue and tenant or tier.

    Raises InputError for more lines than fit the memory, and for fairness with a policy whose order is `timed`.
    """
    return {"limits": _limits(config), **_fairness(config, queues, timed)}


def _limits(config: scenario.Scenario) -> Any:
    chosen, rows = config.admission or Admission(), records.zeros(Limits, arrays.N_TIERS)
    for row, tier in zip(rows, sections.TIERS, strict=True):
        row["waiting"], row["waiting_tokens"], row["ttft_s"] = chosen.of_tier(tier)
    return rows


def _fairness(config: scenario.Scenario, queues: int, timed: bool) -> dict[str, Any]:
    chosen, row = config.policy, records.zeros(Fairness, 1)
    if timed and chosen.fairness != "none":
        raise InputError(
            f"policy.fairness {chosen.fairness}: policy {chosen.name} plans when its requests start; expected "
            "another policy, or none"
        )
    owners = {"none": 0, "tier": arrays.N_TIERS, "tenant": config.workload.tenants}[chosen.fairness]
    if queues * owners > MOST_LINES:
        raise InputError(
            f"policy.fairness {chosen.fairness}: {queues:,} queues of {owners:,} tenants: expected at most "
            f"{MOST_LINES:,} in total"
        )
    row["owners"], row["by_tenant"] = owners, chosen.fairness == "tenant"
    row["input_weight"], row["output_weight"] = chosen.fair_input_weight, chosen.fair_output_weight
    lines, turns = records.zeros(Line, queues * owners), records.zeros(Turn, queues if owners else 0)
    for rows, names in ((lines, ("head", "tail", "root")), (turns, ("last_left",))):
        for name in names:
            rows[name] = NONE
    replicas = config.fleet.replicas if owners else 0
    return {
        "fairness": row,
        "lines": lines,
        "turns": turns,
        "in_line": np.zeros(len(lines), np.uint32),
        "charged": np.zeros(replicas, np.int32),
    }
