"""Solar, wind and battery supply of a run: energy, matching, carbon and cost after the run (docs/supply.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from caps_fast.errors import InputError
from caps_fast.results import Result
from caps_fast.scenario import Scenario
from caps_fast.simulation import simulate
from caps_fast.supply.assumptions import Assumptions
from caps_fast.supply.best import OBJECTIVES, best
from caps_fast.supply.designs import explore
from caps_fast.supply.limits import limits_kwh, reduction_of
from caps_fast.supply.outcome import RULES, Design, Dispatch, Weather, dispatch, figures, flags
from caps_fast.supply.plant import Plant, named, plant_of, size_kw
from caps_fast.supply.site import Site, read_site, site_of, site_table

HOURS = 4.0  # of a battery without a given power


@dataclass(frozen=True)
class Supplied:
    """A site with a supply.

    dispatches  one per rule, of the given design
    designs     one row per design of a design space; None without one
    """

    site: Site
    weather: Weather
    plants: dict[str, Plant]
    given: Assumptions
    dispatches: list[Dispatch]
    designs: pl.DataFrame | None

    def rows(self) -> list[dict[str, Any]]:
        """Figures by rule."""
        return [figures(self.site, self.weather, one, self.given) for one in self.dispatches]

    @property
    def notes(self) -> list[str]:
        """Notes on the inputs."""
        return list(
            dict.fromkeys([*self.site.notes, *(note for plant in self.plants.values() for note in plant.notes)])
        )

    @property
    def flows(self) -> pl.DataFrame:
        """A row per rule and sample: the site, generation, and flows in kWh."""
        weather = self.weather
        return pl.concat(
            site_table(
                self.site,
                one.rule,
                one.run_kwh,
                one.design.solar_kw * weather.solar_kwh,
                one.design.wind_kw * weather.wind_kwh,
                one.flows,
            )
            for one in self.dispatches
        )


def supply(  # noqa: PLR0913 - all but four by name
    run: Result | Scenario | Site | str | Path,
    solar: str | None = None,
    wind: str | None = None,
    battery: str | None = None,
    *,
    wait: float = 0.0,
    limit: str | None = None,
    reductions: Sequence[str] = (),
    rules: Sequence[str] = (*RULES, "best"),
    region: str | None = None,
    days: float | None = None,
    over: Mapping[str, Sequence[float]] | None = None,
    given: Assumptions | None = None,
) -> Supplied:
    """Supply a run's site from on-site power first, then a battery, then the grid.

    run         a result, a scenario to run, a site, or a Parquet file that `supply --out` wrote
    solar, wind a size (`20`: MW, `500kW`), a file of power, or a file of capacity factors with a size (`sun.csv@20MW`)
    battery     energy and power, as `80,20` (MWh, MW) or `80kWh,20kW`; energy alone means 4 h
    wait        share of the energy of busy replicas that may move to a later time of its day
    limit       greatest power from the grid, a size
    reductions  greatest power from the grid between two times, as `15kW@26..29` (hours from t = 0)
    rules       of `greedy`, `price`, `carbon`, `best` (least total carbon) and `best-cost`, by linear programs
    region      region to supply, if the fleet has several
    days        length, by repeating a run of whole days
    over        values by axis (`solar`, `wind`: kW; `battery`: kWh; `wait`) for a design space with the first rule

    Raises InputError for bad inputs.
    """
    given = given or Assumptions()
    for rule in rules:
        if rule not in (*RULES, *OBJECTIVES):
            raise InputError(f"rule {rule!r}: expected one of {', '.join((*RULES, *OBJECTIVES))}")
    if not rules:
        raise InputError("rules: none; expected at least one")
    if over and rules[0] in OBJECTIVES:
        raise InputError(f"rule {rules[0]!r}: a design space needs a rule; expected one of {', '.join(RULES)} first")
    named("solar", solar)
    named("wind", wind)
    kwh, kw = battery_of(battery)
    for text in reductions:
        reduction_of(text)
    site = _site(run, region, days)
    plants = {"solar": plant_of("solar", solar, site, given), "wind": plant_of("wind", wind, site, given)}
    weather = Weather.of(site, plants["solar"], plants["wind"], limits_kwh(site, limit, reductions))
    design = Design(plants["solar"].kw, plants["wind"].kw, kwh, kw, wait)
    found = [
        best(site, weather, design, rule, given)
        if rule in OBJECTIVES
        else dispatch(site, weather, design, rule, given, flags(site, rule, given))
        for rule in rules
    ]
    designs = explore(site, weather, design, over, rules[0], given) if over else None
    return Supplied(site, weather, plants, given, found, designs)


def battery_of(text: str | None) -> tuple[float, float]:
    """kWh and kW from `80,20`, `80kWh,20kW`, or the energy alone. Raises InputError."""
    if text is None:
        return 0.0, 0.0
    energy, comma, power = text.partition(",")
    kwh = size_kw(energy, "--battery", energy=True)
    kw = size_kw(power, "--battery") if comma else kwh / HOURS
    if (kwh > 0.0) != (kw > 0.0):
        raise InputError(f"--battery {text!r}: expected both energy and power above 0, as 80,20 or 80kWh,20kW")
    return kwh, kw


def _site(run: Result | Scenario | Site | str | Path, region: str | None, days: float | None) -> Site:
    if isinstance(run, Scenario):
        run = simulate(run)
    if isinstance(run, Result):
        return site_of(run, region, days)
    if region is not None or days is not None:
        given = f"region {region}" if region is not None else f"days {days:g}"
        raise InputError(f"{given}: the file of a site is fixed; expected a scenario")
    return run if isinstance(run, Site) else read_site(run)


__all__ = ["Assumptions", "Supplied", "supply"]
