"""Failures at random for the kinds of a scenario."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from caps_fast import scenario
from caps_fast.failures import lives_of_pool


def lives(config: scenario.Scenario) -> list[list[tuple[float, float]]]:
    """Of every replica: time on until its next failure, time to repair it."""
    pools = range(len(config.fleet.pools))
    return [
        [(row["up_s"].item(), row["repair_s"].item()) for row in own] for p in pools for own in lives_of_pool(config, p)
    ]


def with_failures(draw: Any, case: Any) -> Any:
    """The case with kinds that fail, often or now and then; the first always does."""
    data = case.config.model_dump(mode="json") | {"seed": draw(st.integers(0, 1000))}
    for at, kind in enumerate(data["gpus"].values()):
        kind["mtbf_s"] = draw(st.sampled_from([8.0, 40.0, 200.0, None][: 3 if at == 0 else 4]))
        kind["repair_s"] = draw(st.sampled_from([0.0, 3.0, 15.0]))
    return replace(case, config=scenario.build(data, "failing"))
