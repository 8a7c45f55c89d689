"""What is wrong with a saved state, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast.records import Array


class Unsound(ValueError):
    """What is wrong with a state, in words."""


def expect(holds: Array, what: str, values: Array) -> None:
    """Raise Unsound with the first of `values` for which something does not hold."""
    if not holds.all():
        raise Unsound(f"{what} {values[int(np.argmin(holds))]}")


def expect_equal(what: str, found: Any, expected: Any) -> None:
    """Raise Unsound where two arrays differ."""
    if not np.array_equal(np.asarray(found), np.asarray(expected)):
        raise Unsound(f"{what} that does not fit the rest")
