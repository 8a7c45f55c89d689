"""A sweep's plan: base scenarios, and grids over their fields, which are indexed and never materialised."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from caps_fast.errors import InputError
from caps_fast.scenario import Scenario
from caps_fast.sweep.axes import Axis, Changes

CHECKED = 1000  # values of an axis that are checked before a sweep starts
SIZES = {"preset", "days", "workload.rate_rps"}  # fields that determine the number of requests
GROUP = 8  # most runs that share one draw of their workload; more would save little and need more memory


@dataclass(frozen=True)
class Grid:
    """A product of axes over the fields in `fixed`.

    name        column `group` of its runs; empty if the sweep is one grid
    fixed       fields that all its runs set
    axes        outermost first; the last one is innermost
    fresh       names of axes with separate seeds for each value; all others share seeds
    """

    name: str
    fixed: Changes
    axes: tuple[Axis, ...]
    fresh: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fields = [field for axis in self.axes for field in axis.fields]
        for index, field in enumerate(fields):
            if field in fields[:index] or field in self.fixed:
                raise InputError(f"{field}: set twice{self._where}; expected once, on one axis")
        if self.fresh and ("seed",) not in [axis.fields for axis in self.axes]:
            raise InputError(f"fresh_seeds{self._where}: no seeds to choose from; expected seeds with it")
        for name in self.fresh:
            if name not in (axis.name for axis in self.axes):
                raise InputError(
                    f"fresh_seeds {name!r}: unknown axis{self._where}; expected some of "
                    f"{', '.join(axis.name for axis in self.axes)}"
                )

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in self.axes)

    def changes(self, index: int) -> Changes:
        """The changes of run `index` to its base."""
        found = dict(self.fixed)
        fresh_block, at = 0, index
        digits = []
        for axis in reversed(self.axes):
            at, digit = divmod(at, len(axis))
            digits.append(digit)
        for axis, digit in zip(self.axes, reversed(digits), strict=True):
            found |= axis.at(digit)
            if axis.name in self.fresh:
                fresh_block = fresh_block * len(axis) + digit
        if fresh_block:
            found["seed"] += fresh_block * self._seed_span
        return found

    def labels(self, index: int) -> dict[str, str]:
        """Names of the run's points on named axes."""
        found = {}
        for axis, stride in zip(self.axes, self._strides, strict=True):
            if axis.labels is not None:
                found[axis.name] = axis.labels[index // stride % len(axis)]
        return found

    def groups(self, size: int, requests: Callable[[int], float]) -> Iterator[list[int]]:
        """All indices, in lists of at most `size` runs with the same requests; runs with the most requests (a
        function of the index) first.
        """
        outer = [(axis, stride) for axis, stride in zip(self.axes, self._strides, strict=True) if axis.shapes_workload]
        inner = [
            (axis, stride) for axis, stride in zip(self.axes, self._strides, strict=True) if not axis.shapes_workload
        ]
        alike = math.prod(len(axis) for axis, _ in inner)
        size = math.ceil(alike / math.ceil(alike / size))  # even shares
        for start in sorted(_offsets(outer), key=requests, reverse=True):
            offsets = _offsets(inner)
            while share := list(itertools.islice(offsets, size)):
                yield [start + offset for offset in share]

    @cached_property
    def _strides(self) -> list[int]:
        return [math.prod(len(later) for later in self.axes[place + 1 :]) for place in range(len(self.axes))]

    @cached_property
    def _seed_span(self) -> int:
        return max(int(point[0]) for axis in self.axes if axis.fields == ("seed",) for point in axis.points) + 1

    @property
    def _where(self) -> str:
        return f" in group {self.name}" if self.name else ""


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep: all combinations of its grids over the base scenario of its preset.

    name        of the sweep: its file's, or `grid`
    bases       scenarios by the value of the field `preset`; the first is used if no axis sets it
    grids       each a part of the sweep; their runs follow one another in the order of the results
    origin      its file, for errors
    by_pool     whether its rows also hold the metrics of every pool
    """

    name: str
    bases: Mapping[str, Scenario]
    grids: tuple[Grid, ...]
    title: str = ""
    origin: str = ""
    by_pool: bool = False

    def __len__(self) -> int:
        return sum(len(grid) for grid in self.grids)

    def scenario(self, grid: Grid, index: int) -> Scenario:
        """The scenario of a grid's run. Raises InputError."""
        changes = grid.changes(index)
        name = changes.pop("preset", None)
        base = self.bases[name or next(iter(self.bases))]
        return base.replace(changes) if changes else base

    def groups(self, size: int = GROUP) -> Iterator[tuple[Grid, int, list[int]]]:
        """Grid, position of its first run in the results, and a list of its runs with the same requests; grid by grid,
        the longest first.
        """
        first = 0
        for grid in self.grids:
            for indices in grid.groups(size, partial(self.expected_requests, grid)):
                yield grid, first, indices
            first += len(grid)

    def check(self) -> list[Scenario]:
        """Check every axis's values with the first values of the others; returns the scenarios.

        Raises InputError naming the axis.
        """
        made = []
        for grid in self.grids:
            try:
                made.append(self.scenario(grid, 0))
            except InputError as error:
                raise InputError(str(error).removeprefix("scenario: ")) from None
            for axis, stride in zip(grid.axes, grid._strides, strict=True):
                step = max(len(axis) // CHECKED, 1)
                for at in {*range(step, len(axis), step), len(axis) - 1}:
                    try:
                        made.append(self.scenario(grid, at * stride))
                    except InputError as error:
                        raise InputError(f"{axis.name}: {str(error).removeprefix('scenario: ')}") from None
                if "workload.rate_rps" in axis.fields:
                    _expect_no_users(axis.name, made)
        return made

    def requests(self) -> float:
        """Expected number of requests of all runs, without those whose trace sets the rate."""
        total = 0.0
        for grid in self.grids:
            shaping = [
                (axis, stride)
                for axis, stride in zip(grid.axes, grid._strides, strict=True)
                if not SIZES.isdisjoint(axis.fields)
            ]
            others = math.prod(len(axis) for axis in grid.axes) // math.prod(len(axis) for axis, _ in shaping)
            total += others * sum(self.expected_requests(grid, offset) for offset in _offsets(shaping))
        return total

    def expected_requests(self, grid: Grid, index: int) -> float:
        """Expected number of requests of a run; 0 if its trace sets the rate."""
        changes = grid.changes(index)
        base = self.bases[changes.get("preset") or next(iter(self.bases))]
        own_rate = bool(changes.get("workload.trace")) and "rate_rps" not in base.workload.model_fields_set
        rate_rps = changes.get("workload.rate_rps", None if own_rate else base.workload.rate_rps)
        return float(rate_rps or 0.0) * float(changes.get("days", base.days)) * 86400.0

    def describe(self) -> dict[str, Any]:
        """The plan as plain data, for the manifest: resolved scenarios, input files' hashes, and every axis."""
        grids = []
        for grid in self.grids:
            axes = [
                {"name": axis.name, "fields": axis.fields, "values": list(axis.points), "labels": axis.labels}
                for axis in grid.axes
            ]
            grids.append(
                {"group": grid.name, "runs": len(grid), "fixed": grid.fixed, "axes": axes, "fresh_seeds": grid.fresh}
            )
        return {
            "name": self.name,
            "title": self.title,
            "runs": len(self),
            "by_pool": self.by_pool,
            "scenarios": {name: base.model_dump(mode="json") for name, base in self.bases.items()},
            "grids": grids,
        }


def _expect_no_users(axis: str, made: Iterable[Scenario]) -> None:
    """Raise InputError where an axis sets the rate of users, whose rate is an outcome: its runs would be the same."""
    for users in (config.workload.users for config in made):
        if users:
            raise InputError(f"{axis} with workload.sessions.users {users}: users have no rate; expected one of them")


def _offsets(axes: list[tuple[Axis, int]]) -> Iterator[int]:
    """Sums of every combination of steps along the axes: index = digit * stride, summed."""
    return (
        sum(combination)
        for combination in itertools.product(*(range(0, len(axis) * stride, stride) for axis, stride in axes))
    )
