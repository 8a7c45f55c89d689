"""`report`: every figure that a results folder has the data for, and the page."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import polars as pl
from matplotlib.figure import Figure

from caps_fast.files import expect_no_link, whole
from caps_fast.report import figures
from caps_fast.report.folder import Results, read_folder
from caps_fast.report.page import library, page
from caps_fast.report.rates import rate_figure
from caps_fast.report.style import name_of, save
from caps_fast.sweep.alike import Alike, alike, alike_at_one_rate

BOTH = (".png", ".svg")


def write_report(folder: str | Path, out: str | Path | None = None) -> list[Path]:
    """Write figures (PNG and SVG) and `report.html` into `out`, by default the folder's `report`; the files written, the page last.

    Raises InputError as `read_folder` does, or where nothing can be written.
    """
    return write_results(read_folder(folder), report_folder(folder, out))


def report_folder(folder: str | Path, out: str | Path | None = None) -> Path:
    """Where the report of a folder goes. Raises InputError where a link in the folder itself leads away."""
    if out is None:
        expect_no_link(Path(folder) / "report", "a folder")
    return Path(folder) / "report" if out is None else Path(out)


def write_results(results: Results, target: Path) -> list[Path]:
    """As `write_report`, of results that are read. Raises InputError where nothing can be written."""
    library()  # before anything is written: it may be that it cannot be had
    with whole(target / ".probe", follow=False) as probe:
        target.mkdir(parents=True, exist_ok=True)
        probe.touch()
    (target / ".probe").unlink()
    written, pictures = [], {}
    for name, (caption, figure) in all_figures(results).items():
        files = save(figure, target / name, BOTH)
        written += files
        pictures[name] = (caption, files[1])
    with whole(target / "report.html", follow=False) as beside:
        beside.write_text(page(results, pictures), encoding="utf-8")
    return [*written, target / "report.html"]


def all_figures(results: Results) -> dict[str, tuple[str, Figure]]:
    """Captions and figures by file name, one set a preset."""
    found: dict[str, tuple[str, Figure]] = {}
    for (key,), runs in results.runs.group_by("preset", maintain_order=True):
        preset = str(key)
        tables = {name: frame.filter(pl.col("preset") == preset) for name, frame in results.tables.items() if "preset" in frame.columns}
        mine = {name: frame for name, frame in tables.items() if not frame.is_empty()}
        name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in preset)
        curves, at_one_rate = alike(runs), alike_at_one_rate(runs)
        if curves.runs["rate_rps"].n_unique() > 1:
            found[f"rates-{name}"] = (_caption("Against the request rate", preset, curves), rate_figure(runs))
        rate_rps = at_one_rate.runs["rate_rps"][0]
        rate = "the trace's own rate" if rate_rps is None else f"{rate_rps:g} requests a second"
        plane = figures.plane(at_one_rate.runs, fill(", ".join(filter(None, [f"at {rate}", at_one_rate.choice])), 85))
        found[f"plane-{name}"] = (_caption(f"The SLO-carbon plane at {rate}", preset, at_one_rate), plane)
        if "savings" in mine:
            found[f"cells-{name}"] = (
                f"Saving of CAPS over Round Robin by carbon level, category and tier, preset {preset}",
                figures.cells(mine["savings"]),
            )
        if "decomposition" in mine:
            found[f"sources-{name}"] = (
                f"Where the saving comes from, and the bounds of physics, preset {preset}",
                figures.sources(mine["decomposition"]),
            )
        for table, kind, draw in (("series", "timeline", figures.timeline), ("histograms", "latencies", figures.latencies)):
            if table in mine:
                chosen = _caps_or_first(mine[table])
                policy = chosen["policy"][0]
                found[f"{kind}-{name}"] = (
                    f"{'Timeline' if kind == 'timeline' else 'Latencies by tier'} of {name_of(policy)}, preset {preset}",
                    draw(chosen),
                )
    return found


def _caption(what: str, preset: str, shown: Alike) -> str:
    return ", ".join(part for part in (what, f"preset {preset}", shown.choice) if part)


def _caps_or_first(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of one run: CAPS if there, on the first seed."""
    policy = "caps" if "caps" in frame["policy"] else frame["policy"][0]
    own = frame.filter(pl.col("policy") == policy)
    return own.filter(pl.col("seed") == own["seed"].min())
