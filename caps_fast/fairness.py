"""The arrays of fairness among waiting requests (docs/model.md, section 13). No logic."""

from __future__ import annotations

from caps_fast.records import Record, f8, i1, i4, i8


class Fairness(Record):
    """The owners, and the weights of tokens."""

    owners: i8  # tenants, or tiers
    input_weight: f8
    output_weight: f8
    by_tenant: i1  # else by tier


class Line(Record):
    """The requests of one owner that wait in one queue, as those of a `Queue`; and the owner's counter there."""

    counter: f8  # weighted tokens served
    waiting: i8
    head: i4
    tail: i4
    root: i4
    place: i4  # among those who wait


class Turn(Record):
    """Number of owners that wait in a queue, and the one that left it last."""

    owners: i4
    last_left: i4
    blocked: i4  # the first of them fits nowhere, and nothing has happened since that would let another go first
