"""`pareto`, `compare` and `tune`: answers from sweeps, and settings that no grid holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from caps_fast.sweep.tune import Tuned

Folder = Annotated[Path, typer.Argument(help="a sweep's folder, or a Parquet file of results")]
Where = Annotated[list[str] | None, typer.Option(help="only these runs, as rate_rps=10 or policy=caps,edf; may be repeated")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
CARBON, SLO = "carbon_g_per_1k_tokens", "slo_attainment"


def register(app: typer.Typer) -> None:
    """Add the commands `pareto`, `compare` and `tune`."""
    app.command("pareto")(pareto)
    app.command("compare")(compare)
    #app.command("tune")(tune)


def pareto(
    folder: Folder,
    x: Annotated[str, typer.Option(help="metric")] = CARBON,
    y: Annotated[str, typer.Option(help="metric")] = SLO,
    group: Annotated[str | None, typer.Option(help="a front for each value of these columns, as policy,rate_rps [default: the rate, if it varies]")] = None,
    where: Where = None,
    reference: Annotated[str | None, typer.Option(help="the hypervolume's reference point, as 0.2,0.5 [default: the worst means]")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the settings that no other beats in both metrics, over means of seeds, and the hypervolume of their front.

    Attainment, goodput and utilization count as better large, all else as better small.
    """
    from caps_fast.sweep import frames, read
    from caps_fast.sweep.pareto import pareto as fronts
    from caps_fast.sweep.summary import text_table

    point = None if reference is None else [_number(part, "--reference") for part in reference.split(",")]
    found = fronts(frames.where(read(folder), where or []), [x, y], None if group is None else group.split(","), point)
    if as_json:
        print(json.dumps([{**front.group, "hypervolume": front.hypervolume, "of": front.of, "settings": front.settings.to_dicts()} for front in found]))
        return
    for front in found:
        of = ", ".join(f"{name} {value}" for name, value in front.group.items())
        print(f"{of + ': ' if of else ''}{front.settings.height} of {front.of} settings; hypervolume {front.hypervolume:.6g}")
        print(text_table(front.settings.drop(front.group)) + "\n")


def compare(
    folder: Folder,
    baseline: Annotated[str, typer.Option(help="value of the factor that all others are compared with")] = "round-robin",
    metric: Annotated[list[str] | None, typer.Option(help="metric; may be repeated [default: SLO attainment, carbon, TTFT]")] = None,
    factor: Annotated[str, typer.Option(help="column whose values are compared")] = "policy",
    confidence: Annotated[float, typer.Option(help="of the intervals, between 0 and 1")] = 0.95,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Print paired differences from a baseline on the same requests, with confidence intervals."""
    from caps_fast.sweep import frames, read
    from caps_fast.sweep.compare import METRICS
    from caps_fast.sweep.compare import compare as differences
    from caps_fast.sweep.summary import text_table

    if not 0 < confidence < 1:
        raise InputError(f"--confidence {confidence:g}: expected a number between 0 and 1")
    found = differences(frames.where(read(folder), where or []), baseline, metric or METRICS, factor, confidence)
    if as_json:
        print(found.write_json())
        return
    print(f"difference from {factor} {baseline}, with {confidence:.0%} confidence intervals over paired seeds")
    print(text_table(found, rows=500))


def _number(text: str, origin: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{origin} {text!r}: expected a number") from None
