"""Checkpoints of long runs: the whole state in one file, written atomically; a resumed run gives the same bits."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from caps_fast import __version__, _jit, arrays
from caps_fast.arrays import State
from caps_fast.documents import parse_json, read_arrays
from caps_fast.errors import InputError
from caps_fast.files import remove, whole
from caps_fast.pack import resized
from caps_fast.predictor.features import Known
from caps_fast.records import Array
from caps_fast.saved_state import expect_held, expect_history, expect_sound, expect_source
from caps_fast.scenario import Scenario
from caps_fast.soundness import Unsound

EVERY_S = 60.0
TREES = ("finish_at", "leap_end_s", "first_to_end", "tree", "room_tree")
MUTABLE = (
    *(
        "clock",
        "queues",
        "spans",
        "regions",
        "gpus",
        "scaling",
        "standing",
        "strength",
        "pools",
        "accounts",
        "slices",
        "live",
        "free",
        *TREES,
    ),
    *("cells", "histograms", "series", "memory", "run_memory", "phases", "transit", "link_j"),
    *("lines", "turns", "in_line", "charged", "crowd"),
    *("sessions", "thinking", "spare", "session_of"),
)
GROWING = ("live", "free", "sessions", "thinking", "spare", "session_of")
HISTORY = Known._fields[1:]  # all except the lag, which belongs to the model


class InProgress(Protocol):
    """What a checkpoint holds: `simulation.Group`."""

    source: Any
    runs: list[Any]
    views: dict[str, Any]
    held: Array


class Keeper:
    """Saves and restores a group of simulations at `path`."""

    def __init__(self, path: Path) -> None:
        """Read the file at `path`, if there is one.

        Raises InputError for a damaged file, before a group is prepared.
        """
        self.path = path
        self._saved_at_s = time.monotonic()
        self._found: dict[str, Array] = {}
        if path.exists():
            with self._expecting_a_whole_one():
                self._found = read_arrays(path, path.stat().st_size)  # not compressed

    def save_if_due(self, group: InProgress) -> None:
        """Save if a minute has passed since the last time."""
        if time.monotonic() - self._saved_at_s >= EVERY_S:
            self.save(group)

    def save(self, group: InProgress) -> None:
        """Save now. Raises InputError where the file cannot be written."""
        meta = {
            "program": _program(),
            "scenario": [run.config.hash for run in group.runs],
            "recording": _recording(group),
        }
        meta["source"] = group.source.state()
        found = {"held": group.held, "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
        for index, run in enumerate(group.runs):
            clock = run.state.clock[0]
            used = int(clock["used"])
            state = run.state._replace(
                live=run.state.live[:used],
                session_of=run.state.session_of[:used],
                free=run.state.free[: int(clock["free"])],
            )
            found |= {f"run{index}.{name}": getattr(state, name) for name in MUTABLE}
            if run.done is not None:
                found[f"run{index}.done"] = np.concatenate([*run.done, np.zeros(0, run.state.done.dtype)])
        for key, view in group.views.items():
            found |= {f"view.{key}.{name}": getattr(view.histories.known, name) for name in HISTORY}
        with whole(self.path) as beside, beside.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **found)
            stream.flush()
            os.fsync(stream.fileno())
        self._saved_at_s = time.monotonic()

    def expect_of(self, configs: Sequence[Scenario]) -> None:
        """Raise InputError if the checkpoint is of another program version or of other scenarios."""
        self._expect({"program": _program(), "scenario": [config.hash for config in configs]})

    def restore(self, group: InProgress) -> None:
        """Restore what was saved, if there is a checkpoint.

        Raises InputError for a file that is damaged or of another recording.
        """
        self._expect({"recording": _recording(group)})
        found, self._found = self._found, {}
        if not found:
            return
        with self._expecting_a_whole_one():
            source = _meta(found)["source"]
            expect_source(source)
            group.source.restore(source)
            group.held = _like(group.held, found["held"])
            for index, run in enumerate(group.runs):
                state: State = run.state
                saved: dict[str, Any] = {
                    name: _like(getattr(state, name), found[f"run{index}.{name}"], name not in GROWING)
                    for name in MUTABLE
                }
                done = np.zeros(0, arrays.DONE) if run.done is None else _like(state.done, found[f"run{index}.done"])
                expect_sound(state._replace(**saved), state, done)
                expect_held(group.held, state._replace(**saved))
                for name in saved.keys() - GROWING:
                    getattr(state, name)[...] = saved[name]
                run.state = resized(state._replace(**{name: saved[name] for name in GROWING}), len(saved["live"]))
                if run.done is not None:
                    run.done[:] = [done]
            for key, view in group.views.items():
                known = view.histories.known
                history = known._replace(
                    **{name: _like(getattr(known, name), found[f"view.{key}.{name}"]) for name in HISTORY}
                )
                expect_history(history)
                view.histories.known = history

    def _expect(self, identity: dict[str, Any]) -> None:
        if not self._found:
            return
        with self._expecting_a_whole_one():
            meta = _meta(self._found)
            for name, value in identity.items():
                if meta[name] != value:
                    raise InputError(f"{self.path}: a checkpoint of another {name} ({meta[name]}); expected {value}")

    @contextmanager
    def _expecting_a_whole_one(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except Unsound as error:
            raise InputError(
                f"{self.path}: not a consistent checkpoint ({error}); expected one written by caps-fast run"
            ) from None
        except Exception as error:  # reading damaged bytes can raise anything
            raise InputError(
                f"{self.path}: not a complete checkpoint ({type(error).__name__}); expected one written by caps-fast "
                "run"
            ) from None

    def remove(self) -> None:
        """The run has finished: remove the checkpoint, and what a killed process had begun to write."""
        remove(self.path)


def _meta(found: dict[str, Array]) -> dict[str, Any]:
    meta: dict[str, Any] = parse_json(found["meta"].tobytes())
    return meta


def _program() -> str:
    return f"{__version__} {_jit.source_hash()}"


def _recording(group: InProgress) -> list[str]:
    """What is recorded of each run."""
    return [f"{'' if run.done is None else 'requests, '}{len(run.state.series)} samples" for run in group.runs]


def _like(fresh: Array, saved: Array, whole_shape: bool = False) -> Array:
    """Return `saved` if its dtype (and shape, if given) match `fresh`. Raises ValueError."""
    if saved.dtype != fresh.dtype or saved.ndim != fresh.ndim or (whole_shape and saved.shape != fresh.shape):
        raise ValueError("an array of another type")
    return saved
