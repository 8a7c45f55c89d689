"""The arrays of fairness between those who wait (docs/model.md, section 13). No logic."""

from __future__ import annotations

from caps_fast.records import Record, f8, i1, i4, i8


class Fairness(Record):
    """Between whom, and what a token counts."""

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
    """How many owners wait in a queue, and who left it last."""

    owners: i4
    last_left: i4
