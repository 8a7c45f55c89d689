"""Tournament trees in flat arrays: the smallest of n whole numbers, and where it is, kept under changes in O(log n); the lowest index wins ties.

A tree's row of `places` is where it begins in the array and its width, a power of two. Node 1 is the root, node i plays off nodes 2i and 2i + 1,
leaves begin at node `width`. Times go in as their bits, which order like the times themselves while these are not negative. Offsets are unsigned,
which spares Numba's check for negative indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import NODE, Array

NEVER = np.iinfo(np.int64).max
INFINITY = np.float64(np.inf).view(np.int64)
_1 = np.uint64(1)


def plant(leaves: Sequence[Array]) -> tuple[Array, Array]:
    """Trees with these leaves, one after the other: NODE (total,), and their places, int64 (n_trees, 2)."""
    widths = [1 << max(len(keys) - 1, 0).bit_length() for keys in leaves]
    places = np.array([np.cumsum([0, *widths[:-1]]) * 2, widths], np.int64).T.copy()
    tree = np.zeros(2 * sum(widths), NODE)
    tree["key"] = NEVER
    for keys, (at, width) in zip(leaves, places.tolist(), strict=True):
        level = tree[at + width : at + 2 * width]
        level["leaf"] = np.arange(width)
        level["key"][: len(keys)] = keys
        while len(level) > 1:
            left, right = level[::2], level[1::2]
            level = tree[at + len(left) : at + 2 * len(left)]
            level[:] = np.where(left["key"] <= right["key"], left, right)
    return tree, places


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
def winner(tree: Array, place: Array) -> Any:
    """The tree's NODE of the smallest key: `key`, and `leaf`, its index."""
    return tree[np.uint64(place[0]) + _1]


@inlined
def put(tree: Array, place: Array, leaf: int, key: int) -> None:
    """Set a leaf and play off the nodes above it."""
    at = np.uint64(place[0])
    node: Any = np.uint64(place[1]) + np.uint64(leaf)
    tree[at + node]["key"] = key
    best: Any = np.uint32(leaf)
    while node > _1:
        other = tree[at + (node ^ _1)]
        other_key = other["key"]
        other_leaf = other["leaf"]
        other_wins = other_key - np.int64(node & _1) < key  # the left one wins ties
        key = other_key if other_wins else key
        best = other_leaf if other_wins else best
        node >>= _1
        above = tree[at + node]
        above["key"] = key
        above["leaf"] = best
