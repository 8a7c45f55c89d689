"""An axis of a sweep: fields of a scenario that change together, and the values they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from caps_fast.errors import InputError
from caps_fast.metrics import METRICS
from caps_fast.policy_names import ABLATIONS, MAIN
from caps_fast.scenario import Scenario
from caps_fast.sections import TIERS
from caps_fast.sweep.rows import ECHO, PARAMETERS, field_types
from caps_fast.sweep.values import values

# Short names, as the result files and the command line use them.
FIELDS = {
    "policy": "policy.name",
    "rate": "workload.rate_rps",
    "rate_rps": "workload.rate_rps",
    "split": "cluster.split",
    "alpha": "policy.alpha",
    "beta": "policy.beta",
    "lambda": "policy.lambda",
    "trace": "workload.trace",
    "carbon": "carbon.file",
    "gate": "monitor.gate_quantile",
}
SHAPES_WORKLOAD = {"preset", "seed", "days", "start", *(f"slo.{tier}.share" for tier in TIERS)}
ANSWERS = (
    "seeds",
    "metric",
    "pairs",
    "baseline",
    "mean",
    "difference",
    "low",
    "high",
    "relative",
)  # columns that `pareto` and `compare` add

Changes = dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """One axis of a sweep.

    name        as the user wrote it, for messages and for the column of a named axis
    fields      dotted fields of a scenario
    points      one tuple per point, with a value for each field
    labels      names of the points, if any
    """

    name: str
    fields: tuple[str, ...]
    points: Sequence[tuple[Any, ...]]
    labels: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.points)

    def at(self, index: int) -> Changes:
        """The fields' values at a point."""
        return dict(zip(self.fields, self.points[index], strict=True))

    @property
    def shapes_workload(self) -> bool:
        """Whether the requests themselves change along the axis."""
        return any(map(shapes_workload, self.fields))


def shapes_workload(field: str) -> bool:
    """Whether the requests themselves change with a dotted field."""
    return field in SHAPES_WORKLOAD or field.startswith("workload.") or f".{field}".endswith(".carbon.start")


def axis(name: str, raw: Any, origin: str) -> Axis:
    """An axis over one field, named short or dotted. Raises InputError."""
    field = field_of(name)
    found = values(raw, origin)
    if field == "policy.name":
        found = policies(found)
    return Axis(name, (field,), [(value,) for value in found])


def zipped(columns: Mapping[str, Any], origin: str) -> Axis:
    """An axis whose fields advance together. Raises InputError if they differ in length."""
    taken = {name: axis(name, raw, f"{origin}: {name}") for name, raw in columns.items()}
    lengths = {name: len(one) for name, one in taken.items()}
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"{origin}: {shown or 'no fields'}; expected fields with as many values each")
    fields = tuple(one.fields[0] for one in taken.values())
    return Axis(
        "+".join(taken),
        fields,
        [tuple(point[0] for point in row) for row in zip(*(one.points for one in taken.values()), strict=True)],
    )


def named(name: str, settings: Mapping[str, Any], origin: str) -> Axis:
    """An axis whose points are named settings of several fields, each with the same fields. Raises InputError."""
    if name in {*FIELDS, *PARAMETERS, *field_types(), *METRICS, "group", *ECHO, *ANSWERS}:
        raise InputError(f"{origin}: {name!r} is a column of the results; expected another name")
    flat = {
        label: {field_of(key): value for key, value in flatten(one).items()}
        for label, one in settings.items()
        if isinstance(one, Mapping)
    }
    if not flat or len(flat) != len(settings):
        raise InputError(f"{origin}: expected tables, one per named setting, with fields of a scenario in each")
    fields = tuple(next(iter(flat.values())))
    for label, one in flat.items():
        if set(one) != set(fields) or not fields:
            raise InputError(
                f"{origin}: {label} sets {', '.join(one) or 'nothing'}; expected {', '.join(fields) or 'fields'} "
                "as in the first"
            )
    return Axis(name, fields, [tuple(one[field] for field in fields) for one in flat.values()], tuple(flat))


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one with dotted names, for quoted and bare dotted keys of TOML."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def value_of(config: Scenario, field: str) -> Any:
    """The value of a dotted field, as plain data; None for an option at its policy's default."""
    node: Any = config.model_dump(mode="json")
    for part in field.split("."):
        if isinstance(node, list):
            node = {pool["name"]: pool for pool in node}
        node = node.get(part) if isinstance(node, dict) else None
    return node


def field_of(name: str) -> str:
    """The dotted field behind a short name."""
    return FIELDS.get(name, name)


def policies(names: Sequence[Any]) -> list[Any]:
    """Policy names with `main`, `ablations` and `all` expanded, each once. Raises InputError for an empty one."""
    if "" in names:
        raise InputError(f"policies {','.join(map(str, names))!r}: an empty name; expected names separated by commas")
    sets: dict[Any, tuple[str, ...]] = {"main": MAIN, "ablations": ABLATIONS, "all": (*MAIN, *ABLATIONS)}
    return list(dict.fromkeys(policy for name in names for policy in sets.get(name, (name,))))
