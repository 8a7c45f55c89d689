"""Thinking sessions: a heap with four children per node (a cache line), ordered by the time of the next turn, then by
number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import State

_1, _2, _3, _4 = (np.uint64(n) for n in (1, 2, 3, 4))


@inlined
def _before(s: State, due_s: float, session: int, at: int) -> bool:
    """Whether a session due at that time goes before the one at position `at`."""
    other = s.thinking[at]
    first = due_s < other.due_s
    if due_s == other.due_s:
        first = s.sessions[session].number < s.sessions[other.session].number
    return first


@inlined
def push(s: State, due_s: float, session: int) -> None:
    """Add a session that thinks until that time."""
    s.crowd[0].thinking += 1
    _rise(s, s.crowd[0].thinking - 1, due_s, session)


@inlined
def _rise(s: State, at: int, due_s: float, session: int) -> None:
    """Put a session at the free position `at`, or above it."""
    while at > 0 and _before(s, due_s, session, (at - 1) >> 2):
        _put(s, at, s.thinking[(at - 1) >> 2].due_s, s.thinking[(at - 1) >> 2].session)
        at = (at - 1) >> 2
    _put(s, at, due_s, session)


@inlined
def _soonest(s: State, at: Any) -> Any:
    """The position of the four from position `at` on whose session is due first.

    Offsets are unsigned, as in the agenda.
    """
    a, b = s.thinking[at].due_s, s.thinking[at + _1].due_s
    c, d = s.thinking[at + _2].due_s, s.thinking[at + _3].due_s
    left = at + _1 if b < a else at
    right = at + _3 if d < c else at + _2
    left_s = b if b < a else a
    right_s = d if d < c else c
    if a == b or c == d or left_s == right_s:  # rare
        left = _first_of(s, at, at + _1)
        right = _first_of(s, at + _2, at + _3)
        return _first_of(s, left, right)
    return right if right_s < left_s else left


@inlined
def _first_of(s: State, a: Any, b: Any) -> Any:
    """The position of two whose session goes first, the lower number on ties."""
    x, y = s.thinking[a], s.thinking[b]
    second = y.due_s < x.due_s
    if y.due_s == x.due_s:
        second = s.sessions[y.session].number < s.sessions[x.session].number
    return b if second else a


@inlined
def pop(s: State) -> int:
    """The session whose turn comes first; there must be one.

    Its place goes down to the bottom, where the last one is put and rises.
    """
    first = s.thinking[0].session
    s.crowd[0].thinking -= 1
    count: Any = np.uint64(s.crowd[0].thinking)
    at: Any = np.uint64(0)
    below: Any = _1
    while below + _3 < count:
        best = _soonest(s, below)
        s.thinking[at].due_s = s.thinking[best].due_s
        s.thinking[at].session = s.thinking[best].session
        at = best
        below = _4 * at + _1
    if below < count:
        best = below
        while below + _1 < count:
            below += _1
            best = _first_of(s, best, below)
        s.thinking[at].due_s = s.thinking[best].due_s
        s.thinking[at].session = s.thinking[best].session
        at = best
    place: Any = np.int64(at)
    _rise(s, place, s.thinking[count].due_s, s.thinking[count].session)
    return first


@inlined
def _put(s: State, at: int, due_s: float, session: int) -> None:
    s.thinking[at].due_s = due_s
    s.thinking[at].session = session
