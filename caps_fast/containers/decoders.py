"""The decoding sequences of a GPU: a binary heap by the decode iteration at which they end.

An entry is one integer, that iteration * 2 ** 32 + the request. Entries are compared by their difference, so the count
of iterations may wrap around. They are unsigned because signed differences would overflow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import State
from caps_fast.records import Array

_32 = np.uint64(32)


@inlined
def who(s: State, g: int, at: int) -> int:
    """The request at position `at` of the heap of GPU `g`; the first to end is at 0."""
    r: Any = np.int64(np.uint32(s.finish_at[g, at]))
    return r


@inlined
def position(s: State, g: int, r: int) -> int:
    """The position of `r`, which is in the heap of GPU `g`."""
    at = 0
    while who(s, g, at) != r:
        at += 1
    return at


@inlined
def left(s: State, g: int, at: int) -> int:
    """Iterations that the sequence at position `at` of the heap of GPU `g` has left."""
    iterations: Any = np.int64(s.finish_at[g, at] - (np.uint64(s.gpus[g].iterations_done) << _32)) >> 32
    return iterations


@inlined
def push(s: State, g: int, iterations: int, r: int) -> None:
    """Add `r`, which ends on GPU `g` after this many more iterations, at most 2 ** 31 - 1."""
    at = s.gpus[g].heap_len
    s.gpus[g].heap_len += 1
    entry = (np.uint64(s.gpus[g].iterations_done + iterations) << _32) + np.uint64(r)
    _sift_up(s.finish_at[g], at, entry)


@inlined
def remove(s: State, g: int, at: int) -> None:
    """Remove the entry at position `at` from the heap of GPU `g`."""
    heap = s.finish_at[g]
    size = s.gpus[g].heap_len - 1
    s.gpus[g].heap_len = size
    if at == size:
        return
    entry = heap[size]
    while 2 * at + 1 < size:
        down = 2 * at + 1
        if down + 1 < size and _sooner(heap[down + 1], heap[down]):
            down += 1
        if not _sooner(heap[down], entry):
            break
        heap[at] = heap[down]
        at = down
    _sift_up(heap, at, entry)


@inlined
def _sift_up(heap: Array, at: int, entry: Any) -> None:
    while at > 0:
        up = (at - 1) // 2
        if not _sooner(entry, heap[up]):
            break
        heap[at] = heap[up]
        at = up
    heap[at] = entry


@inlined
def _sooner(a: Any, b: Any) -> bool:
    """Does entry `a` end before entry `b`?"""
    sooner: Any = np.int64(a - b) < 0
    return sooner
