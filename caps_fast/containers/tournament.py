"""Tournament trees in flat arrays: the smallest of n whole numbers, and where it is, kept under changes in O(log n); the lowest index wins ties.

A node is one whole number, key * 2 ** 32 + index of the leaf, so that a match is a minimum. Keys lie within 32 bits.
A tree's row of `places` is where it begins in the array and its width, a power of two. Node 1 is the root, node i plays off nodes 2i and 2i + 1,
leaves begin at node `width`. Offsets are unsigned, which spares Numba's check for negative indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import Array

NOBODY = np.iinfo(np.int64).max
_1 = np.uint64(1)


def width_of(leaves: int) -> int:
    """Leaves of a tree that has room for so many: the next power of two."""
    return 1 << max(leaves - 1, 0).bit_length()


def plant(leaves: Sequence[Array]) -> tuple[Array, Array]:
    """Trees with these leaves, one after the other: int64 (total,), and their places, int64 (n_trees, 2)."""
    widths = [width_of(len(keys)) for keys in leaves]
    places = np.array([np.cumsum([0, *widths[:-1]]) * 2, widths], np.int64).T.copy()
    tree = np.full(2 * sum(widths), NOBODY)
    for keys, (at, width) in zip(leaves, places.tolist(), strict=True):
        level = tree[at + width : at + 2 * width]
        level[: len(keys)] = (keys.astype(np.int64) << 32) + np.arange(len(keys))
        while len(level) > 1:
            left, right = level[::2], level[1::2]
            level = tree[at + len(left) : at + 2 * len(left)]
            level[:] = np.minimum(left, right)
    return tree, places


@inlined
def key_of(node: Any) -> Any:
    """The smallest key under a node."""
    return node >> 32


@inlined
def leaf_of(node: Any) -> Any:
    """The index of the leaf whose key that is."""
    return node & 0xFFFFFFFF


@inlined
def root(tree: Array, place: Array) -> int:
    """The node above all leaves of a tree."""
    node: Any = tree[np.uint64(place[0]) + _1]
    return node


@inlined
def put(tree: Array, place: Array, leaf: int, key: int) -> None:
    """Set a leaf and play off the nodes above it."""
    at = np.uint64(place[0])
    node: Any = np.uint64(place[1]) + np.uint64(leaf)
    best: Any = (np.int64(key) << 32) + np.int64(leaf)
    tree[at + node] = best
    while node > _1:
        best = min(best, tree[at + (node ^ _1)])
        node >>= _1
        tree[at + node] = best
