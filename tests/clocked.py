"""Clocks at random for the kinds and pools of a scenario."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def give_clocks(draw: Any, data: dict[str, Any]) -> None:
    """Give kinds clocks, which change, or which a pool keeps; the first always has some."""
    share = st.sampled_from([0.0, 0.25, 0.8, 1.0])
    for at, kind in enumerate(data["gpus"].values()):
        kind["clocks"] = draw(st.sampled_from([[0.5, 0.7, 1.0], [0.3, 1.0], [1.0]][: 2 if at == 0 else 3]))
        kind["clock_change_s"] = draw(st.sampled_from([0.0, 0.05, 0.4, 4.0]))
        names = ("clock_decode_time", "clock_prefill_time", "clock_decode_power", "clock_prefill_power")
        kind |= {name: draw(share) for name in names}
    for pool in data["pools"]:
        pool["clock"] = draw(st.sampled_from([None, None, data["gpus"][pool["gpu"]]["clocks"][0]]))
