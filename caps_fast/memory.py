"""Cache-line-aligned allocation of arrays that kernels write to, which avoids false sharing.

Otherwise small arrays of runs on several threads could share a line, and every write would take it from the other
processors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from caps_fast._jit import CACHE_LINE
from caps_fast.records import Array


def aligned(count: int, kind: DTypeLike, make: Callable[..., Array] = np.zeros) -> Array:
    """An array of zeros, or of `make`, on cache lines of its own, aligned to the first."""
    size = count * np.dtype(kind).itemsize
    raw = make(size + 2 * CACHE_LINE, np.uint8)
    first = -raw.ctypes.data % CACHE_LINE
    return raw[first : first + size].view(kind)


def on_own_lines(values: Array) -> Array:
    """A copy on cache lines of its own."""
    copy = aligned(values.size, values.dtype, np.empty).reshape(values.shape)
    copy[...] = values
    return copy
