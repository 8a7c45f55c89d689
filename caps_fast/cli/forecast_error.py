"""`forecast-error`: the error of carbon forecasts."""

from __future__ import annotations

from typing import Annotated

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.cli.talk import say


def register(app: typer.Typer) -> None:
    """Add the command `forecast-error`."""
    app.command("forecast-error")(forecast_error)


def forecast_error(
    file: Annotated[str, typer.Argument(help="carbon file with some months of observed values")],
    format: Annotated[str | None, typer.Option(help="name of the file's format; none = detect from content")] = None,
    zone: Annotated[str | None, typer.Option(help="zone to use, if the file has several")] = None,
    scope: Annotated[str, typer.Option(help="lifecycle or direct")] = "lifecycle",
    kind: Annotated[str, typer.Option(help="average or marginal")] = "average",
    unit: Annotated[str | None, typer.Option(help="unit of a plain file: g/kWh, kg/MWh or lb/MWh")] = None,
    fill_gaps: Annotated[str, typer.Option(help="no, previous or linear")] = "no",
    history_days: Annotated[float, typer.Option(min=1, help="days before the first forecast")] = 60.0,
    hours: Annotated[int, typer.Option(min=1, max=240, help="hours to forecast")] = 96,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Measure the error of forecasts on a carbon file.

    Prints the mean absolute percentage error of every forecaster by lead day, with CarbonCast's published figures.
    """
    from caps_fast.carbon.formats import read_carbon
    from caps_fast.carbon.skill import CARBONCAST, error_table
    from caps_fast.carbon.trace import carbon_trace
    from caps_fast.scenario import preset

    given = {
        "file": file,
        "format": format,
        "zone": zone,
        "scope": scope,
        "kind": kind,
        "unit": unit,
        "fill_gaps": fill_gaps,
    }
    fields = {f"carbon.{name}": value for name, value in given.items()} | {"monitor.forecast_hours": hours}
    scenario = preset("measured").replace(fields)
    trace = carbon_trace(scenario.fleet.only_region.carbon, 0.0)
    if read_carbon(file, format, unit=unit)["issued_at"].is_not_null().any():
        scenario = scenario.replace({"monitor.forecast": "file", "monitor.forecast_file": file})
    for warning in trace.warnings:
        say(warning)
    table = error_table(scenario.fleet.only_region.monitor, trace, history_days, seed=0)
    if as_json:
        published = [
            {"forecaster": f"CarbonCast {name}", **{f"day_{day}": value for day, value in enumerate(row, 1)}}
            for name, row in CARBONCAST.items()
        ]
        print(
            json_text(
                {
                    "file": file,
                    "zone": trace.zone,
                    "kind": trace.kind,
                    "scope": trace.scope,
                    "measured": table.to_dicts(),
                    "published": published,
                }
            )
        )
        return
    print(f"Mean absolute percentage error by lead day: {file}, {trace.zone}, {trace.kind}, {trace.scope}")
    print(f"One forecast of {hours} h a day, the first after {history_days:g} days")
    _print_rows(table.columns[1:], [(row[0], row[1:]) for row in table.rows()])
    print("\nPublished: CarbonCast, July-December 2021, life-cycle")
    _print_rows(("day_1", "day_2", "day_3", "day_4"), list(CARBONCAST.items()))


def _print_rows(columns: list[str] | tuple[str, ...], rows: list[tuple[str, tuple[float | None, ...]]]) -> None:
    print(f"{'':12}" + "".join(f"{name.replace('_', ' '):>8}" for name in columns))
    for name, values in rows:
        print(f"{name:12}" + "".join(f"{value:8.1f}" if value is not None else f"{'-':>8}" for value in values))
