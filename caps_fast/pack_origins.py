"""From a scenario to the arrays of origins and links (docs/model.md, section 10)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from caps_fast import records
from caps_fast.arrays import J_PER_KWH, NONE, SECONDS_PER_DAY
from caps_fast.clock import clock_of
from caps_fast.errors import InputError
from caps_fast.places import ANYWHERE, Places
from caps_fast.scenario import Scenario
from caps_fast.served import Origin, Transit

BITS_PER_BYTE, GIGA = 8, 1e9
SECONDS_PER_HOUR = 3600.0
EARTH_TILT, DAYS_A_YEAR = 23.44, 365.25  # degrees


def origin_rows(config: Scenario, places: Places | None, samples: int, layout: str) -> dict[str, Any]:
    """Fields of `arrays.State` by name, for requests from `places` and the number of samples of all regions' grids.

    Raises InputError for links with a queue over several regions.
    """
    names = list(config.fleet.regions)
    links = config.links if places else None
    places = places or Places(ANYWHERE, (tuple(names),))
    if links and layout == "central" and len(names) > 1:
        raise InputError(
            f"links: policy {config.policy.name} has one queue over {len(names)} regions, so the target of a context "
            "is unknown: expected policy.queueing = 'cyclic', or a policy with a queue per pool"
        )
    origins, transit = records.zeros(Origin, len(places.rows)), records.zeros(Transit, 1)
    transit["root"], transit["due_s"] = NONE, math.inf
    rtt_s, move_s, move_j = (
        np.zeros((len(origins), len(names))),
        np.zeros((len(names), len(names))),
        np.zeros((len(names), len(names))),
    )
    for row, times_s, (origin, allowed) in zip(origins, rtt_s, places.rows, strict=True):
        row["regions"] = bits(allowed, names)
        row["home"] = NONE if origin.home is None or links is None else names.index(origin.home)
        times_s[:] = [origin.rtt_ms.get(name, 0.0) / 1000 for name in names]
    for a, here in enumerate(names) if links else ():
        for b, there in enumerate(names):
            terms, size = links.terms(here, there), links.bytes_per_token  # type: ignore[union-attr]
            move_s[a, b] = size * BITS_PER_BYTE / (terms.gbit_per_s * GIGA)
            move_j[a, b] = size / GIGA * terms.kwh_per_gb * J_PER_KWH
    return {
        **{"origins": origins, "transit": transit, "rtt_s": rtt_s},
        **{"move_s": move_s, "move_j": move_j, "link_j": np.zeros(samples)},
    }


def bits(chosen: Iterable[str] | None, names: list[str]) -> int:
    """Bit set of some regions by name, or of all."""
    return sum(1 << names.index(name) for name in chosen or names)


def set_regions(rows: Any, config: Scenario) -> None:
    """Set what policies know of each region: its PUE beside the others', its power limit, the course of the sun."""
    regions, start = config.fleet.regions.values(), clock_of(config).start
    rows["relative_pue"] = np.array([region.pue for region in regions]) / min(region.pue for region in regions)
    day = 0.0 if start is None else start.timetuple().tm_yday
    began_s = (
        0.0 if start is None else (start - start.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    )
    tilt = 0.0 if start is None else -math.radians(EARTH_TILT) * math.cos(2 * math.pi * (day + 10) / DAYS_A_YEAR)
    for row, region in zip(rows, regions, strict=True):
        row["limit_w"] = math.inf if region.limit_kw is None else 1000.0 * region.limit_kw
        if region.reduced_kw is not None:
            row["reduced_w"] = 1000.0 * region.reduced_kw
            row["reduced_from_s"] = (region.reduced_from_h or 0.0) * SECONDS_PER_HOUR
            row["reduced_to_s"] = (region.reduced_to_h or 0.0) * SECONDS_PER_HOUR
        latitude = math.radians(region.latitude or 0.0)
        row["noon_s"] = (0.5 - (region.longitude or 0.0) / 360.0) * SECONDS_PER_DAY - began_s
        row["sun_base"], row["sun_swing"] = math.sin(latitude) * math.sin(tilt), math.cos(latitude) * math.cos(tilt)


def expect_longitudes(config: Scenario) -> None:
    """Raise InputError for a region without a longitude."""
    for name, region in config.fleet.regions.items():
        if region.longitude is None:
            raise InputError(
                f"regions.{name}.longitude is missing: expected degrees east, which policy {config.policy.name} needs"
            )
