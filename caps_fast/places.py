"""The origins of a scenario's requests and the regions that may serve them: the rows of `arrays.Origin`, and their
codes in a workload.

A row is an origin, and the regions that it and the client group of a request are bound to. A workload yields requests
with a code: the number of a set of regions times (origins + 1), plus 1 + the number of the origin, or 0 if the origin
is to be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from caps_fast.client_groups import ClientGroup, mix_of
from caps_fast.errors import InputError
from caps_fast.origins import Names, Origin
from caps_fast.scenario import Scenario
from caps_fast.sections import TIERS

MOST_CODES = 128
ANYWHERE = {"anywhere": Origin()}


@dataclass(frozen=True)
class Places:
    """Origins by name, and the sets of regions that client groups are bound to; the first set is all regions."""

    origins: dict[str, Origin]
    bounds: tuple[Names, ...]

    @property
    def rows(self) -> list[tuple[Origin, frozenset[str]]]:
        """Origin and regions of each row: set by set, and within it origin by origin."""
        return [
            (origin, frozenset(origin.regions or bound) & frozenset(bound))
            for bound in self.bounds
            for origin in self.origins.values()
        ]

    def code(self, origin: str | None, bound: Names | None) -> int:
        """The code of requests of an origin, or of a drawn one, that are bound to these regions."""
        stated = 0 if origin is None else 1 + list(self.origins).index(origin)
        return self.bounds.index(self.bounds[0] if bound is None else bound) * (len(self.origins) + 1) + stated


def places_of(config: Scenario) -> Places | None:
    """The places of a scenario; None if it has none.

    Raises InputError for a client group that names an unknown origin or region, or that no region may serve.
    """
    groups = mix_of(config.workload.file).clients if config.workload.file else ()
    bound = [group for group in groups if group.origin is not None or group.regions is not None]
    if not (config.origins or config.links or bound or any(tier.regions for tier in config.slo.all)):
        return None
    origins, regions = config.origins or ANYWHERE, tuple(config.fleet.regions)
    for group in bound:
        _expect_known(config, group, origins, regions)
    bounds = tuple(dict.fromkeys([regions, *(group.regions for group in bound if group.regions is not None)]))
    if len(bounds) * (len(origins) + 1) > MOST_CODES:
        raise InputError(
            f"origins: {len(origins)} and {len(bounds)} sets of regions: expected fewer than {MOST_CODES} pairs"
        )
    return Places(origins, bounds)


def _expect_known(config: Scenario, group: ClientGroup, origins: dict[str, Origin], regions: Names) -> None:
    where = f"{config.workload.file}: clients.{group.name}"
    if group.origin is not None and (config.origins is None or group.origin not in origins):
        known = f"one of {', '.join(origins)}" if config.origins else "origins in the scenario"
        raise InputError(f"{where}.origin {group.origin!r}: expected {known}")
    for name in group.regions or ():
        if name not in regions:
            raise InputError(f"{where}.regions {name!r}: expected one of {', '.join(regions)}")
    for name in origins if group.origin is None else (group.origin,):
        for tier, limits in zip(TIERS, config.slo.all, strict=True):
            sets = (group.regions, origins[name].regions, limits.regions)
            if group.tier in (None, tier) and not frozenset(regions).intersection(*(one or regions for one in sets)):
                raise InputError(
                    f"{where}.regions: no region may serve {tier} from {name}: expected one that slo and origins allow"
                )
