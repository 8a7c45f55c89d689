"""`calibrate`: parameters of a scenario from the figures that it should reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caps_fast.cli.options import Jobs
from caps_fast.cli.talk import say

if TYPE_CHECKING:
    from caps_fast.calibrate.outcome import Fitted


def register(app: typer.Typer) -> None:
    """Add the command `calibrate`."""
    app.command("calibrate")(calibrate)


def calibrate(
    targets: Annotated[Path, typer.Argument(help="targets, bounds and seeds in TOML; sweeps/calibration.toml is one")],
    out: Annotated[Path, typer.Option(help="folder for the search and its result; an earlier search there is resumed")],
    trials: Annotated[int, typer.Option(min=1, help="number of trials, including earlier ones")] = 200,
    jobs: Jobs = 0,
) -> None:
    """Fit parameters of a scenario to given figures.

    The result is judged on seeds that the search does not use.
    """
    from caps_fast.calibrate.outcome import calibrate as fit

    fitted = fit(targets, trials, out, jobs)
    print("\n".join(_fit_lines(fitted)))
    say(f"wrote {out / 'best.toml'}")


def _fit_lines(fitted: Fitted) -> list[str]:
    lines = [f"{'target':64} {'wanted':>9} {'tolerance':>9} {'training':>9} {'other seeds':>24}"]
    for row in fitted.fit.iter_rows(named=True):
        interval = f"{row['report']:.4g} ({row['report_low']:.4g} to {row['report_high']:.4g})"
        figures = " ".join(f"{row[name]:9.4g}" for name in ("value", "tolerance", "training"))
        lines.append(f"{row['target']:64} {figures} {interval:>24}  {'hit' if row['hit'] else 'missed'}")
    lines += ["", f"{'parameter':36} {'best':>12} {'moved to':>12} {'loss':>8}  most moved target, in tolerances"]
    lines.append(f"{'(the best)':61} {fitted.loss:8.3f}")
    for row in fitted.sensitivity.iter_rows(named=True):
        lines.append(
            f"{row['field']:36} {row['best']:>12} {row['to']:>12} {row['loss']:8.3f}  {row['most_moved']} "
            f"{row['change']:+.1f}"
        )
    return lines
