"""Style of figures: colours that colour-blind readers can distinguish, markers and dashes for print without colour;
atomic writing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from caps_fast.files import expect_picture, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, GRID = "#222222", "#767676", "#dddddd"
# Okabe and Ito's palette.
COLOURS = {
    **{
        "round-robin": "#767676",
        "edf": "#E69F00",
        "slo-aware": "#56B4E9",
        "carbon-aware": "#009E73",
        "caps": "#D55E00",
    },
    **{"caps-no-predictor": "#CC79A7", "caps-no-carbon": "#0072B2", "caps-no-tiers": "#7A6A00"},
}
MARKERS = {
    **{"round-robin": "o", "edf": "s", "slo-aware": "^", "carbon-aware": "D", "caps": "*"},
    **{"caps-no-predictor": "v", "caps-no-carbon": "P", "caps-no-tiers": "X"},
}
HOLLOW = ("round-robin",)  # a ring, visible around another policy with the same values
DASHES = {"round-robin": (1, 1), "edf": (4, 1.5), "slo-aware": (6, 1.5, 1, 1.5), "carbon-aware": (3, 1)}
NAMES = {
    **{
        "round-robin": "Round Robin",
        "edf": "EDF",
        "slo-aware": "SLO-Aware",
        "carbon-aware": "Carbon-Aware",
        "caps": "CAPS",
    },
    **{
        "caps-no-predictor": "CAPS without predictor",
        "caps-no-carbon": "CAPS without carbon term",
        "caps-no-tiers": "CAPS without tiers",
    },
}
SPARE_COLOURS = ("#AA3377", "#44AA99", "#999933", "#6678C2", "#8C564B")  # visible on white and on black
TIER_COLOURS = {"gold": "#E69F00", "silver": "#767676", "bronze": "#A0522D"}
POOL_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#767676")
STATE_COLOURS = {  # of replicas: blue on, warm in transition, grey resting; they differ in lightness too
    **{"busy": "#0072B2", "idle": "#7FC4EE", "draining": "#CC79A7"},
    **{
        "waking": "#F0E442",
        "starting": "#E69F00",
        "stopping": "#B5651D",
        "asleep": "#9A9A9A",
        "off": "#EFEFEF",
        "failed": "#D55E00",
    },
}
RC: dict[Any, Any] = {
    **{
        "font.size": 8.5,
        "axes.titlesize": 9.5,
        "axes.labelsize": 8.5,
        "legend.fontsize": 8,
        "axes.titlelocation": "left",
    },
    **{
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": FAINT,
        "axes.grid": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
    },
    **{
        "axes.axisbelow": True,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "caps-fast",
    },
}
WIDTH_IN = 4.2  # of a figure in the page, so that text is readable on a phone
LONGEST = 28  # letters of a name in a legend


def colour_of(policy: str, policies: Sequence[str]) -> str:
    """A policy's colour; users' own policies get spare ones, in order."""
    if policy in COLOURS:
        return COLOURS[policy]
    others = [name for name in policies if name not in COLOURS]
    return SPARE_COLOURS[others.index(policy) % len(SPARE_COLOURS)]


def policy_name(policy: str) -> str:
    """A policy's full name for readers; with its scale rule, if any, after a plus."""
    first, plus, rule = policy.partition(" + ")
    return f"{NAMES.get(first, first)}{plus}{rule}"


def name_of(policy: str) -> str:
    """A policy's name for readers, truncated for a legend; `$` would start a formula."""
    name = policy_name(policy)
    return (name if len(name) <= LONGEST else f"{name[:LONGEST]}...").replace("$", r"\$")


class Picture(Figure):
    """A figure that a notebook shows without pyplot, which would keep all figures in memory."""

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        with styled():
            self.savefig(content, format="png", dpi=100)
        return content.getvalue()


def new_figure(width_in: float, height_in: float) -> Picture:
    """An empty figure, drawn with `RC` in force (enter `styled()` around drawing)."""
    return Picture(figsize=(width_in, height_in), layout="constrained")


def styled() -> AbstractContextManager[None]:
    """A context with the common style of figures."""
    return mpl.rc_context(RC)


def save(figure: Figure, path: str | Path, forms: Sequence[str] = ()) -> list[Path]:
    """Write a figure atomically: to `path`, or with each of `forms` (.png, .svg, .pdf) as its ending; returns the
    files.

    Raises InputError for another ending, or if it cannot be written.
    """
    target = Path(path)
    files = [target.with_suffix(form) for form in forms] or [target]
    for file in files:
        expect_picture(file)
        with styled(), whole(file, follow=False) as beside:
            dates = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[file.suffix.lower()]
            figure.savefig(os.fspath(beside), format=file.suffix[1:].lower(), dpi=180, metadata=dates)
    return files


def percent(axis: str, axes: Axes) -> None:
    """Shares on this axis are shown as per cent."""
    getattr(axes, f"{axis}axis").set_major_formatter(lambda value, _: f"{100 * value:g}")


def span_of(end_s: float) -> tuple[float, str]:
    """Seconds of the unit in which a run of this length is drawn, and its name."""
    return (86400.0, "day") if end_s > 2 * 86400.0 else (3600.0, "hour") if end_s > 7200.0 else (60.0, "minute")


def columns_of(entries: int) -> int:
    """Columns of a legend below a figure: one line of up to four entries, else two."""
    return entries if entries <= 4 else -(-entries // 2)
