"""Small moves of single parameters within their bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from caps_fast.calibrate.targets import Bound, Task
from caps_fast.errors import InputError

STEP = 0.1
"""A move is this share of a field's range (on its own scale, logarithmic where the bound is)."""


def moves(task: Task, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Field and new value of every move that gives a valid scenario: a step down and up, every other choice, and
    absence where it is allowed.
    """
    for field, bound in task.bounds.items():
        for to in _others(bound, values[field]):
            try:
                task.base.replace({**values, field: to})
            except InputError:
                continue
            yield field, to


def _others(bound: Bound, value: Any) -> Iterator[Any]:
    if bound.range is None:
        yield from (choice for choice in bound.choices if choice != value)
    elif value is not None:
        yield from (moved for share in (-STEP, STEP) if (moved := _moved(bound, value, share)) != value)
    if bound.optional and value is not None:
        yield None


def _moved(bound: Bound, value: float, share: float) -> float:
    """The value moved by a share of the range; by at least 1 for whole numbers, and never out of bounds."""
    assert bound.range is not None
    low, high = bound.range
    moved = value * (high / low) ** share if bound.log else value + share * (high - low)
    moved = min(max(moved, low), high)
    if bound.kind == "int":
        whole = round(moved)
        step = 1 if share > 0 else -1
        return int(min(max(whole if whole != value else value + step, low), high))
    return moved
