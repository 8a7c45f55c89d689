"""`sweep FILE`: many runs, on every core, into one folder, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from caps_fast.cli.options import Address, AsJson, Backend, ByPool, DryRun, Fresh, Jobs, RetryFailed
from caps_fast.cli.sweeping import run_plan


def register(app: typer.Typer) -> None:
    """Add the command `sweep`."""
    app.command("sweep")(sweep)


def sweep(
    file: Annotated[Path, typer.Argument(help="a sweep in TOML, such as sweeps/paper.toml")],
    out: Annotated[
        str | None, typer.Option(help="folder for the results, or an object store's URL [default: results/NAME]")
    ] = None,
    dry_run: DryRun = False,
    jobs: Jobs = 0,
    backend: Backend = "threading",
    address: Address = None,
    retry_failed: RetryFailed = False,
    fresh: Fresh = False,
    by_pool: ByPool = False,
    as_json: AsJson = False,
) -> None:
    """Run the sweep that a TOML file describes.

    After an interruption, the same command runs what is missing.
    """
    from dataclasses import replace

    from caps_fast.sweep import Workers, load

    run_plan(
        replace(load(file), by_pool=by_pool),
        out or f"results/{file.stem}",
        Workers(jobs, backend, address),
        (dry_run, retry_failed, fresh, as_json),
    )
