"""Sessions: the contents of a turn, and the time of the next one (docs/model.md, section 14)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import NONE, State
from caps_fast.containers import thinking
from caps_fast.normal import normal_quantile, stream_of, uniform
from caps_fast.traits import has_origins, only_if, sessions

EXPONENTIAL, LOGNORMAL, FIXED = range(3)
INPUT, KNOWN, REST, GOES_ON, THINK = range(5)  # draws of a turn; two more say whose a session is
PER_TURN = 8
LEAST_THINK_S = 1e-3
REACH, CELLS = 8.0, 1024  # of the tables of lengths, by score
INPUT_ROW, OUTPUT_ROW = 0, 1
MOST_TURNS = 32767


@inlined
def sooner(s: State, arrival_s: float) -> float:
    """Time of the next arrival: `arrival_s`, or the end of a session's think time if that is earlier."""
    if sessions(s) and s.crowd[0].thinking > 0:
        return min(arrival_s, s.thinking[0].due_s)
    return arrival_s


@inlined
def next_session(s: State) -> int:
    """The session whose turn arrives now: one that starts with the next row of the block, else one whose think time has
    ended; NONE if that row is a single request.
    """
    clock = s.clock[0]
    crowd = s.crowd[0]
    if clock.cursor == s.block.shape[0] or s.block[clock.cursor].arrival_s > clock.now_s:
        return thinking.pop(s)
    row = s.block[clock.cursor]
    clock.cursor += 1
    if row.turns >= 0:
        return NONE
    at: Any = np.int64(crowd.used)
    if crowd.spare > 0:
        crowd.spare -= 1
        at = np.int64(s.spare[crowd.spare])
    else:
        crowd.used += 1
    session = s.sessions[at]
    session.kind = -1 - row.turns
    session.number = crowd.started
    session.stream = stream_of(crowd.seed, session.number)
    session.drawn = 0
    session.turn = 0
    session.context_tokens = 0
    session.tenant = row.tenant
    session.tier = row.tier
    session.task = row.task
    session.origin = row.origin
    crowd.started += 1
    found: int = at
    return found


@inlined
def _uniform(s: State, session: int, turn: int, what: int) -> float:
    return uniform(s.sessions[session].stream, turn * PER_TURN + what)


@inlined
def _tokens(s: State, row: int, z: float) -> float:
    """Tokens by their score, linear between the points of a table."""
    at = (min(max(z, -REACH), REACH) + REACH) * (CELLS / (2.0 * REACH))
    cell = min(int(at), CELLS - 1)
    low = s.tokens[row, cell]
    return low + (at - cell) * (s.tokens[row, cell + 1] - low)


@inlined
def draw(s: State, r: int, at: int) -> None:
    """Make request `r` the next turn of session `at`, which arrives now."""
    session = s.sessions[at]
    own = s.crowd[session.kind]
    tables = 2 * session.kind
    request = s.live[r]
    turn = session.drawn
    new_tokens = int(_tokens(s, tables + INPUT_ROW, normal_quantile(_uniform(s, at, turn, INPUT))) + 0.5)
    known = own.explained * normal_quantile(_uniform(s, at, turn, KNOWN))
    score = known + own.rest * normal_quantile(_uniform(s, at, turn, REST))
    session.drawn += 1
    session.turn += 1
    request.arrival_s = s.clock[0].now_s
    request.input_tokens = min(session.context_tokens + max(new_tokens, 1), own.most_context_tokens)
    request.output_tokens = min(max(int(_tokens(s, tables + OUTPUT_ROW, score) + 0.5), 1), own.most_output_tokens)
    request.predicted_tokens = max(_tokens(s, tables + OUTPUT_ROW, known), 1.0)
    request.prompt_left = request.input_tokens
    request.tenant = session.tenant
    request.tier = session.tier
    request.task = session.task
    if has_origins(s):
        request.origin = session.origin
    request.turns = min(session.turn, MOST_TURNS)
    prompt = request.input_tokens
    request.category = (prompt >= own.long_from_tokens) + (prompt >= own.agentic_from_tokens)


@only_if("sessions")
def answered(s: State, r: int, seen_s: float) -> None:
    """The client has received the answer to request `r`: its session, if any, thinks before another turn, pauses, or
    ends.
    """
    at = s.session_of[r]
    if at == NONE:
        return
    session = s.sessions[at]
    own = s.crowd[session.kind]
    last = session.drawn - 1
    more = session.turn < own.turns if own.turns > 0 else _uniform(s, at, last, GOES_ON) < own.goes_on
    if more:
        session.context_tokens = s.live[r].input_tokens + s.live[r].output_tokens
        _think(s, at, seen_s, _think_s(s, session.kind, _uniform(s, at, last, THINK)))
    else:
        _end(s, at, seen_s)


@only_if("sessions")
def turned_away(s: State, r: int) -> None:
    """Request `r` is rejected, which ends its conversation."""
    if s.session_of[r] != NONE:
        _end(s, s.session_of[r], s.clock[0].now_s)


@inlined
def _end(s: State, at: int, seen_s: float) -> None:
    """A conversation ends; a user begins another one after a pause."""
    session = s.sessions[at]
    own = s.crowd[session.kind]
    if own.closed:
        session.context_tokens = 0
        session.turn = 0
        _think(s, at, seen_s, -math.log(_uniform(s, at, session.drawn - 1, THINK)) * own.pause_s)
    else:
        _let_go(s, at)


@inlined
def _think(s: State, at: int, seen_s: float, think_s: float) -> None:
    due_s = seen_s + max(think_s, LEAST_THINK_S)
    if due_s < s.setup[0].horizon_s:
        thinking.push(s, due_s, at)
    else:
        _let_go(s, at)


@inlined
def _let_go(s: State, at: int) -> None:
    s.spare[s.crowd[0].spare] = at
    s.crowd[0].spare += 1


@inlined
def _think_s(s: State, kind: int, u: float) -> float:
    own = s.crowd[kind]
    if own.think_law == EXPONENTIAL:
        return -math.log(u) * own.think_s
    if own.think_law == LOGNORMAL:
        return math.exp(own.think_log_mean + own.think_log_sd * normal_quantile(u))
    return own.think_s


@inlined
def stops(s: State) -> bool:
    """Record whether the requests that end at one instant may exceed the room for recorded requests."""
    if not sessions(s) or not s.setup[0].record:
        return False
    clock = s.clock[0]
    crowd = s.crowd[0]
    at_once = clock.live + crowd.thinking + s.block.shape[0] - clock.cursor
    crowd.full = s.done.shape[0] - clock.done < at_once
    return bool(crowd.full)
