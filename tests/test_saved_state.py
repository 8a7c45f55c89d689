"""Checkpoints of others: whatever indices, links and counts they hold, a run goes on soundly or says one line;
those of ours always go on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caps_fast import arrays, checkpoint
from caps_fast.errors import InputError
from caps_fast.saved_state import MANY, RANGES, expect_held, expect_sound
from caps_fast.scenario import Scenario, preset
from caps_fast.simulation import Group, Recording, Run
from caps_fast.soundness import Unsound
from stopped import expect_sound_parts

SMALL = {"days": 0.02, "predictor.source": "declared", "workload.rate_rps": 12.0}
LAYOUTS: dict[str, dict[str, Any]] = {
    "roomy": {},
    "overloaded": {"workload.rate_rps": 40.0, "cluster.max_batch": 4},
    "unchunked": {"cluster.prefill": "unchunked", "workload.rate_rps": 20.0},
    "short of memory": {"cluster.kv_capacity_tokens": 60_000, "workload.rate_rps": 30.0},
    "one GPU a pool": {"cluster.gpus": 3, "cluster.split": "1/1/1", "cluster.kv_capacity_tokens": 60_000},
    "context": {"gpu.decode_s_per_context_token": 1e-7, "cluster.gpus": 9, "cluster.split": "2/3/4"},
    "terms of an engine": {
        **{
            "cluster.kv": "grow",
            "cluster.kv_capacity_tokens": 4000,
            "cluster.max_batch": 16,
            "workload.rate_rps": 40.0,
        },
        **{
            "workload.max_output_tokens": 300,
            "workload.input_token_edges": (8, 64, 256, 1024),
            "cluster.chunk_tokens": 100,
        },
        **{
            "gpu.lag_iterations": 1,
            "gpu.overlap_exponent": 4.0,
            "gpu.prefill_w": 500.0,
            "gpu.first_token_overhead_s": 0.01,
        },
    },
    "a late gate": {"monitor.gate_quantile": 0.05, "workload.rate_rps": 25.0},
}


def scenario(policy: str, **changes: Any) -> Scenario:
    return preset("paper").replace({**SMALL, "policy.name": policy, **changes})


def advanced(config: Scenario, block: int, record: Recording) -> Any:
    """A group after each of its blocks."""
    group = Group([config], record)
    for requests in group.source.blocks(block):
        group.take(requests)
        yield group


@pytest.mark.parametrize("policy", ["round-robin", "edf", "caps"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_states_of_ours_are_sound(policy: str, layout: dict[str, Any]) -> None:
    config = scenario(policy, **layout)
    fresh = Group([config]).runs[0].state
    for group in advanced(config, 400, Recording()):
        state = group.runs[0].state
        expect_sound_parts(state, fresh)
        expect_held(group.held, state)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A checkpoint in which requests wait in lists and heaps, join, decode, claim and give way."""
    path = tmp_path_factory.mktemp("saved") / "run.npz"
    *_, group = advanced(scenario("caps", **LAYOUTS["overloaded"]), 4000, Recording(requests=True))
    checkpoint.Keeper(path).save(group)
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def restored(path: Path, found: dict[str, Any], changed: str, change: Callable[[Any], None]) -> Run:
    altered = {name: array.copy() for name, array in found.items()}
    change(altered[changed])
    np.savez(path, **altered)
    group = Group([scenario("caps", **LAYOUTS["overloaded"])], Recording(requests=True))
    checkpoint.Keeper(path).restore(group)
    return group.runs[0]


def test_a_checkpoint_of_ours_is_restored(tmp_path: Path, saved: dict[str, Any]) -> None:
    run = restored(tmp_path / "run.npz", saved, "held", lambda rows: None)
    assert run.state.clock[0]["live"] > 100


FIELDS = [
    (name, field, value)
    for name, fields in RANGES.items()
    for field, (_, end) in fields.items()
    for value in (-7, 2**31 - 1)
    if value < 0 or end != MANY  # which is as large as it likes, unless it is a sum of what is there
]
LINKS = {
    "run0.queues": ("head", "tail", "root", "flexible_tail", "first_gpu", "end_gpu", "role"),
    "run0.gpus": (
        "prompt_head",
        "prompt_tail",
        "joiner_head",
        "claim_head",
        "queue",
        "pool",
        "context_tokens",
        "decoding",
    ),
}


@pytest.mark.parametrize(("name", "field", "value"), FIELDS)
def test_values_out_of_range_are_one_line(
    tmp_path: Path, saved: dict[str, Any], name: str, field: str, value: int
) -> None:

    def change(rows: Any) -> None:
        bits = np.iinfo(rows.dtype[field]) if rows.dtype[field].kind == "i" else np.finfo(rows.dtype[field])
        rows[field] = max(min(value, bits.max), bits.min)

    place = name if name == "held" else f"run0.{name}"
    with pytest.raises(InputError, match=r"run\.npz: not a consistent checkpoint") as refused:
        restored(tmp_path / "run.npz", saved, place, change)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in LINKS.items() for field in fields])
@pytest.mark.parametrize("value", [-7, -1, 0, 1, 10**6])
def test_links_that_lead_astray_are_one_line(
    tmp_path: Path, saved: dict[str, Any], name: str, field: str, value: int
) -> None:
    def change(rows: Any) -> None:
        before = rows[field].copy()
        rows[field] = np.array(value, np.int64).astype(rows.dtype[field])
        if (rows[field] == before).all():
            rows[field][0] += 1

    if field.endswith("_tail") and field != "flexible_tail":
        change = replaced(field, value, f"{field.partition('_')[0]}_head")
    with pytest.raises(InputError, match=r"run\.npz: not a consistent checkpoint"):
        restored(tmp_path / "run.npz", saved, name, change)


def replaced(field: str, value: int, head: str) -> Callable[[Any], None]:
    """Change a tail, together with its head: that of an empty list means nothing."""

    def change(rows: Any) -> None:
        rows[field], rows[head] = value, max(value, 0)

    return change


@pytest.mark.parametrize("array", ["finish_at", "leap_end_s", "first_to_end", "tree"])
@pytest.mark.parametrize("value", [0, 1, 2**31])
def test_trees_and_heaps_that_are_none_are_one_line(
    tmp_path: Path, saved: dict[str, Any], array: str, value: int
) -> None:
    def change(values: Any) -> None:
        values[...] = value

    with pytest.raises(InputError, match=r"run\.npz: not a consistent checkpoint"):
        restored(tmp_path / "run.npz", saved, f"run0.{array}", change)


@pytest.mark.parametrize("value", [0, 1, 2**31])
def test_free_entries_that_are_none_are_one_line(value: int) -> None:
    *_, group = advanced(scenario("round-robin"), 400, Recording())
    state = group.runs[0].state
    clock = state.clock[0]
    state = state._replace(live=state.live[: int(clock["used"])], free=np.full(int(clock["free"]), value, np.uint32))
    assert len(state.free) > 1
    with pytest.raises(Unsound, match="free"):
        expect_sound(state, state, np.zeros(0, arrays.DONE))


def test_a_circle_of_links_is_one_line(tmp_path: Path, saved: dict[str, Any]) -> None:
    head = int(saved["run0.queues"]["head"].max())
    assert head >= 0

    def change(rows: Any) -> None:
        rows["next"][head] = head

    with pytest.raises(InputError, match="a link of queues to"):
        restored(tmp_path / "run.npz", saved, "run0.live", change)
