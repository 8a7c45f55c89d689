"""Where arrays that kernels write to lie: on cache lines that nothing else lies on.

Small arrays of runs on several threads would otherwise come to lie on one line, and a processor that writes to it takes
it from the others each time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from caps_fast._jit import CACHE_LINE
from caps_fast.records import Array


def aligned(count: int, kind: DTypeLike, make: Callable[..., Array] = np.zeros) -> Array:
    """So many zeros, or what `make` makes, on lines of their own, the first at the beginning of one."""
    size = count * np.dtype(kind).itemsize
    raw = make(size + 2 * CACHE_LINE, np.uint8)
    first = -raw.ctypes.data % CACHE_LINE
    return raw[first : first + size].view(kind)


def on_own_lines(values: Array) -> Array:
    """A copy on lines of its own."""
    copy = aligned(values.size, values.dtype, np.empty).reshape(values.shape)
    copy[...] = values
    return copy
