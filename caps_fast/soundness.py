"""Errors of a saved state, as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast.records import Array


class Unsound(ValueError):
    """The error of a state, as text."""


def expect(holds: Array, what: str, values: Array) -> None:
    """Raise Unsound with the first of `values` for which the condition does not hold."""
    if not holds.all():
        raise Unsound(f"{what} {values[int(np.argmin(holds))]}")


def expect_equal(what: str, found: Any, expected: Any) -> None:
    """Raise Unsound if two arrays differ."""
    if not np.array_equal(np.asarray(found), np.asarray(expected)):
        raise Unsound(f"{what} that is inconsistent with the rest")
