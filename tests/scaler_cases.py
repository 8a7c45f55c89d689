"""Scale and clock rules of the random cases: their options, and their twins of the reference engine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import naive_scalers

JUMPY = str(Path(__file__).with_name("jumpy.py"))
SCALER_OPTIONS: dict[str, dict[str, Any]] = {
    JUMPY: {"jump_seed": st.integers(0, 10_000)},
    "autoscale": {
        "utilization": st.sampled_from([0.3, 0.7]),
        "window_s": st.sampled_from([0.0, 20.0]),
        "min_replicas": st.integers(0, 2),
    },
    "lcp": {
        "utilization": st.sampled_from([0.3, 0.7]),
        "break_evens": st.sampled_from([0.0, 1.0, 4.0]),
        "min_replicas": st.integers(0, 2),
    },
    "power-down": {"break_evens": st.sampled_from([0.0, 1.0]), "min_replicas": st.integers(0, 2)},
    "power-limit": {
        **{
            "limit_kw": st.sampled_from([0.5, 2.0, 8.0]),
            "reduced_kw": st.sampled_from([0.0, 1.0]),
            "ahead_s": st.sampled_from([0.0, 5.0]),
        },
        **{"from_h": st.just(0.002), "to_h": st.sampled_from([0.0, 0.01])},
    },
    "throttle": {"slo_share": st.sampled_from([0.3, 0.9])},
}
SCALERS = {
    **{JUMPY: naive_scalers.Jumpy, "autoscale": naive_scalers.Autoscale, "lcp": naive_scalers.Lcp},
    **{
        "power-down": naive_scalers.PowerDown,
        "throttle": naive_scalers.Throttle,
        "power-limit": naive_scalers.PowerLimit,
    },
}


def naive_limits(region: Any) -> dict[str, Any]:
    """Fields of the reference engine's region: what it may power."""
    reduction = (region.reduced_kw, region.reduced_from_h, region.reduced_to_h)
    return {
        "limit_kw": math.inf if region.limit_kw is None else region.limit_kw,
        "reduction": None if region.reduced_kw is None else reduction,
    }


def give_scaling(draw: Any, data: dict[str, Any], scaling: str) -> None:
    """Replicas that sleep, nodes that may be off, delays from none to long, and a scale rule for a scenario; with
    `none` the policy's own.
    """
    delays = st.sampled_from([0.0, 0.0, 0.3, 2.0, 11.7])
    for kind in data["gpus"].values():
        kind |= {
            "sleep_w": draw(st.sampled_from([None, 0.0, kind["idle_w"] / 3])),
            "off_w": draw(st.sampled_from([None, 0.0, kind["idle_w"] / 8])),
            "start_w": draw(st.sampled_from([None, 150.0])),
            "replicas_per_node": draw(st.sampled_from([1, 1, 2, 3])),
            "host_w": draw(st.sampled_from([0.0, 80.0])),
            **{name: draw(delays) for name in ("wake_s", "start_s", "stop_s")},
        }
    data["policy"] |= {
        "queueing": None,
        "scaling": scaling,
        "scale_every_s": draw(st.sampled_from([0.5, 3.0, 7.0, 20.0])),
        "off_after_s": draw(st.sampled_from([0.0, 1.0, 6.5])),
    }
    if scaling == "power-limit":
        for region in data["regions"].values():
            region["limit_kw"] = draw(st.sampled_from([None, 1.0, 4.0]))
            if draw(st.booleans()):
                reduced_kw = draw(st.sampled_from([0.0, 1.5]))
                region.update(reduced_kw=reduced_kw, reduced_from_h=0.004, reduced_to_h=0.012)
    if scaling != "none":
        data["policy"]["options"] = draw(st.fixed_dictionaries(SCALER_OPTIONS[scaling]))
