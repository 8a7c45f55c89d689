"""Fleets to choose from: pools that grow together, ranges by layout, replicas of pools, axes as they are written."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caps_fast import scenario
from caps_fast.errors import InputError
from caps_fast.sizing.fleets import Fleets, apportioned, axes, axes_of, fleets, with_sizes

MEASURED = scenario.preset("measured").replace({"days": 0.01, "predictor.source": "declared"})


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_pools_never_shrink_as_the_fleet_grows(shares: list[int]) -> None:
    found = apportioned(range(1, sum(shares) + 20), shares)
    sizes = list(found.values())
    assert list(found) == list(range(1, sum(shares) + 20))
    assert all(sum(one) == replicas for replicas, one in enumerate(sizes, 1))
    assert all(min(np.subtract(after, before)) >= 0 for before, after in itertools.pairwise(sizes))
    assert sizes[sum(shares) - 1] == tuple(shares), "the scenario's own fleet is among them"


def test_ranges_by_layout() -> None:
    def found(policy: str, **over: Any) -> Fleets:
        return fleets(MEASURED.replace({"policy.name": policy}), axes(over), 48)

    assert (found("edf").replicas.min(), found("edf").replicas.max()) == (1, 48)
    assert found("caps").replicas.min() == 3
    assert found("edf", replicas="4..8", split="1/1/1,2/1/1").sizes.tolist()[:4] == [
        [2, 1, 1],
        [2, 2, 1],
        [3, 1, 1],
        [2, 2, 2],
    ]
    both = found("edf", **{"replicas": "4,5", "policy.placement": "residents,prompts"})
    assert [one["policy.placement"] for one in both.changes] == ["residents"] * 2 + ["prompts"] * 2
    assert both.within.tolist() == np.kron(np.eye(2), [[1, 0], [1, 1]]).astype(bool).tolist()
    assert both.scenario(3).policy.placement == "prompts"


def test_replicas_of_pools() -> None:
    found = fleets(MEASURED, axes({"pools.bp.replicas": "0..2", "pools.lp.replicas": "7,8"}), 48)
    assert found.sizes.tolist() == [[7, 8, 0], [7, 8, 1], [8, 8, 0], [7, 8, 2], [8, 8, 1], [8, 8, 2]]
    assert found.neighbours(4) == [1, 2, 5]
    assert found.smaller(5) == [3, 4]
    none = found.scenario(0)
    assert (none.cluster and none.cluster.split, none.fleet.roles) == ("7/8", ("LP", "CP"))


LONG: Mapping[str, Any] = {
    "gpus": {"a": {"profile": "a100-llama2-70b-tp4"}, "h": {"profile": "h100-llama2-70b-tp4"}},
    "pools": [
        {"name": "fast", "role": "LP", "replicas": 2, "gpu": "h"},
        {"name": "batch", "role": "BP", "replicas": 2, "gpu": "a"},
    ],
}


def test_pools_without_replicas_go_with_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    lines = ['preset = "measured"']
    for name, kind in LONG["gpus"].items():
        lines += [f"[gpus.{name}]", f"profile = {json.dumps(kind['profile'])}", "max_batch = 32"]
    for pool in LONG["pools"]:
        lines += ["[[pools]]", *(f"{key} = {json.dumps(value)}" for key, value in pool.items())]
    path.write_text("\n".join(lines))
    base = scenario.load(path)
    one = with_sizes(base, [3, 0])
    assert ([pool.name for pool in one.fleet.pools], list(one.fleet.kinds), one.fleet.sizes) == (["fast"], ["h"], (3,))
    assert one.fleet.kinds["h"] == base.fleet.kinds["h"]
    assert with_sizes(base, [3, 4]).fleet.sizes == (3, 4)
    assert with_sizes(base, [2, 2]) == base


def test_axes_as_they_are_written() -> None:
    assert axes_of(["pools.batch.replicas=0..40,split=8/8/8,6/10/8", "policy.placement=residents,prompts"]) == {
        "pools.batch.replicas": "0..40",
        "split": "8/8/8,6/10/8",
        "policy.placement": "residents,prompts",
    }
    for wrong in ("replicas", "replicas=", "=3"):
        with pytest.raises(InputError, match="--over"):
            axes_of([wrong])
    with pytest.raises(InputError, match="appears twice"):
        axes({"replicas": "3..4", "cluster.gpus": "5"})
