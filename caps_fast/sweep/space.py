"""The search space of `tune`: fields of a scenario between bounds, choices, and splits of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from caps_fast.errors import InputError
from caps_fast.scenario import Scenario
from caps_fast.sweep.axes import Changes, field_of, value_of
from caps_fast.sweep.rows import type_of
from caps_fast.sweep.values import RANGE, values

if TYPE_CHECKING:
    from optuna.trial import Trial

SPLIT = "cluster.split"
# alpha stays as it is: scaling all three weights by one factor changes no decision.
DEFAULT = ("beta=0..4", "lambda=0..8", "gate=0.05..0.95", "policy.plan_margin=1..5", "split")


@dataclass(frozen=True)
class Dimension:
    """One direction of the search.

    field       dotted field
    bounds      least and greatest value; None for choices and for splits
    log         whether to search uniformly in the logarithm
    whole       whether among whole numbers
    choices     values to choose from
    """

    field: str
    bounds: tuple[float, float] | None = None
    log: bool = False
    whole: bool = False
    choices: Sequence[Any] = ()

    def suggest(self, trial: Trial, base: Scenario) -> None:
        """Draw the field's parameters for the trial."""
        for name in self._names(base):
            if self.choices:
                trial.suggest_categorical(name, self.choices)
            elif self.whole and self.bounds is not None:
                trial.suggest_int(name, *map(int, self.bounds), log=self.log)
            else:
                trial.suggest_float(name, *(self.bounds or (0, 1)), log=self.log)

    def value(self, parameters: Mapping[str, Any], base: Scenario) -> Any:
        """The field's value by a trial's parameters.

        Raises InputError if one is missing or outside the range of `suggest`.
        """
        names = self._names(base)
        found: list[Any] = [parameters.get(name) for name in names]
        for name, value in zip(names, found, strict=True):
            low, high = self.bounds or (0, 1)
            inside = value in self.choices if self.choices else type(value) in (int, float) and low <= value <= high
            if not inside or (self.whole and value != int(value)):
                raise InputError(f"a trial with {name} {repr(value)[:100]}: expected a value within the search space")
        return split_at(found, base.fleet.replicas) if names != [self.field] else found[0]

    def _names(self, base: Scenario) -> list[str]:
        """Names of the parameters behind the field."""
        if self.bounds is not None or self.choices:
            return [self.field]
        return [f"{self.field} {place}" for place in range(len(base.fleet.pools) - 1)]

    def known(self, base: Scenario) -> dict[str, Any]:
        """Parameters for the scenario's own value, if it is within the search space."""
        if self.field == SPLIT and not self.choices:
            return {f"{SPLIT} {place}": cut for place, cut in enumerate(cuts(base.fleet.sizes))}
        value = value_of(base, self.field)
        inside = (
            value in self.choices
            if self.bounds is None
            else value is not None and self.bounds[0] <= value <= self.bounds[1]
        )
        return {self.field: value} if inside else {}


def dimension(text: str) -> Dimension:
    """From `field=low..high`, `field=low..high:log`, `field=a,b,c` or `split` (any split of the cluster).

    Raises InputError.
    """
    name, equals, raw = text.partition("=")
    field = field_of(name.strip())
    if not equals:
        if field != SPLIT:
            raise InputError(f"search {text!r}: expected field=low..high, field=low..high:log, field=a,b,c or split")
        return Dimension(field)
    match = RANGE.fullmatch(raw.strip())
    if match is None:
        return Dimension(field, choices=tuple(values(raw, f"search {name}")))
    if (
        not match[1]
        or not match[2]
        or match[3] not in (None, "log")
        or float(match[1]) >= float(match[2])
        or (match[3] and float(match[1]) <= 0)
    ):
        raise InputError(
            f"search {text!r}: expected field=low..high with low < high, or field=low..high:log with low above 0"
        )
    bounds, whole = (float(match[1]), float(match[2])), type_of(field) == pl.Int64
    if whole and not all(bound.is_integer() for bound in bounds):
        raise InputError(f"search {text!r}: expected whole numbers as bounds of {field}")
    return Dimension(field, bounds, match[3] == "log", whole)


def changes(dimensions: Sequence[Dimension], trial: Trial, base: Scenario) -> Changes:
    """The trial's changes to the scenario: missing parameters are drawn, those of the trial are kept.

    Raises InputError.
    """
    for one in dimensions:
        one.suggest(trial, base)
    return changes_of(dimensions, trial.params, base)


def changes_of(dimensions: Sequence[Dimension], parameters: Mapping[str, Any], base: Scenario) -> Changes:
    """The changes of a trial with these parameters.

    Raises InputError for values outside the search space, which a foreign study may hold.
    """
    return {one.field: one.value(parameters, base) for one in dimensions}


def split_at(shares: Sequence[float], gpus: int) -> str:
    """A split by shares in 0..1: of the remaining GPUs, each pool takes its share and leaves the rest; every pool has
    at least one.
    """
    free, sizes = gpus - len(shares) - 1, []
    for share in shares:
        sizes.append(round(share * free))
        free -= sizes[-1]
    return "/".join(str(size + 1) for size in [*sizes, free])


def cuts(sizes: Sequence[int]) -> list[float]:
    """Shares that `split_at` turns into a split of those sizes."""
    free, shares = sum(sizes) - len(sizes), []
    for size in sizes[:-1]:
        shares.append((size - 1) / free if free else 0.0)
        free -= size - 1
    return shares
