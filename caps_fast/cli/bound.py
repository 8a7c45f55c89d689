"""`bound`: carbon that no policy can go below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.cli.options import AsJson, Days, Picture, Rate, Scenario, Seed, Set
from caps_fast.cli.scenarios import changed, scenario_of, stated
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.bounds import Bound


def register(app: typer.Typer) -> None:
    """Add the command `bound`."""
    app.command("bound")(bound)


def bound(
    scenario: Scenario = "paper",
    attainment: Annotated[
        str,
        typer.Option(
            help="least share of each tier's requests that meet their SLO; or one per tier, as gold=0.97,silver=0.95"
        ),
    ] = "1",
    finished: Annotated[float, typer.Option(help="least share of all requests that finish")] = 1.0,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="all replicas stay on, and draw idle power until the arrivals end")
    ] = False,
    slot_s: Annotated[
        float | None,
        typer.Option(help="greatest length of a time slot, seconds; shorter ones give a higher bound [default: 300]"),
    ] = None,
    rate: Rate = None,
    days: Days = None,
    seed: Seed = None,
    set_: Set = None,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:
    """Compute the least carbon that any policy could reach.

    A linear program that knows all requests and the whole grid in advance (docs/bound.md).

    Compare it with `bill_kg` of `run`; `run --over-bound` prints both and their ratio, at the SLO attainment of each
    run.
    """
    from caps_fast.bounds import bound as least
    from caps_fast.files import expect_outputs, expect_picture

    given = {"workload.rate_rps": rate, "days": days, "seed": seed}
    config = changed(scenario_of(scenario), stated(given), set_)
    if picture is not None:
        expect_picture(picture)
        expect_outputs({"--picture": picture}, {scenario, *config.input_files})
    found = least(config, _shares(attainment), finished=finished, fixed=fixed, slot_s=slot_s)
    told = found.told()
    print(json_text(told, indent=1) if as_json else "\n".join(_lines(found, told)))
    if picture is not None:
        from caps_fast.report.plan import plan_figure
        from caps_fast.report.style import save

        save(plan_figure(found), picture)


def _shares(text: str) -> float | dict[str, float]:
    """One share, or one per tier. Raises InputError."""
    from caps_fast.spelled import pairs

    if "=" in text:
        return {tier: _share(share) for tier, share in pairs(text, "--attainment").items()}
    return _share(text)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"--attainment {text!r}: expected a share from 0 to 1, or one per tier as gold=0.97,silver=0.95"
        ) from None


def _lines(found: Bound, told: dict[str, Any]) -> list[str]:
    shares = ", ".join(f"{tier} {100 * share:.4g} %" for tier, share in told["attainment"].items())
    off = "on, idle ones draw idle power" if told["fixed"] else "off while idle"
    return [
        f"{told['bound_kg']:,.6g} kg: no policy emits less for these {told['requests']:,} requests",
        f"  SLO met     {shares}",
        f"  finished    {100 * told['finished']:.4g} %",
        f"  replicas    {told['busy_replicas']:.3g} of {told['replicas']:,} busy on average until the arrivals "
        f"end; {off}",
        f"  energy      {told['bound_kwh']:,.6g} kWh in the plan of least carbon",
        f"  slots       {told['slots']:,} of {told['slot_s']:g} s at most",
    ]
