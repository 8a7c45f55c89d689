"""8-ary min trees in flat arrays: the smallest of n values in O(log n), the lowest index on ties.

`levels[0..depth-1]` are the offsets of the levels in `tree`, leaves first, `levels[8]` the depth. Every level is padded to a multiple of 8 with
infinity; the top level has 8 entries.
"""

from __future__ import annotations

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import Array

MAX_DEPTH = 8


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
def least_of_8(tree: Array, at: int) -> float:
    """The smallest of 8 neighbours, compared in pairs so that the processor need not wait for each."""
    a = tree[at] if tree[at] < tree[at + 1] else tree[at + 1]
    b = tree[at + 2] if tree[at + 2] < tree[at + 3] else tree[at + 3]
    c = tree[at + 4] if tree[at + 4] < tree[at + 5] else tree[at + 5]
    d = tree[at + 6] if tree[at + 6] < tree[at + 7] else tree[at + 7]
    e = a if a < b else b
    f = c if c < d else d
    return e if e < f else f


@inlined
def smallest(tree: Array, levels: Array) -> float:
    """The smallest value of a tree."""
    return least_of_8(tree, levels[levels[8] - 1])


@inlined
def where_smallest(tree: Array, levels: Array, value: float) -> int:
    """Leaf index of the first leaf that equals `value`, the tree's smallest."""
    i = 0
    for depth in range(levels[8] - 1, -1, -1):
        at = levels[depth] + i
        step = 7
        for k in range(6, -1, -1):
            step = k if tree[at + k] == value else step
        i = (i + step) << 3
    return i >> 3


@inlined
def put(tree: Array, levels: Array, leaf: int, value: float) -> None:
    """Set a leaf and restore the minima above it."""
    i = leaf
    for depth in range(levels[8] - 1):
        at = levels[depth] + i
        before = tree[at]
        tree[at] = value
        up = levels[depth + 1] + (i >> 3)
        parent = tree[up]
        if value > parent:
            if before > parent:
                return
            value = least_of_8(tree, levels[depth] + (i & ~7))
            if value == parent:
                return
        elif value == parent:
            return
        i >>= 3
    tree[levels[levels[8] - 1] + i] = value
