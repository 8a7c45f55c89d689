"""All fields of a scenario as Markdown tables, a section each, read off the classes that check them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from caps_fast.scenario import Scenario
from caps_fast.section import Section

HEAD = ("", "| field | type | default | |", "|---|---|---|---|")


def field_tables() -> str:
    lines, done = ["### Top level", *HEAD], set[type]()
    lines += rows(Scenario)
    for title, section in sections(Scenario):
        if section not in done:
            done.add(section)
            about = (section.__doc__ or "").splitlines()[0]
            base = next((name for name, found in sections(Scenario) if found in section.__bases__), None)
            inherited = f" All fields of `{base}`, and:" if base else ""
            lines += ["", f"### `{title}`", "", about + inherited, *HEAD, *rows(section)]
    return "\n".join(lines) + "\n"


def sections(owner: type[Section], path: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Sections within a section, with their headings in TOML."""
    for name, field in owner.model_fields.items():
        for section in nested(field.annotation):
            of_names = ".NAME" if "dict" in str(field.annotation) else ""
            title = f"[{path}{name}{of_names}]"
            yield (f"[{title}]" if "tuple" in str(field.annotation) else title), section
            yield from sections(section, f"{title.strip('[]')}.")


def nested(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in get_args(annotation) for found in nested(part)]


def rows(section: type[Section]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if name in section.__annotations__ and not nested(field.annotation):
            about = (field.description or "").replace("|", "\\|")
            yield f"| `{field.alias or name}` | {kind(field.annotation)} | {default(field)} | {about} |"


def kind(annotation: Any) -> str:
    """A type in words: text, number, whole number, one of some words, list, table."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(kind(part) for part in parts if part is not type(None))
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is Annotated:
        return kind(parts[0])
    names = {str: "text", float: "number", int: "whole number", tuple: "list", list: "list", dict: "table"}
    return names.get(origin or annotation, "")


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if value is None or value == {} else f"`{re.sub(r'[()]', '', str(value)).rstrip(',')}`"
