"""A single date or time in text; whole columns are read by `instants`, which needs Polars."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from caps_fast.errors import InputError

YEARS = (1900, 2200)


def parse_utc(text: str, origin: str) -> datetime:
    """A date or time, UTC unless it has an offset. Raises InputError naming `origin`."""
    try:
        value = datetime.fromisoformat(text)
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(f"{origin} {text!r}: expected a date or time like 2024-08-05 or 2024-08-05T06:00Z") from None
    if not YEARS[0] <= value.year <= YEARS[1]:
        raise InputError(f"{origin} {text!r}: expected a year from {YEARS[0]} to {YEARS[1]}")
    return value


def is_date(text: str) -> bool:
    """Whether the text has a date and no time of day."""
    return bool(re.fullmatch(r"\d{4}-?\d\d-?\d\d", text.strip()))


def looks_like_time(cell: str | None) -> bool:
    """Whether a cell reads as a date with or without a time of day."""
    return bool(cell and re.match(r"\d{4}-\d\d-\d\d|\d{1,2}[/.]\d{1,2}[/.]\d{4}|\d{4}/\d{1,2}/\d{1,2}", cell.strip()))
