"""`forecast-value`: savings of a policy by the error of its forecast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.declared import CARBON, CLOCK, declaring
from caps_fast.cli.json_text import json_text
from caps_fast.cli.options import Days, Policies, Rate, Scenario, Seeds, Set, typed
from caps_fast.cli.scenarios import changed, scenario_of, stated
from caps_fast.cli.talk import say

if TYPE_CHECKING:
    from caps_fast.foresight import Value

FORECASTS = "perfect,noise:1,noise:2,noise:4,yesterday,persistence,learned"


def register(app: typer.Typer) -> None:
    """Add the command `forecast-value`."""
    app.command("forecast-value")(declaring(CARBON, CLOCK)(forecast_value))


def forecast_value(
    scenario: Scenario,
    policies: Policies = None,
    forecasts: Annotated[
        str,
        typer.Option(
            help=(
                "perfect, noise:K (K times monitor.forecast_error), persistence, yesterday, last-week, learned, "
                "carboncast, file:PATH"
            )
        ),
    ] = FORECASTS,
    forecast_file: Annotated[
        str | None, typer.Option(help="CarbonCast's file, for carboncast [default: --carbon, if it has forecasts]")
    ] = None,
    carbon: Annotated[str | None, typer.Option(help="carbon intensity file")] = None,
    grid: Annotated[
        list[str] | None, typer.Option(help="carbon intensity file; one study per file; repeatable")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="policy that savings are relative to [default: caps-no-carbon with CAPS and its variants, else edf]"
        ),
    ] = None,
    seeds: Seeds = "5",
    of: Annotated[str, typer.Option(help="carbon of the bill (all states), or of busy replicas only")] = "bill",
    confidence: Annotated[float, typer.Option(help="confidence of the intervals, between 0 and 1")] = 0.95,
    rate: Rate = None,
    days: Days = None,
    set_: Set = None,
    out: Annotated[Path | None, typer.Option(help="write the rows to this Parquet file")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="picture of saving against error to write (PNG, PDF or SVG)")
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, max=4096, help="groups of runs at a time; 0 = one per core")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="print JSON, one row per grid, region, policy and forecast")
    ] = False,
    *,
    declared: dict[str, Any],
) -> None:
    """Measure what better forecasts of carbon would save.

    Savings of policies under forecasts of different error, with intervals over seeds, by grid and region
    (docs/forecasts.md).
    """
    from caps_fast.files import expect_outputs, expect_parquet, expect_picture, whole
    from caps_fast.foresight import forecast_value as find
    from caps_fast.sweep import Workers
    from caps_fast.sweep.axes import policies as spelled_out
    from caps_fast.sweep.file import seed_axis

    if picture is not None:
        expect_picture(picture)
    given = {"workload.rate_rps": rate, "days": days, "carbon.file": carbon}
    config = changed(scenario_of(scenario), stated(given) | declared, set_)
    file = forecast_file or carbon
    inputs = [scenario, *config.input_files, *(grid or []), *filter(None, [file])]
    expect_outputs({"--out": out, "--picture": picture}, inputs)
    expect_parquet({"--out": out})
    found = find(
        config,
        spelled_out([name.strip() for name in policies.split(",")]) if policies is not None else (),
        forecasts.split(","),
        files={"carboncast": file} if file else {},
        grids=grid or [],
        baseline=baseline,
        seeds=[point[0] for point in seed_axis(seeds, typed("--seeds", "--seed")).points],
        of=of,
        confidence=confidence,
        workers=Workers(jobs),
    )
    for note in found.notes:
        say(f"note: {note}")
    if out is not None:
        with whole(out) as beside:
            found.rows.write_parquet(beside)
        say(f"wrote {found.rows.height:,} rows to {out}")
    if picture is not None:
        from caps_fast.report.foresight import value_picture

        value_picture(found, picture)
        say(f"drew {picture}")
    print(json_text(found.rows.to_dicts(), indent=1) if as_json else "\n".join(_lines(found)))


def _lines(found: Value) -> list[str]:
    from caps_fast.text_table import text_lines

    several = [name for name in ("grid", "region") if found.rows[name].n_unique() > 1]
    heads = [
        *several,
        "policy",
        "forecast",
        "error day 1 %",
        "day 2 %",
        f"{found.of} kg",
        "saving %",
        "of perfect %",
        "SLO met %",
        "without %",
    ]
    cells = []
    for row in found.rows.to_dicts():
        half = "" if row["high"] is None else f" ± {100 * (row['high'] - row['saving']):.2f}"
        figures = [row["error_day_1"], row["error_day_2"]]
        shown = [f"{100 * value:.1f}" if value == value else "-" for value in figures]  # noqa: PLR0124 - nan is not itself
        kept = "-" if row["of_perfect"] is None else f"{100 * row['of_perfect']:.1f}"
        names = [row[name] for name in (*several, "policy", "forecast")]
        slo = [f"{100 * row[name]:.2f}" for name in ("slo_attainment", "baseline_slo")]
        cells.append([*names, *shown, f"{row['kg']:,.4g}", f"{100 * row['saving']:.2f}{half}", kept, *slo])
    right = [False] * (len(several) + 2) + [True] * 7
    seeds = found.rows["seeds"][0]
    return [f"relative to {found.baseline}, on the same requests, {seeds} seeds", *text_lines(heads, cells, right)]
