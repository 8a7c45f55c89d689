"""One self-contained page: a summary, tables, figures that fit every width and theme, interactive charts with their
library inside.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import jinja2
import polars as pl
from markupsafe import Markup

from caps_fast import __version__
from caps_fast.errors import InputError
from caps_fast.report import parts, tables
from caps_fast.report.folder import Results
from caps_fast.sweep.alike import alike, choices

TABLES = {
    "table1": tables.comparison_table,
    "headline": tables.headline_table,
    "own_sizes": tables.own_sizes_table,
    "predictor": tables.predictor_table,
}


def page(results: Results, pictures: Mapping[str, tuple[str, str, Path]]) -> str:
    """The page as HTML. `pictures` are captions, sentences and SVG files by name.

    All text from the results is escaped; charts get their data as JSON in which no tag can begin; the page's content
    security policy forbids all loading.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found, chosen = results.tables, choices(results.runs)
    shown = [parts.of_table(make(found[name])) for name, make in TABLES.items() if name in found]
    if not any(name in found for name in TABLES):
        block = pl.concat([alike(block).runs for _, block in results.runs.group_by("preset", maintain_order=True)])
        shown = [parts.of_table(tables.summary_table(block, chosen))]
    drawn = [part for part in (parts.bill(results), parts.states(found), parts.regions(found)) if part["blocks"]]
    groups = [
        group
        for group in (parts.rates(results.runs, chosen), parts.timelines(found), parts.latencies(found))
        if group["charts"]
    ]
    claims = tables.claims_table(found["claims"]) if "claims" in found else None
    sections = [*shown, *drawn] if claims else [*drawn, *shown]
    contents = [("summary", "Summary"), *([("claims", "Claims")] if claims else [])]
    contents += [(part["name"], part["short"]) for part in (*sections, *groups)]
    contents += [("figures", "Figures"), ("parameters", "Parameters")] if pictures else [("parameters", "Parameters")]
    requests = int(results.runs["requests"].sum()) if "requests" in results.runs.columns else 0
    return environment.from_string(_asset("page.html")).render(
        title=f"caps-fast: {results.name}",
        subtitle=(
            f"{results.runs.height:,} {'run' if results.runs.height == 1 else 'runs'}, {requests:,} requests; "
            f"caps-fast {__version__}."
        ),
        contents=contents,
        summaries=parts.summaries(results.runs),
        notes=parts.notes(results.runs),
        claims=claims,
        parts=sections,
        groups=groups,
        pictures=[
            {
                "name": name,
                "caption": caption,
                "sentence": sentence,
                "base64": base64.b64encode(path.read_bytes()).decode(),
            }
            for name, (caption, sentence, path) in pictures.items()
        ],
        parameters=tables.parameter_table(results.runs),
        css=Markup(_asset("page.css")),
        js=Markup(_asset("page.js")),
        vega=library(),
    )


def _asset(name: str) -> str:
    return files("caps_fast.report").joinpath(name).read_text(encoding="utf-8")


@cache
def library() -> Markup:
    """The charts' JavaScript. Raises InputError if it cannot be generated.

    A separate process generates it, isolated from the current folder: the library's engine aborts its process if
    address space is limited.
    """
    code = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=False)
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        raise InputError(
            f"report: the JavaScript of the charts cannot be generated ({how}): expected more address space (ulimit "
            "-v) "
            "and memory"
        )
    return Markup(done.stdout.decode().replace("</script", r"<\/script"))
