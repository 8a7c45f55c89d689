"""A run that is stopped and taken up again ends with the same bits."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast import checkpoint, simulation
from caps_fast.errors import InputError
from caps_fast.scenario import Scenario, preset
from caps_fast.simulation import Group, Recording, simulate_group
from stopped import stop_at

RECORD = Recording(requests=True, sample_every_s=60.0)


def scenarios(**changes: object) -> list[Scenario]:
    config = preset("paper").replace({"days": 0.05, "predictor.source": "declared"} | changes)
    return [config.replace({"policy.name": name}) for name in ("round-robin", "carbon-aware", "caps")]


VARIED = {
    "workload.gap_cv": 2.0,
    "workload.rate_levels": {"levels": [1.0, 4.0], "sojourn_s": [200.0, 50.0]},
    "workload.by_tier": {"bronze": {"batch_size": 40.0, "rate_profile": "global"}},
}


@pytest.mark.parametrize(("stop_after", "demand"), [(3, {}), (7, {}), (20, {}), (20, VARIED)])
def test_same_bits_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int, demand: dict[str, object]
) -> None:
    path = tmp_path / "run.npz"
    whole = simulate_group(scenarios(**demand), RECORD, block=3000)
    stop_at(stop_after, scenarios(**demand), RECORD, path, monkeypatch, 3000)
    assert path.exists()
    restored: list[int] = []
    simulated: list[int] = []
    again = simulate_group(
        scenarios(**demand),
        RECORD,
        block=4000,
        checkpoint=path,
        on_restore=restored.append,
        on_progress=simulated.append,
    )
    assert not path.exists()
    assert sum(restored) + sum(simulated) == sum(result.metrics["requests"] for result in whole)
    assert bool(restored) == (stop_after > len(whole)), "nothing is saved before every run has played its first block"
    for one, other in zip((result.outcome for result in whole), (result.outcome for result in again), strict=True):
        assert one.metrics == other.metrics
        np.testing.assert_array_equal(one.histograms, other.histograms)
        np.testing.assert_array_equal(one.samples, other.samples)
        assert one.requests is not None
        assert other.requests is not None
        np.testing.assert_array_equal(one.requests, other.requests)


def test_checkpoint_of_another_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.npz"
    checkpoint.Keeper(path).save(Group(scenarios()))
    monkeypatch.setattr(
        simulation, "Group", lambda *_: pytest.fail("a group is made, and may train a predictor, before the refusal")
    )
    with pytest.raises(InputError, match="another scenario"):
        simulate_group(scenarios(seed=1), checkpoint=path)


@pytest.mark.parametrize("size", [0, 10, 5000])
def test_damaged_checkpoint(tmp_path: Path, size: int) -> None:
    path = tmp_path / "run.npz"
    checkpoint.Keeper(path).save(Group(scenarios()))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="not a complete checkpoint"):
        simulate_group(scenarios(), checkpoint=path)


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        checkpoint.Keeper(tmp_path / "file" / "run.npz").save(Group(scenarios()))


def test_checkpoint_of_another_recording(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    checkpoint.Keeper(path).save(Group(scenarios(), Recording()))
    with pytest.raises(InputError, match=r"another recording \(.*0 samples.*expected .*requests, 73 samples"):
        checkpoint.Keeper(path).restore(Group(scenarios(), RECORD))


@pytest.mark.parametrize("name", ["run0.gpus", "run1.clock", "run2.tree", "held", "meta"])
@pytest.mark.parametrize("damage", ["gone", "short", "kind"])
def test_checkpoint_whose_arrays_do_not_fit(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / "run.npz"
    checkpoint.Keeper(path).save(Group(scenarios(), Recording()))
    with np.load(path) as saved:
        found = {each: saved[each] for each in saved.files}
    if damage == "gone":
        del found[name]
    else:
        found[name] = found[name][:-1] if damage == "short" else found[name].view(np.uint8).reshape(-1).astype(float)
    with path.open("wb") as stream:
        np.savez(stream, **found)
    if name == "held" and damage == "short":
        checkpoint.Keeper(path).restore(Group(scenarios(), Recording()))  # any number of requests may be held
    else:
        with pytest.raises(InputError, match="not a complete checkpoint"):
            checkpoint.Keeper(path).restore(Group(scenarios(), Recording()))


@settings(max_examples=25)
@given(at=st.floats(0, 1), mask=st.integers(1, 255))
def test_a_flipped_byte_is_told_or_harmless(tmp_path_factory: pytest.TempPathFactory, at: float, mask: int) -> None:
    path = tmp_path_factory.mktemp("flip") / "run.npz"
    checkpoint.Keeper(path).save(Group(scenarios()[:1], Recording()))
    raw = bytearray(path.read_bytes())
    raw[min(int(at * len(raw)), len(raw) - 1)] ^= mask
    path.write_bytes(raw)
    with suppress(InputError):
        checkpoint.Keeper(path).restore(Group(scenarios()[:1], Recording()))
