"""The decoding sequences of a GPU: a binary heap by the decode iteration at which they end."""

from __future__ import annotations

from caps_fast._jit import inlined
from caps_fast.arrays import State


@inlined
def push(s: State, g: int, finish_at: int, r: int) -> None:
    """Let `r` end at decode iteration `finish_at` of GPU `g`."""
    at = s.gpus[g]["heap_len"]
    s.gpus[g]["heap_len"] += 1
    _sift_up(s, g, at, finish_at, r)


@inlined
def remove(s: State, g: int, at: int) -> None:
    """Take the entry at position `at` out of the heap of GPU `g`."""
    keys = s.finish_at[g]
    who = s.finish_who[g]
    size = s.gpus[g]["heap_len"] - 1
    s.gpus[g]["heap_len"] = size
    if at == size:
        return
    key = keys[size]
    r = who[size]
    while 2 * at + 1 < size:
        down = 2 * at + 1
        if down + 1 < size and keys[down + 1] < keys[down]:
            down += 1
        if key <= keys[down]:
            break
        keys[at] = keys[down]
        who[at] = who[down]
        at = down
    _sift_up(s, g, at, key, r)


@inlined
def _sift_up(s: State, g: int, at: int, finish_at: int, r: int) -> None:
    keys = s.finish_at[g]
    who = s.finish_who[g]
    while at > 0:
        up = (at - 1) // 2
        if keys[up] <= finish_at:
            break
        keys[at] = keys[up]
        who[at] = who[up]
        at = up
    keys[at] = finish_at
    who[at] = r
