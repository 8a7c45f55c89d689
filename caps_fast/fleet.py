"""The fleet as data: kinds of replica, regions and pools, and the short form for one kind in one region.

`[cluster]` with `[gpu]` is short for one kind and its pools, `[carbon]` with `[monitor]` for one region. `lengthen`
converts the short form, so that the rest of the program uses the long form only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from caps_fast.errors import InputError
from caps_fast.grid_section import Region
from caps_fast.replica_section import ENGINE_LIMITS, Kind
from caps_fast.sections import Pool

SHORT_KIND, SHORT_REGION = "gpu", "grid"  # names in the short form
FORMS = {"fleet": (("cluster", "gpu"), ("gpus", "pools")), "grid": (("carbon", "monitor"), ("regions",))}  # short, long


@dataclass(frozen=True)
class Fleet:
    """Kinds and regions by name, pools in order. Replicas are numbered pool by pool."""

    kinds: dict[str, Kind]
    regions: dict[str, Region]
    pools: tuple[Pool, ...]

    @cached_property
    def replicas(self) -> int:
        return sum(pool.replicas for pool in self.pools)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(pool.replicas for pool in self.pools)

    @property
    def split(self) -> str:
        """Replicas per pool, like 8/8/8."""
        return "/".join(map(str, self.sizes))

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(pool.role for pool in self.pools)

    @cached_property
    def kind_of(self) -> tuple[Kind, ...]:
        """Kind of each pool."""
        return tuple(self.kinds[pool.gpu] for pool in self.pools)

    @cached_property
    def of_kind(self) -> list[tuple[Kind, int]]:
        """Kinds, in order of their first pool, and their replicas."""
        count: Counter[str] = Counter()
        for pool in self.pools:
            count[pool.gpu] += pool.replicas
        return [(self.kinds[name], replicas) for name, replicas in count.items()]

    @cached_property
    def only_kind(self) -> Kind:
        """The kind of a fleet of one kind. Raises InputError for a fleet of several."""
        if len(self.kinds) != 1:
            raise InputError(f"gpus: {', '.join(self.kinds)}: expected a fleet of one kind here")
        return next(iter(self.kinds.values()))

    @cached_property
    def only_region(self) -> Region:
        """The region of a fleet in one region. Raises InputError for a fleet in several."""
        if len(self.regions) != 1:
            raise InputError(f"regions: {', '.join(self.regions)}: expected a fleet in one region here")
        return next(iter(self.regions.values()))

    def describe(self) -> dict[str, Any]:
        """The fleet as plain data, in the long form."""
        return {
            "gpus": {name: kind.model_dump(mode="json") for name, kind in self.kinds.items()},
            "regions": {name: region.model_dump(mode="json") for name, region in self.regions.items()},
            "pools": [pool.model_dump(mode="json") for pool in self.pools],
        }


def pool_names(roles: Sequence[str]) -> tuple[str, ...]:
    """Names of the pools of the short form, in order: the role in lower case, numbered from 1 if it is repeated."""
    numbers = [str(roles[: at + 1].count(role)) if roles.count(role) > 1 else "" for at, role in enumerate(roles)]
    return tuple(role.lower() + number for role, number in zip(roles, numbers, strict=True))


def lengthen(data: Mapping[str, Any], form: str) -> dict[str, Any]:
    """A scenario's data with one of its short FORMS converted to the long form; unchanged if it is long already."""
    short, _ = FORMS[form]
    if all(data.get(part) is None for part in short):
        return dict(data)
    written = {name: value for name, value in data.items() if name not in short}
    if form == "grid":
        region = {part: data[part] for part in short if data.get(part) is not None}
        return written | {"regions": {SHORT_REGION: region}}
    cluster, gpu = data.get("cluster") or {}, data.get("gpu") or {}
    limits = {name: cluster[name] for name in ENGINE_LIMITS if name in cluster}
    sizes = str(cluster.get("split", "8/8/8")).split("/")
    roles = str(cluster.get("roles", "LP/CP/BP")).split("/")
    pools = [
        {"name": name, "role": role, "replicas": int(size), "gpu": SHORT_KIND}
        for name, role, size in zip(pool_names(roles), roles, sizes, strict=True)
    ]
    return written | {"gpus": {SHORT_KIND: {**gpu, **limits}}, "pools": pools}


def expect_one_form(data: Mapping[str, Any]) -> None:
    """Raise ValueError if a scenario's data has both the short and the long form."""
    for short, long in FORMS.values():
        said = [part for part in (*long, *short) if data.get(part) is not None]
        if set(said) & set(short) and set(said) & set(long):
            raise ValueError(
                f"[{said[0]}] together with [{said[-1]}]: expected {' and '.join(short)}, or {' and '.join(long)}, "
                "not both"
            )


def laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's data to lay under a scenario that has one form (`expect_one_form`): if its fleet or grid is in the
    long form, the short one is removed.

    Pools without their own kinds use the preset's kind.
    """
    left = dict(base)
    for form, (_, long) in FORMS.items():
        if any(part in over for part in long):
            left = lengthen(left, form)
            for part in long:
                if part in over:
                    left.pop(part, None)
            if "gpus" in over and "pools" in left:
                left["pools"] = [
                    {name: value for name, value in pool.items() if name != "gpu"} for pool in left["pools"]
                ]
    return left


def with_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """Set the kind and region of pools that name none, if there is only one."""
    kinds, regions, pools = data.get("gpus"), data.get("regions"), data.get("pools")
    if not isinstance(pools, list | tuple):
        return dict(data)
    only = {}
    if isinstance(kinds, Mapping) and len(kinds) == 1:
        only["gpu"] = next(iter(kinds))
    if regions is None:
        only["region"] = SHORT_REGION
    elif isinstance(regions, Mapping) and len(regions) == 1:
        only["region"] = next(iter(regions))
    return dict(data) | {"pools": [{**only, **pool} if isinstance(pool, Mapping) else pool for pool in pools]}


def expect_consistent(fleet: Fleet) -> None:
    """Raise ValueError for a fleet with unknown, unused or repeated names."""
    names = [pool.name for pool in fleet.pools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"pools.{twice}: two pools of that name: expected different names")
    for pool in fleet.pools:
        clocks = fleet.kinds[pool.gpu].clocks if pool.gpu in fleet.kinds else ()
        if pool.clock is not None and clocks and pool.clock not in clocks:
            raise ValueError(
                f"pools.{pool.name}.clock {pool.clock:g}: expected one of the clocks of {pool.gpu}: "
                f"{', '.join(f'{x:g}' for x in clocks)}"
            )
    for field, known, what in (("gpu", fleet.kinds, "gpus"), ("region", fleet.regions, "regions")):
        used = {getattr(pool, field) for pool in fleet.pools}
        for pool in fleet.pools:
            if getattr(pool, field) not in known:
                raise ValueError(
                    f"pools.{pool.name}.{field} {getattr(pool, field)!r}: expected one of {', '.join(known)}"
                )
        for name in known:
            if name not in used:
                raise ValueError(f"{what}.{name}: no pool uses it: expected it as the {field} of a pool")
            if not name or "." in name:
                raise ValueError(f"{what}.{name}: expected a name without dots")
