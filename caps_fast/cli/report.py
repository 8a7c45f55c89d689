"""`report`: figures and one page from a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from caps_fast.cli.talk import say


def register(app: typer.Typer) -> None:
    """Add the command `report`."""
    app.command("report")(report)


def report(
    folder: Annotated[Path, typer.Argument(help="results of reproduce, sweep or grid")],
    out: Annotated[Path | None, typer.Option(help="folder to write to; none = the folder's `report`")] = None,
) -> None:
    """Draw figures and a page from a folder of results.

    Figures are PNG and SVG; the page is one self-contained file.
    """
    write_page(folder, out)


def write_page(folder: Path, out: Path | None) -> None:
    """Write the figures and the page of a folder, by default into its `report`."""
    from caps_fast.report.folder import read_folder
    from caps_fast.report.tables import shown
    from caps_fast.report.write import report_folder, write_results
    from caps_fast.sweep.alike import choices

    results = read_folder(folder)
    files = write_results(results, report_folder(folder, out))
    if chosen := choices(results.runs):
        say(shown(chosen))
    say(f"wrote {len(files) - 1} figures and {files[-1]}")
