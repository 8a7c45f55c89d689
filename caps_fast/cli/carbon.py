"""`fetch-carbon` and `forecast-error`: getting carbon intensity, and how well it can be forecast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.carbon.fetch import Query


def register(app: typer.Typer) -> None:
    """Add the commands `fetch-carbon` and `forecast-error`."""
    app.command("fetch-carbon")(fetch_carbon)
    app.command("forecast-error")(forecast_errors)


def fetch_carbon(
    zone: Annotated[str, typer.Option(help="zone or region, in the provider's own terms (US-CAL-CISO, CAISO_NORTH)")],
    start: Annotated[str, typer.Option("--from", help="first time, UTC unless it has an offset")],
    end: Annotated[str, typer.Option("--to", help="time at which to stop")],
    out: Annotated[Path, typer.Option(help="file to write: .csv or .parquet, in the common schema")],
    provider: Annotated[str, typer.Option(help="electricitymaps or watttime")] = "electricitymaps",
    scope: Annotated[str | None, typer.Option(help="Electricity Maps: lifecycle (default) or direct; WattTime: direct")] = None,
    kind: Annotated[str | None, typer.Option(help="WattTime: marginal (default) or average; Electricity Maps: average")] = None,
    step: Annotated[str | None, typer.Option(help="Electricity Maps: hourly (default), 15_minutes or 5_minutes; WattTime: 5_minutes")] = None,
    cache: Annotated[Path | None, typer.Option(help="folder for kept answers; none = caps-fast in the user's cache folder")] = None,
) -> None:
    """Fetch observed carbon intensity (key from ELECTRICITYMAPS_API_KEY, or WATTTIME_USER and WATTTIME_PASSWORD)."""
    from datetime import UTC, datetime

    from caps_fast.caches import cache_folder
    from caps_fast.carbon.fetch import PROVIDERS, Query, fetch
    from caps_fast.carbon.frame import find_gaps
    from caps_fast.files import expect_outputs, whole
    from caps_fast.instants import parse_utc

    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"--out {out}: expected a name that ends in .csv or .parquet")
    expect_outputs({"--out": out}, ())
    chosen = PROVIDERS.get(provider)
    defaults = (chosen.kinds[0], chosen.scopes[0], chosen.steps[0]) if chosen else ("", "", "")
    query = Query(provider, zone, parse_utc(start, "--from"), parse_utc(end, "--to"), kind or defaults[0], scope or defaults[1], step or defaults[2])
    frame = fetch(query, cache or cache_folder("carbon"), datetime.now(UTC), _progress)
    with whole(out) as beside:
        if out.suffix == ".csv":
            frame.write_csv(beside, datetime_format="%Y-%m-%dT%H:%M:%SZ")
        else:
            frame.write_parquet(beside)
    times = frame["valid_at"]
    gaps = find_gaps(times)
    typer.echo(
        f"{out}: {frame.height} samples from {times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC, {query.kind}, {query.scope}", err=True
    )
    if gaps.height:
        after = gaps["after"][0]
        typer.echo(f"{out}: {gaps['missing'].sum()} samples are missing in {gaps.height} gaps, the first after {after:%Y-%m-%d %H:%M} UTC", err=True)


def forecast_errors(
    file: Annotated[str, typer.Argument(help="carbon file with some months of observed values")],
    format: Annotated[str | None, typer.Option(help="name of the file's format; none = detect from content")] = None,
    zone: Annotated[str | None, typer.Option(help="zone to take, where the file has several")] = None,
    scope: Annotated[str, typer.Option(help="lifecycle or direct")] = "lifecycle",
    kind: Annotated[str, typer.Option(help="average or marginal")] = "average",
    unit: Annotated[str | None, typer.Option(help="unit of a plain file: g/kWh, kg/MWh or lb/MWh")] = None,
    fill_gaps: Annotated[str, typer.Option(help="no, previous or linear")] = "no",
    history_days: Annotated[float, typer.Option(min=1, help="days before the first forecast")] = 60.0,
    hours: Annotated[int, typer.Option(min=1, max=240, help="hours to forecast")] = 96,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Mean absolute percentage error of every forecaster on a carbon file, by lead day, beside CarbonCast's published figures."""
    from caps_fast.carbon.formats import read_carbon
    from caps_fast.carbon.skill import CARBONCAST, error_table
    from caps_fast.carbon.trace import carbon_trace
    from caps_fast.scenario import preset

    given = {"file": file, "format": format, "zone": zone, "scope": scope, "kind": kind, "unit": unit, "fill_gaps": fill_gaps}
    fields = {f"carbon.{name}": value for name, value in given.items()} | {"monitor.forecast_hours": hours}
    scenario = preset("measured").replace(fields)
    trace = carbon_trace(scenario.fleet.only_region.carbon, 0.0)
    if read_carbon(file, format, unit=unit)["issued_at"].is_not_null().any():
        scenario = scenario.replace({"monitor.forecast": "file", "monitor.forecast_file": file})
    for warning in trace.warnings:
        typer.echo(warning, err=True)
    table = error_table(scenario.fleet.only_region.monitor, trace, history_days, seed=0)
    if as_json:
        published = [
            {"forecaster": f"CarbonCast {name}", **{f"day_{day}": value for day, value in enumerate(row, 1)}} for name, row in CARBONCAST.items()
        ]
        print(
            json_text(
                {"file": file, "zone": trace.zone, "kind": trace.kind, "scope": trace.scope, "measured": table.to_dicts(), "published": published}
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


def _progress(queries: list[Query]) -> Iterator[Query]:
    import sys

    with typer.progressbar(queries, label="fetching", file=sys.stderr, hidden=len(queries) < 2) as shown:
        yield from shown
