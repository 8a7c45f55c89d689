"""`report`: every figure that the data of a results folder allow, and the page; or a page of runs in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import polars as pl
from matplotlib.figure import Figure

from caps_fast.errors import InputError
from caps_fast.files import expect_no_link, whole
from caps_fast.report import figures, parts, reading, regions, states
from caps_fast.report.folder import Results, read_folder, results_of
from caps_fast.report.page import library, page
from caps_fast.report.rates import rate_figure
from caps_fast.report.style import policy_name, save
from caps_fast.sweep.alike import Alike, alike, alike_at_one_rate

if TYPE_CHECKING:
    from caps_fast.results import Result

BOTH = (".png", ".svg")


def write_report(folder: str | Path, out: str | Path | None = None) -> list[Path]:
    """Write figures (PNG and SVG) and `report.html` into `out`, by default the folder's `report`; returns the files,
    the page last.

    Raises InputError as `read_folder` does, or if nothing can be written.
    """
    return write_results(read_folder(folder), report_folder(folder, out))


def report_folder(folder: str | Path, out: str | Path | None = None) -> Path:
    """The folder of a folder's report. Raises InputError if it is a link."""
    if out is None:
        expect_no_link(Path(folder) / "report", "a folder")
    return Path(folder) / "report" if out is None else Path(out)


def write_results(results: Results, target: Path) -> list[Path]:
    """As `write_report`, for results in memory. Raises InputError if nothing can be written."""
    library()  # before anything is written, since it may fail
    with whole(target / ".probe", follow=False) as probe:
        target.mkdir(parents=True, exist_ok=True)
        probe.touch()
    (target / ".probe").unlink()
    written, pictures = [], {}
    for name, (caption, sentence, figure) in all_figures(results).items():
        files = save(figure, target / name, BOTH)
        written += files
        pictures[name] = (caption, sentence, files[1])
    with whole(target / "report.html", follow=False) as beside:
        beside.write_text(page(results, pictures), encoding="utf-8")
    return [*written, target / "report.html"]


def write_page(
    found: Result | Sequence[Result] | pl.DataFrame | Mapping[str, pl.DataFrame],
    path: str | Path,
    name: str | None = None,
) -> Path:
    """Write one self-contained HTML page of one run, of several on the same requests, or of frames; returns the path.

    found   a `Result` or several, a frame of runs (as `sweep.read` or `compare` use), or frames by name: `runs`, and of
            `series`, `histograms`, `moves`, and the tables of `reproduce`, those that exist. Results that recorded a
            series (`Recording(sample_every_s=...)`) get timelines.
    path    a file that ends in .html
    name    for the title; None = the file's name

    Raises InputError for another ending, for frames of another kind, and if the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in {".html", ".htm"}:
        raise InputError(f"{path}: page: expected a name ending in .html")
    text = page(results_of(found, name or target.stem), {})
    with whole(target) as beside:
        beside.write_text(text, encoding="utf-8")
    return target


def all_figures(results: Results) -> dict[str, tuple[str, str, Figure]]:
    """Captions, sentences on what to see, and figures by file name, one set per preset."""
    found: dict[str, tuple[str, str, Figure]] = {}
    for (key,), runs in results.runs.group_by("preset", maintain_order=True):
        preset = str(key)
        tables = {
            name: frame.filter(pl.col("preset") == preset)
            for name, frame in results.tables.items()
            if "preset" in frame.columns
        }
        mine = {name: frame for name, frame in tables.items() if not frame.is_empty()}
        name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in preset)
        curves, at_one_rate = alike(runs), alike_at_one_rate(runs)
        if curves.runs["rate_rps"].n_unique() > 1:
            caption = _caption("Against the request rate", preset, curves)
            found[f"rates-{name}"] = (caption, reading.of_rates(curves.runs), rate_figure(runs))
        rate = parts.rate_of(at_one_rate.runs)
        plane = figures.plane(at_one_rate.runs, fill(", ".join(filter(None, [f"at {rate}", at_one_rate.choice])), 85))
        caption = _caption(f"The SLO-carbon plane at {rate}", preset, at_one_rate)
        found[f"plane-{name}"] = (caption, reading.of_plane(at_one_rate.runs), plane)
        for table, kind, caption, read, draw in KINDS:
            if table in mine:
                shown = _caps_or_first(mine[table]) if "seed" in mine[table].columns else mine[table]
                who = policy_name(shown["policy"][0]) if "seed" in shown.columns else "CAPS"
                found[f"{kind}-{name}"] = (f"{caption.format(who)}, preset {preset}", read(shown), draw(shown))
        if "series" in mine and states.has_states(mine["series"]):
            found |= _of_states(_caps_or_first(mine["series"]), preset, name)
    return found


KINDS: tuple[tuple[str, str, str, Callable[[pl.DataFrame], str], Callable[[pl.DataFrame], Figure]], ...] = (
    (
        "savings",
        "cells",
        "Saving of {} over Round Robin by carbon level, category and tier",
        reading.of_cells,
        figures.cells,
    ),
    (
        "decomposition",
        "sources",
        "Sources of the saving, and physical bounds",
        reading.of_sources,
        figures.sources,
    ),
    ("series", "timeline", "Timeline of {}", reading.of_timeline, figures.timeline),
    ("histograms", "latencies", "Latencies by tier of {}", reading.of_latencies, figures.latencies),
)


def _of_states(series: pl.DataFrame, preset: str, name: str) -> dict[str, tuple[str, str, Figure]]:
    """Figures of replicas by state and of regions, one per region."""
    found: dict[str, tuple[str, str, Figure]] = {}
    who = policy_name(series["policy"][0])
    for region, rows in states.by_region(series):
        said = f"Replicas by state of {who}, region {region}, preset {preset}"
        found[f"states-{name}-{region}"] = (said, states.states_sentence(rows), states.states_figure(rows))
        if regions.has_regions(series):
            said = f"Region {region} of {who}, preset {preset}"
            found[f"region-{name}-{region}"] = (
                said,
                regions.region_sentence(series, region),
                regions.region_figure(series, region),
            )
    return found


def _caption(what: str, preset: str, shown: Alike) -> str:
    return ", ".join(part for part in (what, f"preset {preset}", shown.choice) if part)


def _caps_or_first(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of one run: CAPS if present, on the first seed."""
    policy = "caps" if "caps" in frame["policy"] else frame["policy"][0]
    own = frame.filter(pl.col("policy") == policy)
    return own.filter(pl.col("seed") == own["seed"].min())
