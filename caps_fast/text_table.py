"""Tables as text: long headings on two lines, numbers aligned to the right."""

from __future__ import annotations

from collections.abc import Sequence

SHORT = 6  # characters of a heading that stays on one line


def text_lines(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """The table's lines, two of them headings if any is long; `right`: columns that are aligned to the right."""
    heads = [_two_lines(text) for text in headings]
    cells = [[upper for upper, _ in heads], [lower for _, lower in heads], *rows]
    if not any(cells[0]):
        cells = cells[1:]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return [_line(row, widths, right) for row in cells]


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    placed = zip(row, widths, right, strict=True)
    return "  ".join(cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in placed).rstrip()


def _two_lines(heading: str) -> tuple[str, str]:
    """A heading broken so that the longer line is shortest; a short one, or a single word, is the lower line."""
    words = heading.split(" ")
    if len(heading) <= SHORT or len(words) == 1:
        return "", heading
    breaks = [(" ".join(words[:at]), " ".join(words[at:])) for at in range(1, len(words))]
    return min(breaks, key=lambda lines: max(map(len, lines)))


def counted(count: float, noun: str) -> str:
    """A count with its noun: `1 seed`, `2 seeds`, `0.5 days`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}{'' if count == 1 else 's'}"
