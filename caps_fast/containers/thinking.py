"""Thinking sessions: a heap with four children per node (a cache line), ordered by the time of the next turn, then by
number.
"""

from __future__ import annotations

from caps_fast._jit import inlined
from caps_fast.arrays import State


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
def _first_of(s: State, a: int, b: int) -> int:
    """Of two positions, the one with the first session."""
    return b if _before(s, s.thinking[b].due_s, s.thinking[b].session, a) else a


@inlined
def pop(s: State) -> int:
    """Remove and return the session with the first turn; there must be one.

    Its place moves down to the bottom, where the last one is put and rises.
    """
    first = s.thinking[0].session
    s.crowd[0].thinking -= 1
    count = s.crowd[0].thinking
    at = 0
    below = 1
    while below + 3 < count:
        below = _first_of(s, _first_of(s, below, below + 1), _first_of(s, below + 2, below + 3))
        _put(s, at, s.thinking[below].due_s, s.thinking[below].session)
        at = below
        below = 4 * at + 1
    if below < count:
        best = below
        for other in range(below + 1, count):
            best = _first_of(s, best, other)
        _put(s, at, s.thinking[best].due_s, s.thinking[best].session)
        at = best
    _rise(s, at, s.thinking[count].due_s, s.thinking[count].session)
    return first


@inlined
def _put(s: State, at: int, due_s: float, session: int) -> None:
    s.thinking[at].due_s = due_s
    s.thinking[at].session = session
