"""8-ary min trees in flat arrays: the smallest of n whole numbers in O(log n), the lowest index on ties.

`levels[0..depth-1]` are the offsets of the levels in `tree`, leaves first, `levels[8]` the depth. Every level is padded to a multiple of 8 with
NEVER; the top level has 8 entries. Times go in as their bits, which order like the times themselves while these are not negative. Offsets are
unsigned, which spares Numba's check for negative indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import Array

MAX_DEPTH = 8
NEVER = np.iinfo(np.int64).max
INFINITY = np.float64(np.inf).view(np.int64)
_1, _2, _3, _4, _5, _6, _7, _8 = (np.uint64(i) for i in range(1, 9))


def level_sizes(leaves: int) -> list[int]:
    """Sizes of the levels of a tree over `leaves` values."""
    sizes = [8 * max(1, -(-leaves // 8))]
    while sizes[-1] > 8:
        sizes.append(8 * max(1, -(-(sizes[-1] // 8) // 8)))
    return sizes


def plan(leaf_counts: list[int]) -> tuple[Array, int]:
    """Offsets of trees over so many leaves, laid one after the other: int32 (n_trees, 9), and the total size."""
    levels = np.zeros((len(leaf_counts), MAX_DEPTH + 1), np.int32)
    at = 0
    for row, leaves in zip(levels, leaf_counts, strict=True):
        sizes = level_sizes(leaves)
        row[MAX_DEPTH] = len(sizes)
        for depth, size in enumerate(sizes):
            row[depth] = at
            at += size
    return levels, at


@inlined
def bits_of(time_s: float) -> int:
    """A time that is not negative as a whole number, in the same order."""
    bits: Any = np.float64(time_s).view(np.int64)
    return bits


@inlined
def time_of(bits: int) -> float:
    """The time behind its bits; infinity behind NEVER."""
    finite: Any = min(bits, INFINITY)
    time_s: Any = np.int64(finite).view(np.float64)
    return time_s


@inlined
def least_of_8(tree: Array, at: Any) -> int:
    """The smallest of 8 neighbours, compared in pairs so that the processor need not wait for each."""
    a = min(tree[at], tree[at + _1])
    b = min(tree[at + _2], tree[at + _3])
    c = min(tree[at + _4], tree[at + _5])
    d = min(tree[at + _6], tree[at + _7])
    return min(min(a, b), min(c, d))


@inlined
def smallest(tree: Array, levels: Array) -> int:
    """The smallest value of a tree."""
    return least_of_8(tree, np.uint64(levels[levels[8] - 1]))


@inlined
def where_smallest(tree: Array, levels: Array, value: int) -> int:
    """Leaf index of the first leaf that equals `value`, the tree's smallest."""
    i: Any = np.uint64(0)
    for depth in range(levels[8] - 1, -1, -1):
        at = np.uint64(levels[depth]) + i
        step = _7
        step = _6 if tree[at + _6] == value else step
        step = _5 if tree[at + _5] == value else step
        step = _4 if tree[at + _4] == value else step
        step = _3 if tree[at + _3] == value else step
        step = _2 if tree[at + _2] == value else step
        step = _1 if tree[at + _1] == value else step
        step = np.uint64(0) if tree[at] == value else step
        i = (i + step) << _3
    leaf: Any = np.int64(i >> _3)
    return leaf


@inlined
def put(tree: Array, levels: Array, leaf: int, value: int) -> None:
    """Set a leaf and restore the minima above it."""
    i: Any = np.uint64(leaf)
    for depth in range(levels[8] - 1):
        at = np.uint64(levels[depth]) + i
        before = tree[at]
        tree[at] = value
        up = np.uint64(levels[depth + 1]) + (i >> _3)
        parent = tree[up]
        if value > parent:
            if before > parent:
                return
            value = least_of_8(tree, at - (i & _7))
            if value == parent:
                return
        elif value == parent:
            return
        i >>= _3
    tree[np.uint64(levels[levels[8] - 1]) + i] = value
