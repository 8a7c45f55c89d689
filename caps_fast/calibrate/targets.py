"""A calibration task in TOML: target figures, parameters to fit, seeds to fit on and seeds to report on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from caps_fast import scenario
from caps_fast.choose import check_options
from caps_fast.documents import read_toml
from caps_fast.errors import InputError
from caps_fast.metrics import expect_metric

OPTIONS = "policy.options."
NO_VALUE = "none"
"""How a file writes "no value", which TOML cannot express."""

Number = Annotated[float, Field(allow_inf_nan=False)]


class Part(BaseModel):
    """Frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(Part):
    """One figure: a metric of `Result.metrics` under a policy, or its ratio to another policy's or difference from
    it.
    """

    policy: str
    metric: str
    value: Number
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="scale of a miss: the loss is quadratic within it and logarithmic beyond"
    )
    relative_to: str | None = Field(None, description="policy by whose figure this one is divided")
    minus: str | None = Field(None, description="policy whose figure is subtracted from this one")
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    where: dict[str, Any] = Field(
        default_factory=dict, description="dotted fields of the run that gives the figure, e.g. another rate"
    )

    @property
    def name(self) -> str:
        other = f" / {self.relative_to}" if self.relative_to else f" - {self.minus}" if self.minus else ""
        where = "".join(f", {field} = {value}" for field, value in self.where.items())
        return f"{self.metric}: {self.policy}{other}{where}"

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies whose runs it needs."""
        return tuple(name for name in (self.policy, self.relative_to, self.minus) if name)

    @model_validator(mode="after")
    def _one_other(self) -> Self:
        if self.relative_to and self.minus:
            raise ValueError("expected relative_to or minus, not both")
        return self


class Bound(Part):
    """Where one field may move: a range of floats or whole numbers, or a list of choices; `optional` adds "no
    value".
    """

    range: tuple[Number, Number] | None = None
    kind: Literal["float", "int"] = "float"
    log: bool = False
    optional: bool = False
    choices: tuple[str | int | float | bool, ...] = ()
    start: str | int | float | bool | None = Field(
        None, description='start of the search; not set = the preset\'s value, "none" = no value'
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.range is None) == (not self.choices):
            raise ValueError("expected either range = [low, high] or choices = [...]")
        if self.range is not None and (self.range[0] >= self.range[1] or (self.log and self.range[0] <= 0)):
            raise ValueError(
                f"range {list(self.range)}: expected low < high{', above 0 where log = true' if self.log else ''}"
            )
        return self


class Seeds(Part):
    """Random seeds: the fit sees `train` only."""

    train: tuple[int, ...] = Field((100,), min_length=1)
    report: tuple[int, ...] = Field((0, 1, 2, 3, 4), min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if both := sorted(set(self.train) & set(self.report)):
            raise ValueError(f"seed {both[0]} is in both train and report: expected none in both")
        return self


class Task(Part):
    """A calibration task."""

    preset: str = "paper"
    training: dict[str, Any] = Field(default_factory=dict, description="dotted fields of the runs of the fit")
    report: dict[str, Any] = Field(default_factory=dict, description="dotted fields of the runs of the report")
    seeds: Seeds = Seeds()
    bounds: dict[str, Bound] = Field(min_length=1)
    targets: tuple[Target, ...] = Field(min_length=1)

    @property
    def base(self) -> scenario.Scenario:
        """The scenario of a training run before any bounded field moves."""
        return scenario.preset(self.preset).replace(self.training)

    def scenarios(self) -> list[scenario.Scenario]:
        """A run of every target and policy, of the fit and of the report, before any bounded field moves.

        Raises InputError.
        """
        bases = [self.base, scenario.preset(self.preset).replace(self.report)]
        return [
            base.replace(target.where | {"policy.name": name})
            for base in bases
            for target in self.targets
            for name in target.policies
        ]


def read_task(path: str | Path) -> Task:
    """Read a calibration task.

    Raises InputError naming the file and the field.
    """
    data = read_toml(path, "calibration targets")
    return build_task(data, str(path))


def build_task(data: Mapping[str, Any], origin: str) -> Task:
    """Validate a task given as nested plain data; every bounded field, policy and metric must exist.

    Raises InputError.
    """
    try:
        task = Task.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{origin}: {field}: {first['msg'].removeprefix('Value error, ')}") from None
    try:
        base = task.base
        for field, bound in task.bounds.items():
            _expect_possible(base, field, bound)
        for target in task.targets:
            expect_metric(target.metric)
        options = [
            base.replace({field: (bound.range or bound.choices)[0]})
            for field, bound in task.bounds.items()
            if field.startswith(OPTIONS)
        ]
        check_options([*task.scenarios(), *options])
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None
    return task


def _expect_possible(base: scenario.Scenario, field: str, bound: Bound) -> None:
    """Raises InputError unless an end of the bound, or a choice, gives a valid scenario by itself."""
    ends = (
        bound.choices
        if bound.range is None
        else tuple(round(end) if bound.kind == "int" else end for end in bound.range)
    )
    refusals = []
    for value in ends:
        try:
            base.replace({field: value})
        except InputError as error:
            refusals.append(error)
    if len(refusals) == len(ends) or (bound.range is None and refusals):
        raise refusals[0]
