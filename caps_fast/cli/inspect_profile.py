"""`inspect TRACE --profile FILE`: write a workload that resembles a trace, and compare the two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caps_fast.cli.talk import say

if TYPE_CHECKING:
    from caps_fast.traces import TraceFile


def write_profile(trace: TraceFile, path: str) -> dict[str, list[Any]]:
    """Write the workload file; returns figures by name: original, regenerated. Raises InputError."""
    from caps_fast.files import whole
    from caps_fast.workload.resemble import likeness, regenerated, workload_file

    text = workload_file(trace)
    with whole(Path(path)) as beside:
        beside.write_text(text, encoding="utf-8")
    told = f" --start {trace.starts_at.isoformat()}" if trace.starts_at else ""
    say(f"wrote {path}: run it with --workload {path}{told}")
    return likeness(trace, regenerated(path, trace))


def likeness_lines(likeness: Mapping[str, list[Any]]) -> Iterator[str]:
    """A table: original and regenerated, side by side."""
    from caps_fast.text_table import text_lines

    rows = []
    for name, values in likeness.items():
        rows.append([name.replace("_", " "), *("-" if value is None else f"{value:,.4g}" for value in values)])
    yield ""
    yield from text_lines(["", "original", "regenerated"], rows, [False, True, True])
