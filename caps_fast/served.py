"""Whom a run serves: the limits of a tier, where requests come from, those on their way. No logic."""

from __future__ import annotations

from caps_fast.records import Record, f8, i1, i4, i8


class Tier(Record):
    """Limits of one SLO tier; inf where it has none."""

    ttft_s: f8
    tpot_s: f8
    e2e_s: f8
    ttft_after_release_s: f8
    deadline_s: f8
    roles: i8  # bit set of the roles it may enter
    regions: i8  # bit set of the regions that may serve it


class Origin(Record):
    """Where requests come from."""

    regions: i8  # bit set of the regions that may serve them
    home: i4  # region where their context lies; NONE = there is nothing to move


class Transit(Record):
    """Requests whose context is on its way to their queue: a pairing heap by when it gets there."""

    due_s: f8  # of the first
    moved: i8  # requests that have set out
    moved_tokens: i8  # their input
    root: i4
    queue: i4  # that the last arrival joins
    left: i1  # it has set out for it
