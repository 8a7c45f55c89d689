"""Matplotlib figures as SVG inside the page: text stays text, colours of ink and paper follow the reader's theme."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from caps_fast.report.style import FAINT, GRID, INK, RC, STATE_COLOURS

THEMED = {
    INK: "--ink",
    "#000000": "--ink",
    FAINT: "--faint",
    GRID: "--line",
    "#ffffff": "--page",
    STATE_COLOURS["off"].lower(): "--off",
}
COLOUR = re.compile(r"(fill|stroke): (#[0-9a-f]{6})")
NAME = re.compile(r'(\bid="|href="#|url\(#)')
LONG = re.compile(r"(?<![\w#.])\d+\.\d{3,}")  # of coordinates: a hundredth of a point is finer than any screen
BACKGROUND: dict[str, Any] = {"facecolor": "none", "edgecolor": "none"}


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an `<svg>` with role `img` and a label; ids in it begin with `name`, which no other figure of
    the page has.
    """
    buffer = io.StringIO()
    with mpl.rc_context(RC | {"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's fonts draw the text
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}, **BACKGROUND
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = COLOUR.sub(lambda found: f"{found[1]}: {_themed(found[2])}", text)
    text = LONG.sub(lambda found: f"{float(found[0]):.2f}", text)
    text = NAME.sub(lambda found: f"{found[1]}{name}-", text)
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1
    )
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" focusable="false" ', 1))


def _themed(colour: str) -> str:
    variable = THEMED.get(colour)
    return f"var({variable})" if variable else colour
