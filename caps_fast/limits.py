"""The limits of what may wait, as arrays (docs/model.md, section 12). No logic."""

from __future__ import annotations

from caps_fast.records import Record, f8, i8

NO_LIMIT = 2**62


class Limits(Record):
    """Greatest load of a queue at which an arrival of a tier is accepted; NO_LIMIT or inf without a limit."""

    waiting: i8  # requests, including itself
    waiting_tokens: i8  # of prompts, including its own
    ttft_s: f8  # predicted
