"""The record of each request of a run. No logic."""

from __future__ import annotations

from caps_fast.records import Record, f8, i1, i4, i8

FINISHED, REJECTED, UNFINISHED = range(3)
OUTCOMES = ("finished", "rejected", "unfinished")


class Done(Record):
    """One request that has finished, was rejected, or is unfinished at the end of the run."""

    seq: i8
    session: i8  # number of its session, and of its turn in the conversation
    arrival_s: f8
    released_s: f8
    admitted_s: f8
    first_token_s: f8
    finished_s: f8
    energy_j: f8
    carbon_g: f8
    input_tokens: i4
    output_tokens: i4
    tenant: i4
    turn: i4
    gpu: i4
    pool: i4
    tier: i1
    category: i1
    origin: i1  # row of `origins`
    met: i1
    outcome: i1  # one of OUTCOMES
