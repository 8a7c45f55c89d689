"""Checks of the states of replicas in a saved state (`saved_state`; docs/model.md, section 9)."""

from __future__ import annotations

import numpy as np

from caps_fast.arrays import ASLEEP, BUSY, FAILED, IDLE, OFF, STARTING, STOPPING, WAKING, State
from caps_fast.records import Array
from caps_fast.soundness import expect, expect_equal
from caps_fast.traits import fails, has_clocks, scales


def takes_work(state: State) -> Array:
    """Replicas that are on and do not drain, bool (n_gpus,)."""
    return np.asarray((state.gpus["state"] <= BUSY) & (state.standing["draining"] == 0))


def has_end(state: State) -> tuple[Array, Array]:
    """Replicas whose leap or change of state must have an end, and those that may have one: bool (n_gpus,) each."""
    found, kinds = state.gpus["state"], state.changes[state.gpus["kind"]]
    waits = (state.standing["draining"] == 1) & (state.standing["rested"] == 0) & (kinds["can_stop"] == 1)
    return np.isin(found, (BUSY, WAKING, STARTING, STOPPING, FAILED)), waits & np.isin(found, (IDLE, ASLEEP))


def expect_states(state: State, fresh: State) -> None:
    """Raise Unsound for inconsistent states, nodes and counts of replicas."""
    gpus, standing = state.gpus, state.standing
    found, draining, kinds = gpus["state"], standing["draining"], state.changes[gpus["kind"]]
    if not scales(state):
        expect(found <= BUSY, "gpus.state", found)
        expect_equal("standing", standing, fresh.standing)
        for name, field in (("strength", "serving"), ("queues", "slots"), ("queues", "per_gpu")):
            expect_equal(f"{name}.{field}", getattr(state, name)[field], getattr(fresh, name)[field])
        return
    for states, can in (((ASLEEP, WAKING), "can_sleep"), ((OFF, STOPPING), "can_stop"), ((FAILED,), "can_fail")):
        expect(~np.isin(found, states) | (kinds[can] == 1), "gpus.state", found)
    expect((found != STARTING) | (kinds["can_stop"] == 1) | (kinds["can_fail"] == 1), "gpus.state", found)
    expect(~np.isin(found, (ASLEEP, OFF, STOPPING)) | (draining == 1), "standing.draining", draining)
    expect(
        (standing["rested"] == 0) | ((draining == 1) & np.isin(found, (IDLE, ASLEEP))),
        "standing.rested",
        standing["rested"],
    )
    serving = np.zeros(len(state.pools), np.int64)
    np.add.at(serving, gpus["pool"], _serves(state))
    expect_equal("strength.serving", state.strength["serving"], serving)
    for pool in state.strength:
        size = int(state.changes[gpus["kind"][pool["first_gpu"]]]["replicas_per_node"])
        of_pool = found[pool["first_gpu"] : pool["end_gpu"]]
        first_of_node = of_pool[np.arange(len(of_pool)) // size * size]
        expect_equal("gpus.state", of_pool == OFF, first_of_node == OFF)
        expect_equal("gpus.state", of_pool == STOPPING, first_of_node == STOPPING)
    _expect_counts(state)
    _expect_lives(state, fresh)


def _serves(state: State) -> Array:
    """Replicas that neither drain nor have failed, bool (n_gpus,)."""
    return np.asarray((state.standing["draining"] == 0) & (state.gpus["state"] != FAILED))


def _expect_lives(state: State, fresh: State) -> None:
    """Each replica is in one of its own lives that is not over; the next to fail is the first of those that are on."""
    standing, first = state.standing, fresh.standing["life"]
    if not fails(state):
        for name in ("life", "fails_s", "left_s"):
            expect_equal(f"standing.{name}", standing[name], fresh.standing[name])
        for name in ("failure_s", "fails_next"):
            expect_equal(f"scaling.{name}", state.scaling[name], fresh.scaling[name])
        return
    expect(
        (standing["life"] >= first) & (standing["life"] < np.append(first[1:], len(state.lives))),
        "standing.life",
        standing["life"],
    )
    on, up_s = state.gpus["state"] <= BUSY, state.lives["up_s"][standing["life"]]
    expect(standing["fails_s"] >= state.clock[0]["now_s"], "standing.fails_s", standing["fails_s"])
    expect(np.isfinite(standing["fails_s"]) == (on & np.isfinite(up_s)), "standing.fails_s", standing["fails_s"])
    expect(standing["left_s"] >= 0.0, "standing.left_s", standing["left_s"])
    at = int(np.argmin(standing["fails_s"]))
    expect_equal("scaling.failure_s", float(state.scaling[0]["failure_s"]), float(standing["fails_s"][at]))
    if np.isfinite(standing["fails_s"][at]):
        expect_equal("scaling.fails_next", int(state.scaling[0]["fails_next"]), at)


def expect_clocks(state: State, fresh: State) -> None:
    """Raise Unsound for a replica or pool of another kind than in the fresh state, and for a wrong clock of a replica
    that is not busy.
    """
    own, wanted = fresh.gpus["kind"], state.strength["kind"][fresh.gpus["pool"]]
    changes = has_clocks(state) & (fresh.strength["keeps_clock"] == 0)
    for name, rows, first in (
        ("gpus", state.gpus["kind"], own),
        ("strength", state.strength["kind"], fresh.strength["kind"]),
    ):
        may = changes[fresh.gpus["pool"]] if name == "gpus" else changes
        in_kind = (rows >= fresh.changes["first_clock"][first]) & (rows < fresh.changes["end_clock"][first])
        expect((rows == first) | (may & in_kind), f"{name}.kind", rows)
    expect((state.gpus["kind"] == wanted) | (state.gpus["state"] == BUSY), "gpus.kind", state.gpus["kind"])
    expect_equal("queues.kind", state.queues["kind"], wanted[fresh.queues["first_gpu"]])
    if not has_clocks(state):
        expect_equal("standing.ready_s", state.standing["ready_s"], fresh.standing["ready_s"])


def _expect_counts(state: State) -> None:
    """The replicas available to a queue: those that neither drain nor have failed, at least one."""
    serves = _serves(state)
    batches = state.pools["max_batch"][state.gpus["pool"]].astype(np.int64)
    count, slots = (np.zeros(len(state.queues), np.int64) for _ in range(2))
    np.add.at(count, state.gpus["queue"], serves)
    np.add.at(slots, state.gpus["queue"], serves * batches)
    expect_equal("queues.slots", state.queues["slots"], np.where(count > 0, slots, batches[state.queues["first_gpu"]]))
    expect_equal("queues.per_gpu", state.queues["per_gpu"], 1.0 / np.maximum(count, 1))
