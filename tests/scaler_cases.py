"""Scale and clock rules of the random cases: their options, and their twins of the reference engine."""

from __future__ import annotations

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
