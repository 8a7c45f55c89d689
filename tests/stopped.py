"""A run that is stopped and resumed, and the states that a run goes through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from caps_fast import checkpoint
from caps_fast.arrays import State
from caps_fast.results import Result
from caps_fast.saved_state import expect_sound
from caps_fast.scenario import Scenario
from caps_fast.simulation import Group, Recording, simulate_group


class Stopped(Exception):
    """What ends the run."""


def stop_at(
    report: int,
    configs: Sequence[Scenario],
    record: Recording,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block: int,
) -> None:
    """Play a group of runs, with checkpoints at `path`, until the given report of its progress."""
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    reports: list[int] = []

    def stop(requests: int) -> None:
        reports.append(requests)
        if len(reports) == report:
            raise Stopped

    with pytest.raises(Stopped):
        simulate_group(configs, record, block=block, on_progress=stop, checkpoint=path)


def stopped_and_resumed(
    report: int, config: Scenario, record: Recording, path: Path, monkeypatch: pytest.MonkeyPatch, blocks: Sequence[int]
) -> Result:
    """The result of a run that stops at that report and is resumed; `blocks`: the block size before and after."""
    before, after = blocks
    stop_at(report, [config], record, path, monkeypatch, before)
    restored: list[int] = []
    (again,) = simulate_group([config], record, block=after, checkpoint=path, on_restore=restored.append)
    assert restored
    return again


def sound_states(config: Scenario, block: int) -> Iterator[State]:
    """The state of a run after each block, found sound."""
    fresh = Group([config]).runs[0].state
    group = Group([config])
    for requests in group.source.blocks(block):
        group.take(requests)
        state = group.runs[0].state
        expect_sound_parts(state, fresh)
        yield state


def expect_sound_parts(state: State, fresh: State) -> None:
    """Raise Unsound unless the state, cut to the entries in use as a checkpoint stores it, is sound."""
    clock = state.clock[0]
    used = state._replace(live=state.live[: int(clock["used"])], free=state.free[: int(clock["free"])])
    expect_sound(used, fresh, np.zeros(0, state.done.dtype))
