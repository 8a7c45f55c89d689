"""The scale rule `power-limit`: a reduction is kept, by hand and in a run (parity with the reference engine is in
test_scaling).
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from caps_fast import Recording, Scenario, preset, simulate
from caps_fast.pack_kinds import replica_power_w

REDUCED_KW, FROM_H, TO_H = 12.0, 1.0, 2.0


def run(reduced_kw: float) -> tuple[Scenario, np.ndarray, np.ndarray]:
    """Times (h) and power of all pools (kW) of three hours of EDF."""
    options = {"reduced_kw": reduced_kw, "from_h": FROM_H, "to_h": TO_H}
    changes = {
        "policy.name": "edf",
        "policy.scaling": "power-limit",
        "policy.options": options,
        "predictor.source": "declared",
    }
    config = preset("measured").replace(changes | {"days": 0.125, "workload.rate_rps": 4.0})
    result = simulate(config, Recording(sample_every_s=60.0))
    series = result.series.group_by("t_s", maintain_order=True).agg(pl.col("power_w").sum())
    return config, series["t_s"].to_numpy() / 3600.0, series["power_w"].to_numpy() / 1000.0


def test_a_reduction_is_kept() -> None:
    """Power is within it from its beginning to its end, and not before; at last as many replicas work as fit."""
    config, at_h, kw = run(REDUCED_KW)
    inside = (at_h > FROM_H + 1 / 60) & (at_h <= TO_H)
    assert inside.sum() > 50
    assert kw[inside].max() <= REDUCED_KW
    assert kw[(at_h > 0.2) & (at_h < 0.8)].min() > REDUCED_KW
    assert kw[(at_h > TO_H + 0.2) & (at_h < 2.9)].min() > REDUCED_KW
    full_w = float(replica_power_w(config.fleet.kind_of[0], np.array([64]))[0])
    fits = 3 * int(1000 * REDUCED_KW / 3 // full_w)
    assert fits == 9
    late = (at_h > FROM_H + 0.5) & inside  # all others are off
    assert kw[late].mean() == pytest.approx(fits * full_w / 1000, rel=0.1)  # what is allowed is used


def test_no_limit_changes_nothing() -> None:
    _, _, free = run(1e9)
    _, _, same = run(1e6)  # above what all replicas draw
    np.testing.assert_array_equal(free, same)


def test_a_region_may_state_its_own_limit() -> None:
    """The same as the option, bit for bit; beside another rule a note says that nobody keeps it."""
    base = preset("measured").replace({"policy.name": "edf", "predictor.source": "declared", "days": 0.05})
    kind = base.fleet.only_kind.model_dump(mode="json")
    pools = [{"name": "all", "role": "LP", "replicas": 24, "gpu": "a"}]
    base = base.replace({"gpus": {"a": kind}, "regions": {"here": {}}, "pools": pools})
    reduced = {"reduced_kw": REDUCED_KW, "reduced_from_h": 0.4, "reduced_to_h": 0.8}
    stated = base.replace({"regions": {"here": {"limit_kw": 20.0, **reduced}}})
    options = {"limit_kw": 20.0, "reduced_kw": REDUCED_KW, "from_h": 0.4, "to_h": 0.8}
    keeps = {"policy.scaling": "power-limit"}
    own, by_option = simulate(stated.replace(keeps)), simulate(base.replace(keeps | {"policy.options": options}))
    assert str(own.metrics) == str(by_option.metrics)
    assert own.metrics["wakes"] + own.metrics["starts"] > 0
    assert "power limit of here was not kept" in " ".join(simulate(stated).notes)
