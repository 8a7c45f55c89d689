"""Checks of the tournaments in a saved state (`saved_state`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast.containers import tournament
from caps_fast.records import Array
from caps_fast.soundness import expect_equal


def expect_tree(name: str, tree: Array, span: Any, keys: Array | None) -> None:
    """Raise Unsound unless leaves hold their own index (and the given keys), and every node above is the smaller of
    two.
    """
    at, width, size = int(span["tree_at"]), int(span["width"]), int(span["end_gpu"] - span["first_gpu"])
    level = tree[at + width : at + 2 * width]
    expect_equal(name, level[:size] & 0xFFFFFFFF, np.arange(size))
    expect_equal(name, level[size:], np.full(width - size, tournament.NOBODY))
    if keys is not None:
        expect_equal(name, level[:size] >> 32, keys)
    while len(level) > 1:
        level = np.minimum(level[::2], level[1::2])
        expect_equal(name, tree[at + len(level) : at + 2 * len(level)], level)
