"""Dotted fields of a scenario's data: listing and setting them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from types import UnionType
from typing import Any, Union, get_args, get_origin

from caps_fast.admission import Admission, Limited
from caps_fast.demand import Demand
from caps_fast.errors import InputError, did_you_mean
from caps_fast.fleet import FORMS, lengthen, with_defaults
from caps_fast.grid_section import Region
from caps_fast.replica_section import Gpu, Kind
from caps_fast.section import Section
from caps_fast.sections import Pool
from caps_fast.sessions import Sessions


def field_hint(scenario: type[Section], path: str, beside: Iterable[str] = ()) -> str:
    """A hint at the field that `path` may mean: a name in `beside`, a field of a scenario, or one with that last
    name.
    """
    parent, _, leaf = path.rpartition(".")
    if hint := did_you_mean(leaf, beside):
        return hint.replace("mean ", f"mean {parent}.") if parent else hint
    known = list(_fields(scenario))
    same = [field for field in known if field.rpartition(".")[2] == leaf]
    return did_you_mean(path, known, 0.85) or (f" (did you mean {same[0]}?)" if same else "")


def _fields(model: type[Section], prefix: str = "") -> Iterator[str]:
    """Dotted fields, without those of named kinds, pools and regions."""
    for name, field in model.model_fields.items():
        inner, own = _plain(field.annotation), f"{prefix}{field.alias or name}"
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _fields(inner, f"{own}.")
        else:
            yield own


def set_field(scenario: type[Section], data: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted field of a scenario's data. Raises InputError if a scenario has no field of that name."""
    head = path.split(".", maxsplit=1)[0]
    for form, (short, long) in FORMS.items():
        if head in long:
            written = lengthen(data, form)
            data.clear()
            data.update(with_defaults(written))
        elif head in short and any(data.get(part) for part in long):
            shown = " and ".join(f"{part}.NAME.FIELD" for part in long)
            raise InputError(
                f"{path}: this scenario has {' and '.join(long)} in place of {' and '.join(short)}: expected {shown}"
            )
    *parents, leaf = path.split(".")
    model: Any = scenario
    node: Any = data
    for part in parents:
        if (
            node is data
            and part in ("carbon", "monitor", "cluster", "gpu", "links", "admission")
            and node.get(part) is None
        ):
            node[part] = {}
        model, node = _within(model, node, part, path)
    known = {name for name, field in getattr(model, "model_fields", {}).items() for name in (name, field.alias) if name}
    if node is None and leaf in known:
        raise InputError(f"{path}: this scenario has no {'.'.join(parents)}: expected one, in its file, to change")
    if not isinstance(node, dict) or (
        leaf not in known and parents[-1:] not in (["options"], ["trace_columns"], ["rtt_ms"], ["share_by_tier"])
    ):
        raise InputError(f"{path}{field_hint(scenario, path, known)}: unknown field of a scenario")
    if leaf == "profile":
        for name in Gpu.model_fields:
            node.pop(name, None)
    node[leaf] = deepcopy(value)


def _within(model: Any, node: Any, part: str, path: str) -> tuple[Any, Any]:
    """The model and the data of the next part of a dotted field."""
    if isinstance(node, list | tuple):
        named = {pool.get("name"): pool for pool in node}
        if part not in named:
            raise InputError(
                f"{path}: no pool {part!r}{did_you_mean(part, map(str, named))}: expected one of "
                f"{', '.join(map(str, named))}"
            )
        return Pool, named[part]
    if model in (Kind, Region) or isinstance(model, type):
        field = getattr(model, "model_fields", {}).get(part)
        inner = _plain(field.annotation) if field else None
        section = (
            isinstance(inner, type)
            if issubclass(model, Demand | Sessions)
            else issubclass(model, Admission) and get_origin(inner) is dict
        )
        if section and isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        return inner, (node.get(part) if isinstance(node, dict) else None)
    held = get_args(model)[1:] if get_origin(model) is dict else ()
    if held in ((Demand,), (Limited,)) and isinstance(node, dict):
        node.setdefault(part, {})
    if held and isinstance(node, dict) and part not in node:
        raise InputError(f"{path}: no {part!r}{did_you_mean(part, node)}: expected one of {', '.join(node)}")
    return (held[0] if held else None), (node.get(part) if isinstance(node, dict) else None)


def _plain(annotation: Any) -> Any:
    """An annotation without `None`."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if get_origin(annotation) in (Union, UnionType) and len(options) == 1 else annotation
