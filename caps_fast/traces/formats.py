"""The formats of request traces as a table: columns, their meaning, and the unit of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from caps_fast.errors import InputError, did_you_mean

TimeUnit = Literal["s", "ms", "us", "ns", "datetime"]
TIME_UNITS: tuple[str, ...] = get_args(TimeUnit)
REQUIRED = ("time", "input_tokens", "output_tokens")
OPTIONAL = ("tenant", "tier", "turns", "session", "system_prompt", "origin")


@dataclass(frozen=True)
class Format:
    """A named layout of columns.

    `columns` maps our names (`time`, `input_tokens`, `output_tokens` and those of `OPTIONAL`) to the file's. `marks`
    are further columns that a file must have to be recognised as this format, `unless` columns that it must not have,
    `others` further columns with times, and `classes` its column of service classes, which a map of classes to tiers
    reads.
    """

    name: str
    about: str
    columns: Mapping[str, str]
    time_unit: TimeUnit | None
    marks: tuple[str, ...] = ()
    optional_time: bool = False
    zero_output_is_failure: bool = False
    unless: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    classes: str = ""
    hint: str = field(default="", compare=False)

    def recognises(self, header: Sequence[str]) -> bool:
        """Whether a file with these column names is recognised as this format."""
        names = {_key(name) for name in header}
        return self.needed <= names and names.isdisjoint(self.unless)

    @property
    def needed(self) -> set[str]:
        """The columns of a file of this format, in lower case."""
        needed = {
            name
            for ours, name in self.columns.items()
            if ours in REQUIRED and not (ours == "time" and self.optional_time)
        }
        return {_key(name) for name in needed | set(self.marks)}


_LENGTHS = {"time": "timestamp", "input_tokens": "input_length", "output_tokens": "output_length"}

FORMATS: tuple[Format, ...] = (
    Format(
        "caps-fast",
        "our own columns",
        {"time": "arrival_s", "input_tokens": "input_tokens", "output_tokens": "output_tokens"},
        "s",
        optional_time=True,
    ),
    Format(
        "azure",
        "Azure LLM inference traces of 2023 and 2024",
        {"time": "TIMESTAMP", "input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"},
        "datetime",
    ),
    Format(
        "burstgpt",
        "BurstGPT; calls with 0 response tokens failed and are dropped",
        {
            "time": "Timestamp",
            "input_tokens": "Request tokens",
            "output_tokens": "Response tokens",
            "session": "Session ID",
        },
        "s",
        zero_output_is_failure=True,
        others=("Elapsed time",),
    ),
    Format(
        "blis",
        "BLIS TraceV2: microseconds",
        {
            "time": "arrival_time_us",
            "input_tokens": "input_tokens",
            "output_tokens": "output_tokens",
            "tenant": "tenant_id",
            "session": "session_id",
        },
        "us",
        others=("send_time_us", "first_chunk_time_us", "last_chunk_time_us", "deadline_us"),
        classes="slo_class",
    ),
    Format(
        "qwen",
        "Qwen Bailian: seconds, and turns of chats",
        {**_LENGTHS, "turns": "turn"},
        "s",
        marks=("chat_id", "parent_chat_id"),
    ),
    Format(
        "mooncake",
        "Mooncake: milliseconds, in bursts of 3 s",
        _LENGTHS,
        "ms",
        marks=("hash_ids",),
        unless=("chat_id", "parent_chat_id"),
        hint="timestamps read as milliseconds, as Mooncake's are; give the time unit s if they are seconds",
    ),
    Format(
        "guidellm",
        "GuideLLM's minimal trace",
        _LENGTHS,
        "s",
        hint="timestamps read as seconds; name the format mooncake if they are milliseconds",
    ),
    Format(
        "vidur",
        "Vidur; without arrived_at lengths only",
        {"time": "arrived_at", "input_tokens": "num_prefill_tokens", "output_tokens": "num_decode_tokens"},
        "s",
        optional_time=True,
    ),
    Format(
        "splitwise",
        "SplitwiseSim",
        {"time": "arrival_timestamp", "input_tokens": "prompt_size", "output_tokens": "token_size"},
        "s",
    ),
)
SHAREGPT = Format("sharegpt", "ShareGPT conversations in JSON; lengths only", {}, None, optional_time=True)


def formats() -> dict[str, str]:
    """Names of the formats, each with a line about it."""
    return {form.name: form.about for form in (*FORMATS, SHAREGPT)}


def choose(
    path: str,
    header: Sequence[str],
    dated: Sequence[str],
    name: str | None,
    columns: Mapping[str, str] | None,
    time_unit: str | None,
) -> Format:
    """The format of a table with these columns, some of them `dated`: the named one, the column map's, or the one
    that recognises it.

    A column map without the lengths is laid over the format that recognises the table. Raises InputError if none
    matches or the column map is incomplete.
    """
    if time_unit is not None and time_unit not in TIME_UNITS:
        raise InputError(f"{path}: time unit {time_unit!r}: expected one of {', '.join(TIME_UNITS)}")
    found = recognised(header)
    if name is not None:
        form = _named(path, name)
    elif columns and ({"input_tokens", "output_tokens"} <= set(columns) or len(found) != 1):
        form = Format("columns", "a column map", {}, None, optional_time="time" not in columns)
    else:
        form = _detected(path, header)
        if columns and "time" in columns and not same([form.columns["time"]], columns["time"]):
            form = replace(form, time_unit=None, hint="")  # another column's unit is not known
    return _adapted(path, form, columns or {}, time_unit, dated)


def same(header: Sequence[str], name: str) -> list[str]:
    """The columns called `name`, ignoring case and surrounding blanks."""
    return [column for column in header if _key(column) == _key(name)]


def listed(header: Sequence[str]) -> str:
    """Column names for a message: one line, not too long."""
    shown = ", ".join(header[:12]) + (", ..." if len(header) > 12 else "")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in shown[:300])


def _named(path: str, name: str) -> Format:
    for form in FORMATS:
        if form.name == name:
            return replace(form, hint="")
    if name == SHAREGPT.name:
        raise InputError(f"{path}: a table, not the JSON list of format sharegpt: expected conversations in JSON")
    raise InputError(f"{path}: format {name!r}{did_you_mean(name, formats())}: expected one of {', '.join(formats())}")


def recognised(header: Sequence[str]) -> list[Format]:
    """The formats that match these column names, without those that have a matching special case."""
    found = [form for form in FORMATS if form.recognises(header)]
    return [form for form in found if not any(form.needed < other.needed for other in found)]


def _detected(path: str, header: Sequence[str]) -> Format:
    found = recognised(header)
    if len(found) > 1:
        names = " and ".join(form.name for form in found)
        raise InputError(f"{path}: columns of the formats {names}: expected one of them in {option('format')}")
    if found:
        return found[0]
    raise InputError(
        f"{path}: columns {listed(header)}: expected those of {', '.join(form.name for form in FORMATS)}, or a "
        "column map "
        f"({option('columns')}) with a time unit ({option('time_unit')})"
    )


def option(name: str) -> str:
    """How to state a fact: the field of a scenario and the option of a command."""
    return f"workload.trace_{name}, --trace-{name.replace('_', '-')}"


def _adapted(
    path: str, form: Format, columns: Mapping[str, str], time_unit: str | None, dated: Sequence[str]
) -> Format:
    unknown = sorted(set(columns) - {*REQUIRED, *OPTIONAL})
    if unknown:
        known = (*REQUIRED, *OPTIONAL)
        hint = did_you_mean(unknown[0], known)
        raise InputError(f"{path}: column map names {unknown[0]!r}{hint}: expected some of {', '.join(known)}")
    merged = {**{name: name for name in OPTIONAL}, **form.columns, **columns}
    missing = [name for name in ("input_tokens", "output_tokens") if name not in merged]
    if missing:
        raise InputError(f"{path}: column map lacks {missing[0]}: expected input_tokens=NAME and output_tokens=NAME")
    unit = cast(TimeUnit | None, time_unit) or form.time_unit
    if unit is None and same(dated, merged.get("time", "")):
        unit = "datetime"
    if merged.get("time", "-") != "-" and unit is None:
        raise InputError(
            f"{path}: column {merged['time']} has no time unit: expected one of {', '.join(TIME_UNITS)} "
            f"({option('time_unit')})"
        )
    return replace(form, columns=merged, time_unit=unit, optional_time=form.optional_time and "time" not in columns)


def _key(name: str) -> str:
    return name.strip().lower()
