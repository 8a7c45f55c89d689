"""What the caller states about a carbon file, where the file does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from caps_fast.carbon.frame import KINDS, SCOPES
from caps_fast.errors import InputError
from caps_fast.instants import check_zone
from caps_fast.words import G_PER_KWH

COLUMNS = ("time", "value", "zone", "issued_at")
INTERVALS = ("start", "end")


@dataclass
class Declared:
    """Facts that a file does not state itself, under the names that `carbon.*`, `--carbon-*` and `read_carbon` share;
    and what a reader assumed.

    columns     our names (`COLUMNS`) to the file's
    time_zone   of times without an offset
    time_format of times, as strptime has it
    interval    which end of its interval a time is: start or end
    notes       lines that the user should see, added while reading
    """

    zone: str | None = None
    unit: str | None = None
    kind: str | None = None
    scope: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    time_zone: str | None = None
    time_format: str | None = None
    interval: str | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = dict(self.columns or {})
        for name, value, allowed in (
            ("unit", self.unit, tuple(G_PER_KWH)),
            ("kind", self.kind, KINDS),
            ("scope", self.scope, SCOPES),
            ("interval", self.interval, INTERVALS),
            *(("columns", name, COLUMNS) for name in self.columns),
        ):
            if value is not None and value not in allowed:
                raise InputError(f"{name} {value!r}: expected one of {', '.join(allowed)}")
        check_zone(self.time_zone, "time_zone")


def option(name: str) -> str:
    """How to state a fact: the field of a scenario and the option of a command."""
    return f"carbon.{name} (--carbon-{name.replace('_', '-')})"
