"""The end of every GPU's leap, and the first to end: a tournament in which a node holds the winning GPU; the lowest
index wins ties.

Node 1 of `first_to_end` is the root, node i plays off nodes 2i and 2i + 1, and GPU g is leaf `width` + g. Times of idle
GPUs, and of those that pad the width to a power of two, are inf. Offsets are unsigned, which avoids Numba's check for
negative indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import State
from caps_fast.containers.tournament import width_of
from caps_fast.records import Array

_1 = np.uint64(1)


def plan(gpus: int) -> tuple[Array, Array]:
    """An agenda of idle GPUs: `leap_end_s`, float64 (width,), and `first_to_end`, uint32 (2 width,)."""
    width = width_of(gpus)
    first_to_end = np.zeros(2 * width, np.uint32)
    for level in range(width.bit_length()):
        first_to_end[1 << level : 2 << level] = np.arange(0, width, width >> level)
    return np.full(width, np.inf), first_to_end


@inlined
def first(s: State) -> int:
    """The GPU whose leap ends first."""
    g: Any = s.first_to_end[1]
    return g


@inlined
def first_end_s(s: State) -> float:
    """When that leap ends; inf if all GPUs are idle."""
    end_s: Any = s.leap_end_s[s.first_to_end[1]]
    return end_s


@inlined
def put(s: State, g: int, end_s: float) -> None:
    """Set the end of the leap of GPU `g`; inf if it is idle."""
    best: Any = np.uint32(g)
    s.leap_end_s[best] = end_s
    node: Any = np.uint64(s.leap_end_s.shape[0]) + np.uint64(g)
    key = _bits(end_s)
    while node > _1:
        other = s.first_to_end[node ^ _1]
        other_key = _bits(s.leap_end_s[other])
        other_wins = other_key - np.int64(node & _1) < key  # the left one wins ties
        key = other_key if other_wins else key
        best = other if other_wins else best
        node >>= _1
        s.first_to_end[node] = best


@inlined
def _bits(time_s: float) -> Any:
    """A non-negative time as an integer, in the same order."""
    return np.float64(time_s).view(np.int64)
