"""Tournament trees in flat arrays: the smallest of n keys and its index, updated in O(log n); the lowest index wins
ties.

A node is one integer, key * 2 ** 32 + index of the leaf, so that a match is a minimum. Keys lie within 32 bits; a
cost is a key as the bits of its 32-bit float, which have the same order: costs that differ by less than one part in 2
** 24 are equal. A span holds the start of its tree in the array and its width, a power of two. Node 1 is the root,
node i plays off nodes 2i and 2i + 1, leaves begin at node `width`. Offsets are unsigned, which avoids Numba's check for
negative indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caps_fast._jit import inlined
from caps_fast.records import Array

NOBODY = int(np.iinfo(np.int64).max)
FULL = 0x7F800000  # the key of an infinite cost
_1 = np.uint64(1)


def width_of(leaves: int) -> int:
    """Leaves of a tree for this many keys: the next power of two."""
    return 1 << max(leaves - 1, 0).bit_length()


def build_trees(sizes: Sequence[int], keys: Array | None = None) -> tuple[Array, Array, Array]:
    """Trees of these numbers of leaves with these keys (or 0), one after the other: int64 (total,), the start of each,
    and its width.
    """
    widths = np.array([width_of(size) for size in sizes])
    begins, firsts = np.cumsum(2 * widths) - 2 * widths, np.cumsum(sizes) - np.array(sizes)
    nodes = np.zeros(sum(sizes), np.int64) if keys is None else keys.astype(np.int64) << 32
    tree = np.full(2 * int(widths.sum()), NOBODY)
    alone = widths == 1
    tree[begins[alone] + 1] = nodes[firsts[alone]]
    for at, width, first, size in zip(
        begins[~alone], widths[~alone], firsts[~alone], np.array(sizes)[~alone], strict=True
    ):
        level = tree[at + width : at + 2 * width]
        level[:size] = nodes[first : first + size] + np.arange(size)
        while len(level) > 1:
            left, right = level[::2], level[1::2]
            level = tree[at + len(left) : at + 2 * len(left)]
            level[:] = np.minimum(left, right)
    return tree, begins, widths


@inlined
def key_of_cost(cost: Any) -> int:
    """The key of a cost."""
    bits: Any = np.int64(np.float32(cost).view(np.int32))
    key: Any = bits ^ ((bits >> 63) & 0x7FFFFFFF)
    return key


@inlined
def key_of(node: Any) -> Any:
    """The smallest key under a node."""
    return node >> 32


@inlined
def leaf_of(node: Any) -> Any:
    """The index of the leaf whose key that is."""
    return node & 0xFFFFFFFF


@inlined
def root(tree: Array, span: Any) -> int:
    """The node above all leaves of a span's tree."""
    node: Any = tree[np.uint64(span.tree_at) + _1]
    return node


@inlined
def put(tree: Array, span: Any, leaf: int, key: int) -> None:
    """Set a leaf of a span's tree and update the nodes above it."""
    at = np.uint64(span.tree_at)
    node: Any = np.uint64(span.width) + np.uint64(leaf)
    best: Any = (np.int64(key) << 32) + np.int64(leaf)
    tree[at + node] = best
    while node > _1:
        best = min(best, tree[at + (node ^ _1)])
        node >>= _1
        tree[at + node] = best
