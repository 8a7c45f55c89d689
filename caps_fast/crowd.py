"""The arrays of sessions (docs/model.md, section 14). No logic."""

from __future__ import annotations

from caps_fast.records import Record, f8, i1, i2, i4, i8, u8


class Session(Record):
    """One conversation in progress, or one user: a random stream and its position."""

    number: i8
    stream: u8  # of its random draws
    drawn: i8  # turns drawn from it so far
    context_tokens: i8  # of the conversation so far
    tenant: i4
    turn: i4  # turns of the conversation so far
    kind: i2  # row of `crowd` that says what it does
    tier: i1
    task: i1
    origin: i1


class Thinking(Record):
    """A thinking session, and the time of its next turn."""

    due_s: f8
    session: i8


class Crowd(Record):
    """What sessions of one kind do; in the first row, how many there are of all kinds."""

    seed: i8  # first row, as the next four
    started: i8
    used: i8  # entries of `sessions` that have ever been used
    spare: i8  # of these, entries that are free
    thinking: i8
    goes_on: f8  # probability of another turn
    turns: i8  # of a conversation; 0 = by `goes_on`
    think_s: f8
    think_log_mean: f8
    think_log_sd: f8
    pause_s: f8
    explained: f8  # of the score of an answer's length: weight of its known part, and of the rest
    rest: f8
    most_context_tokens: i8
    most_output_tokens: i8
    long_from_tokens: i8  # category by the prompt
    agentic_from_tokens: i8
    think_law: i1
    closed: i1  # users come back
    full: i1  # first row: there may be no room to record more
