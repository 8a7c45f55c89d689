"""`reproduce`, `report` and `calibrate`: the paper beside ours, figures and a page of any results, parameters from targets."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import polars as pl

    from caps_fast.calibrate.outcome import Fitted


class Preset(StrEnum):
    """Presets to compare with the paper."""

    PAPER = "paper"
    MEASURED = "measured"
    BOTH = "both"


def register(app: typer.Typer) -> None:
    """Add the commands `reproduce`, `report` and `calibrate`."""
    app.command("reproduce")(reproduce)
    app.command("report")(report)
    app.command("calibrate")(calibrate)


def reproduce(
    out: Annotated[Path, typer.Option(help="folder for the results")],
    preset: Annotated[Preset, typer.Option(help="which preset to compare")] = Preset.BOTH,
    days: Annotated[float, typer.Option(help="simulated days of the comparisons at 10 req/s")] = 7.0,
    curve_days: Annotated[
        float | None, typer.Option(help="simulated days of the curves over rates, and of the other splits [default: 1, or --days where less]")
    ] = None,
    seeds: Annotated[int, typer.Option(help="seeds, from 0")] = 5,
    jobs: Annotated[int, typer.Option(min=0, max=4096, help="runs at a time; 0 = one a core")] = 0,
    page: Annotated[bool, typer.Option(help="also draw the figures and the page")] = True,
) -> None:
    """Put every table, figure and claim of the paper beside ours."""
    from caps_fast.reproduce.outcome import reproduce as run
    from caps_fast.reproduce.plan import PRESETS, Size
    from caps_fast.reproduce.table import table1
    from caps_fast.sweep import Workers

    names = PRESETS if preset is Preset.BOTH else (preset.value,)
    frames = run(names, Size(days, min(days, 1.0) if curve_days is None else curve_days, seeds), out, Workers(jobs))
    print(table1(frames["runs"]))
    print()
    print("\n".join(_claim_lines(frames["claims"])))
    if page:
        _write(out, None)


def report(
    folder: Annotated[Path, typer.Argument(help="results of reproduce, sweep or grid")],
    out: Annotated[Path | None, typer.Option(help="folder to write to; none = the folder's `report`")] = None,
) -> None:
    """Draw figures (PNG, SVG) and one self-contained page from a folder of results."""
    _write(folder, out)


def calibrate(
    targets: Annotated[Path, typer.Argument(help="targets, bounds and seeds in TOML; sweeps/calibration.toml is one")],
    out: Annotated[Path, typer.Option(help="folder for the search and its result; an earlier search there goes on")],
    trials: Annotated[int, typer.Option(min=1, help="trials in all, earlier ones counted")] = 200,
    jobs: Annotated[int, typer.Option(min=0, max=4096, help="threads; 0 = one a core")] = 0,
) -> None:
    """Find parameters of a scenario that give the figures in TARGETS, and judge them on other seeds."""
    from caps_fast.calibrate.outcome import calibrate as fit

    fitted = fit(targets, trials, out, jobs)
    print("\n".join(_fit_lines(fitted)))
    print(f"wrote {out / 'best.toml'}", file=sys.stderr)


def _write(folder: Path, out: Path | None) -> None:
    from caps_fast.report.folder import read_folder
    from caps_fast.report.tables import shown
    from caps_fast.report.write import report_folder, write_results
    from caps_fast.sweep.alike import choices

    results = read_folder(folder)
    files = write_results(results, report_folder(folder, out))
    if chosen := choices(results.runs):
        print(shown(chosen), file=sys.stderr)
    print(f"wrote {len(files) - 1} figures and {files[-1]}", file=sys.stderr)


def _claim_lines(claims: pl.DataFrame) -> list[str]:
    from caps_fast.report.tables import quantity

    presets = claims["preset"].unique(maintain_order=True).to_list()
    lines = [f"{'claim':76} {'paper':>14}" + "".join(f" {preset:>14} {'':11}" for preset in presets)]
    for _, block in claims.group_by("claim", maintain_order=True):
        first: dict[str, Any] = block.row(0, named=True)
        ours = "".join(f" {quantity(row['ours'], row['unit']):>14} {row['verdict']:11}" for row in block.iter_rows(named=True))
        lines.append(f"{first['text']:76} {quantity(first['paper'], first['unit']):>14}{ours}".rstrip())
    return lines


def _fit_lines(fitted: Fitted) -> list[str]:
    lines = [f"{'target':64} {'wanted':>9} {'tolerance':>9} {'training':>9} {'other seeds':>24}"]
    for row in fitted.fit.iter_rows(named=True):
        interval = f"{row['report']:.4g} ({row['report_low']:.4g} to {row['report_high']:.4g})"
        figures = " ".join(f"{row[name]:9.4g}" for name in ("value", "tolerance", "training"))
        lines.append(f"{row['target']:64} {figures} {interval:>24}  {'hit' if row['hit'] else 'missed'}")
    lines += ["", f"{'parameter':36} {'best':>12} {'moved to':>12} {'loss':>8}  most moved target, in tolerances"]
    lines.append(f"{'(the best)':61} {fitted.loss:8.3f}")
    for row in fitted.sensitivity.iter_rows(named=True):
        lines.append(f"{row['field']:36} {row['best']:>12} {row['to']:>12} {row['loss']:8.3f}  {row['most_moved']} {row['change']:+.1f}")
    return lines
