"""A NamedTuple of arrays that compiled code passes on by its address: read, written, counted and indexed as the
arrays themselves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from caps_fast._jit import inlined, kernel
from caps_fast.by_reference import by_reference

ROW = np.dtype([("count", "i4"), ("weight", "f8")], align=True)


class Arrays(NamedTuple):
    rows: Any
    numbers: Any
    table: Any


@inlined
def work(arrays, at):
    row = arrays.rows[at]
    row.count += 1
    row.weight = arrays.numbers[at] + arrays.table[1, at]
    arrays.numbers[at] = arrays.numbers[at - at - 1]
    arrays.table[0, at] = 7
    return arrays.rows.shape[0] + len(arrays.numbers)


@kernel
def play(arrays, at):
    arrays = by_reference(arrays)
    return work(arrays, at)


def arrays() -> Arrays:
    return Arrays(np.zeros(3, ROW), np.array([1, 2, 3, 4], np.uint32), np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("at", [1, np.uint32(1)])
def test_fields_are_those_of_the_tuple(at: Any) -> None:
    given = arrays()
    assert play(given, at) == 3 + 4
    assert given.rows[1].item() == (1, 2.0 + 4.0)
    assert given.numbers.tolist() == [1, 4, 3, 4]
    assert given.table[0].tolist() == [0.0, 7.0, 2.0]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_what_it_has_not_is_refused() -> None:
    @kernel
    def ask(arrays: Any) -> Any:
        return by_reference(arrays).columns

    with pytest.raises(numba.TypingError, match="columns"):
        ask(arrays())
