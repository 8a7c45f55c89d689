"""The common parts of a scenario's sections: the base class and types of numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from caps_fast.spelled import spelled

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
MOST_TOKENS = 2**31 - 1  # of a request, prompt and answer each, and of a GPU's memory
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Limit = Positive | None  # None = no such limit


LATER: dict[str, JsonValue] = {
    "hashed": "unless default"
}  # `json_schema_extra` of a field that was added after hashes had been stored


_MESSAGES = {
    "extra_forbidden": "unknown field",
    "missing": "missing; expected a value",
    "model_type": "expected a table of fields",
    "dict_type": "expected a table of fields",
    "tuple_type": "expected a list",
    "string_pattern_mismatch": "expected letters (A to Z), digits, - and _, the first of them a letter or digit",
    "too_short": "expected a list of {min_length} or more",
    "too_long": "expected a list of {max_length} or fewer",
}


def message_of(error: ErrorDetails) -> str:
    """The error of a field, in terms of TOML."""
    found = (
        error["msg"]
        .removeprefix("Value error, ")
        .replace("Input should be ", "expected ")
        .split(", unable to parse")[0]
    )
    found = found.replace("expected greater", "expected a number greater").replace(
        "expected less", "expected a number less"
    )
    return _MESSAGES.get(error["type"], found.replace("{", "{{").replace("}", "}}")).format(**error.get("ctx", {}))


class Section(BaseModel):
    """Frozen, no unknown fields, filled by name or by TOML alias."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        populate_by_name=True,
        serialize_by_alias=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """The value that users mean (`spelled`). No field is a truth value, but Pydantic would read them as 1 and 0."""
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()}: expected a number or text")
        field = cls.model_fields.get(info.field_name or "")
        return value if field is None else spelled(value, field.annotation)

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def hashed(self) -> dict[str, Any]:
        """All fields as plain data, except LATER ones at their defaults, so that older hashes stay the same."""
        data = self.model_dump(mode="json")
        _leave_out(self, data)
        return data


def _leave_out(value: Any, data: Any) -> None:
    """Remove LATER fields at their defaults from a value's data."""
    if isinstance(value, Section):
        for name, field in type(value).model_fields.items():
            key = field.alias or name
            if field.json_schema_extra == LATER and getattr(value, name) == field.default:
                data.pop(key, None)
            elif key in data:
                _leave_out(getattr(value, name), data[key])
    elif isinstance(value, dict):
        for key, one in value.items():
            _leave_out(one, data[key])
    elif isinstance(value, list | tuple):
        for one, own in zip(value, data, strict=True):
            _leave_out(one, own)
