"""`compare`: paired differences from a baseline, on the same requests."""

from __future__ import annotations

from typing import Annotated

import typer

from caps_fast.cli.completion import complete_metric
from caps_fast.cli.options import AsJson, Folder, Where
from caps_fast.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command `compare`."""
    app.command("compare")(compare)


def compare(
    folder: Folder,
    baseline: Annotated[
        str, typer.Option(help="value of the factor with which all others are compared")
    ] = "round-robin",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "--metrics",
            autocompletion=complete_metric,
            help="metric, or `bill` for its parts; repeatable [default: SLO, carbon, TTFT]",
        ),
    ] = None,
    factor: Annotated[str, typer.Option(help="column whose values are compared")] = "policy",
    confidence: Annotated[float, typer.Option(help="confidence of the intervals, between 0 and 1")] = 0.95,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Compare policies with a baseline, on the same requests.

    Prints paired differences with confidence intervals.
    """
    from caps_fast.sweep import frames, read
    from caps_fast.sweep.compare import METRICS, followers
    from caps_fast.sweep.compare import compare as differences
    from caps_fast.sweep.summary import text_table

    if not 0 < confidence < 1:
        raise InputError(f"--confidence {confidence:g}: expected a number between 0 and 1")
    runs = frames.where(read(folder), where or [])
    found = differences(runs, baseline, metric or METRICS, factor, confidence)
    if as_json:
        print(found.write_json())
        return
    print(f"difference from {factor} {baseline}, with {confidence:.0%} confidence intervals over paired seeds")
    if along := followers(runs, factor):
        print(f"also different: {', '.join(along)}")
    print(text_table(found.drop(along), rows=500))
