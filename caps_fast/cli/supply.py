"""`supply`: solar, wind and battery supply of a run, and the design space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.declared import CARBON, declaring
from caps_fast.cli.json_text import json_text
from caps_fast.cli.options import Days, Rate, Seed, Set
from caps_fast.cli.scenarios import changed, scenario_of, stated
from caps_fast.cli.talk import say
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.supply import Supplied
    from caps_fast.supply.assumptions import Assumptions

SHOWN = 12  # designs of a front in the text


def register(app: typer.Typer) -> None:
    """Add the command `supply`."""
    app.command("supply")(declaring(CARBON)(supply))


def supply(
    run: Annotated[str, typer.Argument(help="scenario in TOML, preset, or a Parquet file written by supply --out")],
    solar: Annotated[
        str | None,
        typer.Option(
            help="solar: a size (20 = 20MW, 500kW), a CSV file of MW, or capacity factors and a size, sun.csv@20MW"
        ),
    ] = None,
    wind: Annotated[str | None, typer.Option(help="wind: as --solar")] = None,
    battery: Annotated[
        str | None,
        typer.Option(help="battery: energy and power, as 80,20 (MWh, MW) or 80kWh,20kW; energy alone means 4 h"),
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="carbon intensity file of the grid [default: the scenario's]")
    ] = None,
    wait: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="share of busy replicas' energy that may move to a later time of its day"),
    ] = 0.0,
    limit: Annotated[str | None, typer.Option(help="greatest power from the grid, as 40kW")] = None,
    reduce: Annotated[
        list[str] | None,
        typer.Option(
            help="greatest power from the grid between two times, as 15kW@26..29 (hours from t = 0); repeatable"
        ),
    ] = None,
    rules: Annotated[
        str, typer.Option(help="rules of the battery: greedy, price, carbon; best and best-cost = by linear program")
    ] = "greedy,price,carbon,best",
    over: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "design space, as solar=0..40:10, wind=..., battery=0,20kWh or wait=0,0.2, with the first rule; "
                "repeatable"
            )
        ),
    ] = None,
    region: Annotated[str | None, typer.Option(help="region to supply, if the fleet has several")] = None,
    policy: Annotated[str | None, typer.Option("--policy", "--policies", help="policy of the run")] = None,
    rate: Rate = None,
    days: Days = None,
    seed: Seed = None,
    repeat_days: Annotated[
        float | None, typer.Option(help="repeat the run's whole days up to this number of days, as 365")
    ] = None,
    set_: Set = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(help="assumption about the supply, as cycles=6000; repeatable (docs/supply.md)"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Parquet file to write with flows by rule and sample, or the designs of --over")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="picture of the flows, or the design space, to write (PNG, PDF or SVG)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON: one row per rule, or per design")] = False,
    *,
    declared: dict[str, Any],
) -> None:
    """Size solar, wind and batteries for a run.

    A site is supplied from its own solar and wind plants first, then from a battery, then from the grid. Battery rules
    are compared with the optimum.

    Models, figures and sources: docs/supply.md.
    """
    from caps_fast.files import expect_outputs, expect_parquet, expect_picture
    from caps_fast.supply import supply as find
    from caps_fast.supply.designs import axes_of

    if picture is not None:
        expect_picture(picture)
    given = _assumptions(assume or [])
    axes = axes_of(over) if over else None
    fields = {"policy.name": policy, "workload.rate_rps": rate, "days": days, "seed": seed, "carbon.file": grid}
    changes = stated(fields) | declared
    inputs = [run, *(one.rpartition("@")[0] or one for one in (solar, wind) if one)]
    config: Any = run
    if run.endswith(".parquet"):
        if changes or set_:
            raise InputError(
                f"{next(iter(changes), '--set')}: {run} is the result of a run; expected a scenario, whose fields can "
                "change"
            )
    else:
        config = changed(scenario_of(run), changes, set_)
        inputs += config.input_files
    expect_outputs({"--out": out, "--picture": picture}, inputs)
    expect_parquet({"--out": out})
    names = [name.strip() for name in rules.split(",")]
    found = find(
        config,
        solar,
        wind,
        battery,
        wait=wait,
        limit=limit,
        reductions=reduce or [],
        rules=names,
        region=region,
        days=repeat_days,
        over=axes,
        given=given,
    )
    for note in found.notes:
        say(f"note: {note}")
    if out is not None:
        _write(found, out)
    if picture is not None:
        from caps_fast.report.supplies import supply_picture

        supply_picture(found, picture)
        say(f"drew {picture}")
    if as_json:
        print(json_text(found.rows() if found.designs is None else found.designs.to_dicts(), indent=1))
    else:
        print("\n".join(_lines(found) if found.designs is None else _design_lines(found)))


def _assumptions(pairs: list[str]) -> Assumptions:
    from pydantic import ValidationError

    from caps_fast.section import message_of
    from caps_fast.supply.assumptions import Assumptions

    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name.strip() in given:
            raise InputError(f"--assume {pair!r}: expected a field and its value, once each, as cycles=6000")
        if name.strip() not in Assumptions.model_fields:
            raise InputError(f"--assume {pair!r}: unknown field; expected one of {', '.join(Assumptions.model_fields)}")
        given[name.strip()] = value.strip()
    try:
        return Assumptions(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--assume {first['loc'][0]}={given[str(first['loc'][0])]}: {message_of(first)}") from None


def _write(found: Supplied, out: Path) -> None:
    from caps_fast.files import whole

    frame = found.flows if found.designs is None else found.designs
    with whole(out) as beside:
        frame.write_parquet(beside)
    say(f"wrote {len(frame):,} rows to {out}")


def _lines(found: Supplied) -> list[str]:
    import numpy as np

    from caps_fast.text_table import text_lines

    rows = found.rows()
    design, site = found.dispatches[0].design, found.site
    priced = any(row["cost"] for row in rows)
    columns = {
        "matched by sample %": ("matched_by_sample", 100.0),
        "imported kWh": ("imported_kwh", 1.0),
        "curtailed kWh": ("curtailed_kwh", 1.0),
        "peak import kW": ("peak_import_kw", 1.0),
        "operational kg": ("operational_kg", 1.0),
        "embodied kg": ("embodied_kg", 1.0),
        "total kg": ("total_kg", 1.0),
        **({"cost": ("cost", 1.0)} if priced else {}),
        **({"unserved kWh": ("unserved_kwh", 1.0)} if np.isfinite(found.weather.limit_kwh).any() else {}),
        "cycles": ("cycles", 1.0),
    }
    cells = [[row["rule"], *(f"{row[name] * scale:,.5g}" for name, scale in columns.values())] for row in rows]
    grid_kg = float(site.load_kwh @ site.g_per_kwh) / 1000.0
    head = rows[0]
    return [
        f"{site.region}: {head['load_kwh']:,.6g} kWh in {site.years * 365.25:.4g} days; from the grid alone "
        f"{grid_kg:,.5g} kg",
        f"solar {design.solar_kw:,.6g} kW ({found.plants['solar'].source}): {head['solar_kwh']:,.6g} kWh; "
        f"wind {design.wind_kw:,.6g} kW ({found.plants['wind'].source}): {head['wind_kwh']:,.6g} kWh; "
        f"{100 * head['matched_in_all']:.4g} % of the load in all",
        f"battery {design.battery_kwh:,.6g} kWh, {design.battery_kw:,.6g} kW; {100 * design.wait_share:g} % of busy "
        "energy may move",
        *text_lines(["rule", *columns], cells, [False] + [True] * len(columns)),
    ]


def _design_lines(found: Supplied) -> list[str]:
    from caps_fast.text_table import text_lines

    assert found.designs is not None
    front = found.designs.filter("front").sort("operational_kg")
    least = found.designs.sort("total_kg").row(0, named=True)
    columns = {
        "solar kW": ("solar_kw", 1.0),
        "wind kW": ("wind_kw", 1.0),
        "battery kWh": ("battery_kwh", 1.0),
        "may move %": ("wait_share", 100.0),
        "matched by sample %": ("matched_by_sample", 100.0),
        "operational kg": ("operational_kg", 1.0),
        "embodied kg": ("embodied_kg", 1.0),
        "total kg": ("total_kg", 1.0),
    }
    shown = (
        front if front.height <= SHOWN else front[[round(i * (front.height - 1) / (SHOWN - 1)) for i in range(SHOWN)]]
    )
    rows = [("least", least), *(("", row) for row in shown.to_dicts())]
    cells = [[mark, *(f"{row[name] * scale:,.5g}" for name, scale in columns.values())] for mark, row in rows]
    some = "" if shown.height == front.height else f"; {shown.height} of these:"
    return [
        f"{found.designs.height:,} designs with rule {found.dispatches[0].rule}; {front.height} of them are "
        f"Pareto-optimal in operational and embodied carbon{some}",
        *text_lines(["total", *columns], cells, [False] + [True] * len(columns)),
    ]
