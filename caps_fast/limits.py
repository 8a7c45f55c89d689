"""The limits of what may wait, as arrays (docs/model.md, section 12). No logic."""

from __future__ import annotations

from caps_fast.records import Record, f8, i8

NO_LIMIT = 2**62


class Limits(Record):
    """What an arrival of a tier may find in its queue, or is rejected; NO_LIMIT or inf where it has no such limit."""

    waiting: i8  # requests, itself included
    waiting_tokens: i8  # of prompts, its own included
    ttft_s: f8  # predicted
