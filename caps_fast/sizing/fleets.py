"""Fleets to choose from: replicas per pool, with other fields of the scenario, over axes that the user names."""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caps_fast.choose import layout_of, make_policy
from caps_fast.errors import InputError, did_you_mean
from caps_fast.scenario import Scenario
from caps_fast.sweep.axes import Changes, field_of, shapes_workload
from caps_fast.sweep.values import values

REPLICAS, SPLIT = "replicas", "cluster.split"
OF_POOL = re.compile(r"pools\.([^.]+)\.replicas")
NEXT_AXIS = re.compile(r",(?=[A-Za-z][\w.-]*=)")  # a comma between axes, not between values
logger = logging.getLogger(__name__)
MOST_REPLICAS = 100_000  # as in a scenario
MOST_FLEETS = 3000  # so that the table of contained fleets stays small
DEFAULT_SIZES = 500  # sizes of large fleets to try without an axis
TIMES_OWN = 2  # by default, the largest fleet over the scenario's

Booleans = NDArray[np.bool_]
Axes = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Fleets:
    """The fleets that a search chooses from; of equally good fleets, the first one is chosen.

    base        the scenario that the fleets change
    sizes       int64, (n_fleets, n_pools): replicas per pool, in the scenario's order; 0 = without this pool
    changes     other fields of each fleet
    axes        names of these fields
    """

    base: Scenario
    sizes: NDArray[np.int64]
    changes: tuple[Changes, ...]
    axes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.changes)

    @cached_property
    def replicas(self) -> NDArray[np.int64]:
        """Total number of replicas: int64, (n_fleets,)."""
        found: NDArray[np.int64] = self.sizes.sum(axis=1)
        return found

    @cached_property
    def within(self) -> Booleans:
        """Whether fleet j has nowhere more replicas than fleet i, all else equal: bool, (n_fleets, n_fleets) [i, j]."""
        known: dict[str, int] = {}
        group = np.array([known.setdefault(repr(one), len(known)) for one in self.changes])
        alike: Booleans = group[:, None] == group[None, :]
        for pool in self.sizes.T:
            alike &= pool[None, :] <= pool[:, None]
        return alike

    def neighbours(self, fleet: int) -> list[int]:
        """The next smaller and the next larger fleets, with no fleet between them and this one; the smaller first."""
        others = np.arange(len(self)) != fleet
        return [
            *self._ends(self.within[fleet] & others, self.within),
            *self._ends(self.within[:, fleet] & others, self.within.T),
        ]

    def smaller(self, fleet: int) -> list[int]:
        """The next smaller fleets."""
        return self._ends(self.within[fleet] & (np.arange(len(self)) != fleet), self.within)

    @staticmethod
    def _ends(among: Booleans, within: Booleans) -> list[int]:
        """Those of these fleets that lie within no other of them."""
        found = np.flatnonzero(among)
        inside = within[np.ix_(found, found)].sum(axis=0) == 1  # each lies within itself
        return [int(one) for one in found[inside]]

    def scenario(self, fleet: int) -> Scenario:
        """The scenario with this fleet. Raises InputError if it is not valid."""
        return with_sizes(self.base.replace(self.changes[fleet]), self.sizes[fleet].tolist())


def fleets(base: Scenario, over: Axes, most: int) -> Fleets:
    """All combinations of the axes' values, by field.

    Without an axis for the number of replicas, it goes from the fewest that the policy allows up to `most`. Raises
    InputError for invalid axes.
    """
    pools = {match[1]: values for name, values in over.items() if (match := OF_POOL.fullmatch(name))}
    of_sizes = {REPLICAS, SPLIT, *(name for name in over if OF_POOL.fullmatch(name))}
    others = {name: values for name, values in over.items() if name not in of_sizes}
    sizes = _by_pool(base, pools, over) if pools else _in_proportion(base, over, most)
    _expect_few(len(sizes) * math.prod(len(values) for values in others.values()))
    _expect_some(base, others)
    rows, changes = [], []
    for point in itertools.product(*others.values()):
        for row in sizes:
            rows.append(row)
            changes.append(dict(zip(others, point, strict=True)))
    return Fleets(base, np.array(rows, np.int64), tuple(changes), tuple(others))


def axes_of(texts: Sequence[str]) -> dict[str, str]:
    """The axes of `--over field=values,field=values`, by name as written. Raises InputError."""
    found: dict[str, str] = {}
    for part in (part for text in texts for part in NEXT_AXIS.split(text)):
        name, equals, raw = part.partition("=")
        name = name.strip()
        if not equals or not name or not raw.strip():
            examples = f"{REPLICAS}=4..32, pools.batch.replicas=0..40 or split=8/8/8,6/10/8"
            raise InputError(f"--over {part!r}: expected field=values, as in {examples}")
        if name in found:
            raise InputError(f"--over {name} appears twice; expected every field once")
        found[name] = raw
    return found


def axes(over: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """The values of every axis by dotted field, from short or dotted names and the forms of `values`.

    Raises InputError.
    """
    found: dict[str, Sequence[Any]] = {}
    for name, raw in over.items():
        field = {"cluster.gpus": REPLICAS}.get(field_of(name), field_of(name))
        if field in found:
            raise InputError(f"--over {name} appears twice; expected every field once")
        if field == "policy.name" or shapes_workload(field):
            option = "--policies" if field == "policy.name" else "--rates, --seeds, --days or --set"
            raise InputError(f"--over {name}: fleets are compared under one policy and load; expected {option} for it")
        found[field] = values(list(raw) if isinstance(raw, range) else raw, f"--over {name}")
    return found


def largest(base: Scenario, own_rate_rps: float | None) -> int:
    """The largest fleet by default: twice the scenario's, and at a higher rate than its own in proportion."""
    rate = base.workload.rate_rps
    more = max(rate / own_rate_rps, 1.0) if rate and own_rate_rps else 1.0
    return min(math.ceil(TIMES_OWN * base.fleet.replicas * more), MOST_REPLICAS)


def with_sizes(config: Scenario, sizes: Sequence[int]) -> Scenario:
    """A scenario with these numbers of replicas by pool, in order; without pools of 0 replicas. Raises InputError."""
    kept = [(pool, size) for pool, size in zip(config.fleet.pools, sizes, strict=True) if size]
    if config.pools is None:
        split, roles = "/".join(str(size) for _, size in kept), "/".join(pool.role for pool, _ in kept)
        return config.replace({"cluster.gpus": sum(sizes), "cluster.split": split, "cluster.roles": roles})
    if len(kept) == len(sizes):
        return config.replace({f"pools.{pool.name}.replicas": size for pool, size in kept})
    changes: Changes = {"pools": [{**pool.model_dump(mode="json"), "replicas": size} for pool, size in kept]}
    for field, held in (("gpu", config.gpus), ("region", config.regions)):
        used = {getattr(pool, field) for pool, _ in kept}
        if held:
            changes[f"{field}s"] = {name: one.model_dump(mode="json") for name, one in held.items() if name in used}
    return config.replace(changes)


def apportioned(counts: Collection[int], shares: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Replicas distributed over pools in proportion to their shares, one to each first; for each count.

    By Webster's method, with which a pool never gets fewer of more replicas, as it may by largest remainders.
    """
    sizes, found = [0] * len(shares), {}
    for replicas in range(1, max(counts) + 1):
        place = replicas - 1
        if place >= len(shares):
            place = max(range(len(shares)), key=lambda pool: (shares[pool] / (2 * sizes[pool] + 1), -pool))
        sizes[place] += 1
        if replicas in counts:
            found[replicas] = tuple(sizes)
    return found


def _in_proportion(base: Scenario, over: Axes, most: int) -> list[tuple[int, ...]]:
    policy = make_policy(base)
    least = len(base.fleet.pools) if layout_of(policy, base) == "pools" else 1
    step = math.ceil(most / DEFAULT_SIZES)
    counts = over.get(REPLICAS, range(least, max(most, least) + 1, step))
    why = f" (policy {base.policy.name} needs one in each of {least} pools)" if least > 1 else ""
    _expect_counts(counts, least, REPLICAS, why)
    splits = [_shares(split, len(base.fleet.pools)) for split in over.get(SPLIT, [base.fleet.split])]
    _expect_few(len(counts) * len(splits))
    sizes = [apportioned(counts, shares) for shares in splits]
    return list(dict.fromkeys(of_split[count] for count in sorted(counts) for of_split in sizes))


def _shares(split: Any, pools: int) -> list[int]:
    parts = str(split).split("/")
    if len(parts) != pools or not all(re.fullmatch(r"[1-9]\d{0,5}", part) for part in parts):
        example = "/".join(["1"] * pools)
        expected = f"whole numbers from 1, one for each of {pools} pools, like {example}"
        raise InputError(f"--over split: {split!r}: expected {expected}")
    return [int(part) for part in parts]


def _by_pool(base: Scenario, pools: Axes, over: Axes) -> list[tuple[int, ...]]:
    names = [pool.name for pool in base.fleet.pools]
    for field in (REPLICAS, SPLIT):
        if field in over:
            raise InputError(f"--over {field}: together with replicas of pools; expected only one of them")
    for name, counts in pools.items():
        if name not in names:
            raise InputError(
                f"--over pools.{name}.replicas: no pool {name!r}{did_you_mean(name, names)}; expected one of "
                f"{', '.join(names)}"
            )
        _expect_counts(counts, 0, f"pools.{name}.replicas")
    axes = [pools.get(name, [size]) for name, size in zip(names, base.fleet.sizes, strict=True)]
    _expect_few(math.prod(map(len, axes)))
    return sorted((sizes for sizes in itertools.product(*axes) if sum(sizes)), key=sum)


def _expect_few(count: int) -> None:
    if count > MOST_FLEETS:
        advice = "wider steps, or narrower ranges"
        raise InputError(f"--over: {count:,} fleets; expected at most {MOST_FLEETS:,}: {advice}")


def _expect_some(base: Scenario, others: Axes) -> None:
    """Raise InputError if no combination of the other axes is valid, as for an unknown field; warn if some are not."""
    points = list(itertools.product(*others.values()))
    wrong: list[InputError] = []
    for point in points:
        try:
            base.replace(dict(zip(others, point, strict=True)))
        except InputError as error:
            wrong.append(error)
    if len(wrong) == len(points):
        raise InputError(f"--over {wrong[0]}")
    if wrong:
        logger.warning("--over %s; %s of %s combinations are left out", wrong[0], len(wrong), len(points))


def _expect_counts(counts: Sequence[Any], least: int, name: str, why: str = "") -> None:
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= MOST_REPLICAS:
            expected = f"whole numbers from {least}{why} to {MOST_REPLICAS:,}"
            raise InputError(f"--over {name}: {count!r}: expected {expected}")
