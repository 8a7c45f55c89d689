"""The design space: solar x wind x battery x movable work, each design with one rule, and its Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl

from caps_fast.errors import InputError
from caps_fast.supply.assumptions import Assumptions
from caps_fast.supply.outcome import Design, Weather, dispatch, figures, flags, run_load
from caps_fast.supply.plant import size_kw
from caps_fast.supply.site import Site
from caps_fast.sweep.values import scalar, values

AXES = ("solar", "wind", "battery", "wait")
FIELDS = {"solar": "solar_kw", "wind": "wind_kw", "battery": "battery_kwh", "wait": "wait_share"}
MOST = 100_000  # designs
FRONT = ("operational_kg", "embodied_kg")


def axes_of(pairs: Sequence[str]) -> dict[str, list[float]]:
    """Values by axis from texts such as `solar=0..40:10` (MW), `battery=0,20kWh` (MWh) and `wait=0,0.2`, in kW, kWh and
    shares. Raises InputError.
    """
    found: dict[str, list[float]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in AXES or name in found:
            raise InputError(f"--over {pair!r}: expected {', '.join(AXES)} with values, once each, as solar=0..40:10")
        origin = f"--over {name}"
        if name == "wait":
            found[name] = [share_of(str(one), origin) for one in values(text, origin)]
        else:
            parts = [one if isinstance(one, str) else f"{one}" for one in values(text, origin)]
            found[name] = [size_kw(one, origin, energy=name == "battery") for one in parts]
    if not found:
        raise InputError("--over: expected at least one axis, as solar=0..40:10")
    return found


def share_of(text: str, origin: str) -> float:
    """The share of the busy energy that may move. Raises InputError outside 0..1."""
    found = scalar(text)
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0.0 <= found <= 1.0:
        raise InputError(f"{origin} {text!r}: expected a share from 0 to 1")
    return float(found)


def explore(
    site: Site, weather: Weather, start: Design, over: Mapping[str, Sequence[float]], rule: str, given: Assumptions
) -> pl.DataFrame:
    """One row of figures per design, with `front`: whether it is Pareto-optimal in operational and embodied carbon.

    `start` has the sizes of axes that are not swept; batteries keep its ratio of power to energy (4 h if it has none).
    Raises InputError for too many designs.
    """
    axes = {name: list(over.get(name, [getattr(start, FIELDS[name])])) for name in AXES}
    count = int(np.prod([len(one) for one in axes.values()]))
    if count > MOST:
        raise InputError(f"--over: {count:,} designs; expected at most {MOST:,}")
    kw_per_kwh = start.battery_kw / start.battery_kwh if start.battery_kwh else 0.25
    may, rows = flags(site, rule, given), []
    for solar, wind, wait in product(axes["solar"], axes["wind"], axes["wait"]):
        made_kwh = solar * weather.solar_kwh + wind * weather.wind_kwh
        design = Design(solar, wind, 0.0, 0.0, wait)
        run_kwh = run_load(site, design, made_kwh, rule)
        for battery in axes["battery"]:
            own = replace(design, battery_kwh=battery, battery_kw=battery * kw_per_kwh)
            rows.append(figures(site, weather, dispatch(site, weather, own, rule, given, may, run_kwh), given))
    table = pl.DataFrame(rows)
    return table.with_columns(front=pl.Series(on_front(table.select(FRONT).to_numpy())))


def on_front(points: np.ndarray) -> list[bool]:
    """Whether each point is Pareto-optimal (smaller is better in both columns): of equal points all are."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    found, lowest, last = [False] * len(points), np.inf, (np.nan, np.nan)
    for at in order:
        point = (float(points[at, 0]), float(points[at, 1]))
        found[at] = point[1] < lowest or point == last
        if point[1] < lowest:
            lowest, last = point[1], point
    return found
