"""Cases built by hand, for tests that know the answer: requests as arrays, a grid as two lists, the paper's
scenario with fields changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from caps_fast import arrays, scenario
from caps_fast.arrays import Array
from caps_fast.carbon.forecast import ForecastGrid
from caps_fast.carbon.monitor import Monitor
from caps_fast.carbon.trace import CarbonTrace
from caps_fast.outcome import Outcome
from caps_fast.pack_kinds import Means
from slow_engine import Case

LIMITS = ("ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s", "roles")
TIERS = {
    "gold": (0.5, None, None, None, "LP/CP"),
    "silver": (1.0, None, None, None, "LP/CP"),
    "bronze": (None, None, 86400.0, 2.0, "LP/CP/BP"),
}
FIXED: dict[str, Any] = {  # what calibration may change in the preset
    "gpu.prefill_s_per_token": 2e-4,
    "gpu.decode_base_s": 0.03,
    "gpu.decode_s_per_seq": 5e-4,
    "gpu.decode_s_per_context_token": 0.0,
    "gpu.idle_w": 100.0,
    "gpu.peak_w": 400.0,
    "gpu.power_exponent": 0.7,
    "cluster.prefill": "chunked",
    "cluster.chunk_tokens": 512,
    "policy.queueing": None,
    "policy.plan_margin": 1.5,
    "monitor.gate_quantile": 0.5,
    **{
        f"slo.{tier}.{name}": limit
        for tier, limits in TIERS.items()
        for name, limit in zip(LIMITS, limits, strict=True)
    },
}
FIRST_COME = (
    FIXED
    | {  # one queue in order of arrival over all GPUs, no deadline in the way, a control step that costs nothing
        "policy.name": "edf",
        "predictor.source": "declared",
        "days": 3660,
        "control_step_s": 1e6,
        "slo.gold.ttft_s": 1e9,
    }
)


def requests(arrival_s: ArrayLike, input_tokens: ArrayLike, output_tokens: ArrayLike) -> Array:
    """Gold requests, REQUEST (n,)."""
    block = np.zeros(len(np.atleast_1d(arrival_s)), arrays.REQUEST)
    block["arrival_s"], block["input_tokens"], block["output_tokens"] = arrival_s, input_tokens, output_tokens
    block["predicted_tokens"] = block["output_tokens"]
    return block


def grid(times_s: Sequence[float] = (0.0,), g_per_kwh: Sequence[float] = (100.0,)) -> Monitor:
    """A trace with an always-open gate and a forecast that says nothing."""
    trace = CarbonTrace(np.array(times_s, float), np.array(g_per_kwh, float), "average", "lifecycle", "test", "test")
    return Monitor(
        trace, ForecastGrid(np.zeros(1), 3600.0, np.full((1, 24), 100.0)), 86400.0, np.zeros(1), np.full(1, 1e9)
    )


def cluster(gpus: int, max_batch: int) -> dict[str, Any]:
    """A cluster of one pool."""
    return {"cluster.gpus": gpus, "cluster.split": str(gpus), "cluster.roles": "LP", "cluster.max_batch": max_batch}


def rows_of(result: Outcome) -> Array:
    """The finished requests of a run that recorded them."""
    assert result.requests is not None
    return result.requests[np.isfinite(result.requests["finished_s"])]


def with_changes(case: Case, **changes: Any) -> Case:
    """The same case with dotted fields (`__` for the dot) of its scenario changed."""
    return replace(
        case, config=case.config.replace({name.replace("__", "."): value for name, value in changes.items()})
    )


def case(changes: Mapping[str, Any], block: Array, monitor: Monitor | None = None) -> Case:
    """The paper's scenario, first come first served, with fields changed, fed with `block`."""
    config = scenario.preset("paper").replace(FIRST_COME | dict(changes))
    return Case(config, monitor or grid(), block, Means(60.0, 20.0))
