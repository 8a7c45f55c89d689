"""One self-contained page: tables, interactive charts with their library inside, figures, all parameters."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from caps_fast import __version__
from caps_fast.errors import InputError
from caps_fast.report import charts, tables
from caps_fast.report.folder import Results
from caps_fast.report.style import NAMES
from caps_fast.sweep.alike import alike, choices


def page(results: Results, pictures: Mapping[str, tuple[str, Path]]) -> str:
    """The page as HTML. `pictures` are captions and SVG files by name.

    All text from the results is escaped; charts get their data as JSON in which no tag can begin; the page's policy forbids it to load anything.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("caps_fast.report").joinpath("page.html").read_text(encoding="utf-8"))
    found, chosen = results.tables, choices(results.runs)
    shown = [make(found[name]) for name, make in TABLES.items() if name in found]
    if not shown:
        shown = [tables.summary_table(pl.concat([alike(block).runs for _, block in results.runs.group_by("preset", maintain_order=True)]), chosen)]
    groups = [group for group in (_rates(results.runs, chosen), _timelines(found), _latencies(found)) if group["charts"]]
    claims = tables.claims_table(found["claims"]) if "claims" in found else None
    contents = [("claims", "Claims")] if claims else []
    contents += [(table["name"], table["heading"].split(",")[0]) for table in shown] + [(group["name"], group["heading"]) for group in groups]
    contents += [("figures", "Figures"), ("parameters", "Parameters")] if pictures else [("parameters", "Parameters")]
    requests = int(results.runs["requests"].sum()) if "requests" in results.runs.columns else 0
    return template.render(
        title=f"caps-fast: {results.name}",
        subtitle=f"{results.runs.height:,} runs, {requests:,} requests; caps-fast {__version__}.",
        contents=contents,
        claims=claims,
        tables=shown,
        groups=groups,
        pictures=[
            {"name": name, "caption": caption, "base64": base64.b64encode(path.read_bytes()).decode()} for name, (caption, path) in pictures.items()
        ],
        parameters=tables.parameter_table(results.runs),
        vega=library(),
    )


TABLES = {
    "table1": tables.comparison_table,
    "headline": tables.headline_table,
    "predictor": tables.predictor_table,
}


def _rates(runs: pl.DataFrame, chosen: str) -> dict[str, Any]:
    shown = [_chart(str(preset), charts.rates_and_plane(alike(block).runs)) for (preset,), block in runs.group_by("preset", maintain_order=True)]
    text = (
        "A click on a policy in the legend singles it out in every panel; a click on a point in the SLO-carbon plane enlarges its rate "
        "for all policies. Bars reach from the least to the greatest seed."
    )
    text += f" {tables.shown(chosen)}" if chosen else ""
    return {"name": "rates", "heading": "Against the request rate, and the SLO-carbon plane", "text": text, "charts": shown}


def _timelines(found: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    shown = [_chart(label, charts.timeline(block)) for label, block in _runs_of(found.get("series"))]
    text = "Held work waits in a pool's queue while its gate is closed. Power includes idle GPUs."
    return {"name": "timeline", "heading": "Pool by pool over time", "text": text, "charts": shown}


def _latencies(found: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    shown = [_chart(label, charts.latencies(block)) for label, block in _runs_of(found.get("histograms"))]
    return {
        "name": "latencies",
        "heading": "Latencies by tier",
        "text": "Each line is the share of requests that took longer than so long.",
        "charts": shown,
    }


def _runs_of(frame: pl.DataFrame | None) -> list[tuple[str, pl.DataFrame]]:
    """The first seed's runs: label and rows; CAPS first."""
    if frame is None or frame.is_empty():
        return []
    first = frame.filter(pl.col("seed") == pl.col("seed").min())
    blocks = [(preset, policy, block) for (preset, policy), block in first.group_by("preset", "policy", maintain_order=True)]
    blocks.sort(key=lambda block: block[1] != "caps")
    return [(f"{NAMES.get(str(policy), str(policy))}, preset {preset}", block) for preset, policy, block in blocks]


def _chart(label: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "json": Markup(json.dumps(spec, separators=(",", ":")).replace("<", r"\u003c"))}  # no tag can begin in it


@cache
def library() -> Markup:
    """The charts' JavaScript. Raises InputError where it cannot be had.

    It comes from a process of its own, which looks for nothing in the current folder: the engine in the library ends its process where address space
    is limited.
    """
    code = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=False)
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        raise InputError(f"report: the JavaScript of the charts cannot be made ({how}): expected more address space (ulimit -v) and memory")
    return Markup(done.stdout.decode().replace("</script", r"<\/script"))
