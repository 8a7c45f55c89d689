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
def smallest(tree, levels):
    """The smallest value of a tree."""
    at = levels[levels[8] - 1]
    found = tree[at]
    for i in range(1, 8):
        found = min(found, tree[at + i])
    return found


@inlined
def where_smallest(tree, levels, value):
    """Leaf index of the first leaf that equals `value`, the tree's smallest."""
    i = 0
    for depth in range(levels[8] - 1, -1, -1):
        at = levels[depth] + i
        while tree[at] != value:
            at += 1
        i = (at - levels[depth]) * 8
    return i // 8


@inlined
def put(tree, levels, leaf, value):
    """Set a leaf and restore the minima above it."""
    i = leaf
    for depth in range(levels[8]):
        at = levels[depth] + i
        before = tree[at]
        tree[at] = value
        if depth + 1 == levels[8]:
            return
        up = levels[depth + 1] + i // 8
        parent = tree[up]
        if value > parent:
            if before != parent:
                return
            first = levels[depth] + (i // 8) * 8
            value = tree[first]
            for k in range(1, 8):
                value = min(value, tree[first + k])
        if value == parent:
            return
        i = i // 8
