"""Arrays that kernels write to lie on cache lines of their own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caps_fast import arrays, scenario
from caps_fast._jit import CACHE_LINE
from caps_fast.arrays import Array
from caps_fast.memory import aligned, on_own_lines
from caps_fast.pack import SMALL
from caps_fast.pack_kinds import Means
from caps_fast.simulation import Run, prepare

KINDS = st.sampled_from(
    [np.dtype(np.uint8), np.dtype(np.uint32), np.dtype(np.float64), arrays.POOL, arrays.CLOCK, arrays.LIVE]
)


def lines(values: Array) -> set[int]:
    first = values.ctypes.data
    return set(range(first // CACHE_LINE, (first + values.nbytes - 1) // CACHE_LINE + 1))


@given(shapes=st.lists(st.tuples(st.integers(1, 40), KINDS), min_size=2, max_size=30))
def test_no_two_arrays_share_a_line(shapes: list[tuple[int, np.dtype]]) -> None:
    found = [aligned(count, kind) for count, kind in shapes]
    for (count, kind), values in zip(shapes, found, strict=True):
        assert (len(values), values.dtype) == (count, kind)
        assert values.ctypes.data % CACHE_LINE == 0
        base = values
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert lines(values) <= lines(base[CACHE_LINE - 1 : -CACHE_LINE + 1]), (
            "reaches into a line that others may lie on"
        )
    assert len(set.union(*map(lines, found))) == sum(len(lines(values)) for values in found)


@given(rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_a_copy_is_the_same(rows: int, columns: int) -> None:
    values = np.zeros((rows, columns), arrays.POOL)
    values["member_s"] = np.arange(rows * columns).reshape(rows, columns)
    values["requests"] = 7
    copy = on_own_lines(values)
    np.testing.assert_array_equal(copy, values)
    assert copy.ctypes.data % CACHE_LINE == 0
    assert copy.flags.c_contiguous
    assert not np.shares_memory(copy, values)


def test_runs_side_by_side_share_no_line_that_they_write_to() -> None:
    config = scenario.preset("paper")
    runs = [Run.start(prepare(config, Means(500.0, 150.0))) for _ in range(8)]
    written = [
        getattr(run.state, name)
        for run in runs
        for name in (*SMALL, "gpus", "finish_at")
        if getattr(run.state, name).size
    ]
    assert len(set.union(*map(lines, written))) == sum(len(lines(values)) for values in written)
