"""Layouts of request traces: each is read to the requests that it was written from, or refused with what settles it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caps_fast.errors import InputError
from caps_fast.traces import TraceFile, read_requests

START = datetime(2024, 8, 5, 12, 30, tzinfo=UTC)
ARRIVAL_S = [0.0, 0.25, 0.25, 61.5, 3600.5]
INPUTS = [8, 300, 4096, 1, 2048]
OUTPUTS = [1, 20, 300, 4000, 5]
TIMES = [START + timedelta(seconds=s) for s in ARRIVAL_S]
ZONE = ZoneInfo("Europe/Berlin")

lenient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Row = Callable[[int, float, datetime], list[Any]]


def csv(header: str, row: Row, separator: str = ",") -> str:
    """A table whose rows end with the lengths of prompt and answer."""
    lines = [
        separator.join(map(str, [*row(i, s, at), n, m]))
        for i, (s, at, n, m) in enumerate(zip(ARRIVAL_S, TIMES, INPUTS, OUTPUTS, strict=True))
    ]
    return "\n".join([header, *lines]) + "\n"


def jsonl(row: Callable[[int, float], dict[str, Any]]) -> str:
    lengths = zip(ARRIVAL_S, INPUTS, OUTPUTS, strict=True)
    return "".join(
        json.dumps(row(i, s) | {"input_length": n, "output_length": m}) + "\n" for i, (s, n, m) in enumerate(lengths)
    )


MAP = {"time": "t", "input_tokens": "p", "output_tokens": "g"}
OURS = "input_tokens,output_tokens"
BLIS = "request_id,tenant_id,slo_class,session_id,send_time_us,status,arrival_time_us,input_tokens,output_tokens"

# name: text, options of read_requests, the format that it is told to be, its first request's date
LAYOUTS: dict[str, tuple[str, dict[str, Any], str, datetime | None]] = {
    "own": (csv(f"arrival_s,{OURS}", lambda i, s, at: [s]), {}, "caps-fast", None),
    "own, semicolons": (csv(f"arrival_s,{OURS}".replace(",", ";"), lambda i, s, at: [s], ";"), {}, "caps-fast", None),
    "own, tabs": (csv(f"arrival_s,{OURS}".replace(",", "\t"), lambda i, s, at: [s], "\t"), {}, "caps-fast", None),
    "own, unix": (csv(f"arrival_s,{OURS}", lambda i, s, at: [at.timestamp()]), {}, "caps-fast", START),
    "azure": (csv("TIMESTAMP,ContextTokens,GeneratedTokens", lambda i, s, at: [at.isoformat(" ")]), {}, "azure", START),
    "azure, local": (
        csv(
            "TIMESTAMP,ContextTokens,GeneratedTokens", lambda i, s, at: [f"{at.astimezone(ZONE):%Y-%m-%d %H:%M:%S.%f}"]
        ),
        {"time_zone": "Europe/Berlin"},
        "azure",
        START,
    ),
    "azure, a zone column": (
        csv(
            "timezone,TIMESTAMP,ContextTokens,GeneratedTokens",
            lambda i, s, at: ["Europe/Berlin", f"{at.astimezone(ZONE):%Y-%m-%d %H:%M:%S.%f}"],
        ),
        {},
        "azure",
        START,
    ),
    "burstgpt": (
        csv("Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens", lambda i, s, at: [s, "", 3, "x"]),
        {},
        "burstgpt",
        None,
    ),
    "mooncake": (jsonl(lambda i, s: {"timestamp": int(1000 * s), "hash_ids": [i]}), {}, "mooncake", None),
    "mooncake in seconds": (jsonl(lambda i, s: {"timestamp": s, "hash_ids": [i]}), {}, "mooncake", None),
    "mooncake with dates": (
        jsonl(lambda i, s: {"timestamp": TIMES[i].isoformat(), "hash_ids": [i]}),
        {},
        "mooncake",
        START,
    ),
    "qwen": (
        jsonl(
            lambda i, s: {
                "chat_id": i,
                "parent_chat_id": -1,
                "timestamp": s,
                "type": "text",
                "turn": 1,
                "hash_ids": [i],
            }
        ),
        {},
        "qwen",
        None,
    ),
    "blis": (csv(BLIS, lambda i, s, at: [i, "a", "batch", "", int(1e6 * s) + 7, "ok", int(1e6 * s)]), {}, "blis", None),
    "blis, few columns": (
        csv(f"request_id,arrival_time_us,{OURS}", lambda i, s, at: [i, int(1e6 * s)]),
        {},
        "blis",
        None,
    ),
    "guidellm": (csv("timestamp,input_length,output_length", lambda i, s, at: [s]), {}, "guidellm", None),
    "guidellm, dates": (
        csv("timestamp,input_length,output_length", lambda i, s, at: [at.isoformat()]),
        {},
        "guidellm",
        START,
    ),
    "vidur": (csv(",arrived_at,num_prefill_tokens,num_decode_tokens", lambda i, s, at: [i, s]), {}, "vidur", None),
    "splitwise": (
        csv("request_id,arrival_timestamp,batch_size,prompt_size,token_size", lambda i, s, at: [i, s, 1]),
        {},
        "splitwise",
        None,
    ),
    "told, ms": (csv("t,p,g", lambda i, s, at: [1000 * s]), {"columns": MAP, "time_unit": "ms"}, "columns", None),
    "told, unix ms": (
        csv("t,p,g", lambda i, s, at: [1000 * at.timestamp()]),
        {"columns": MAP, "time_unit": "ms"},
        "columns",
        START,
    ),
    "told, dates": (
        csv("t,p,g", lambda i, s, at: [at.isoformat()]),
        {"columns": MAP, "time_unit": "datetime"},
        "columns",
        START,
    ),
    "told, american": (
        csv("t,p,g", lambda i, s, at: [f"{at:%m/%d/%Y %I:%M:%S.%f %p}"]),
        {"columns": MAP, "time_format": "%m/%d/%Y %I:%M:%S%.f %p"},
        "columns",
        START.replace(tzinfo=None),
    ),
    "told beside another time": (
        csv("t,end_time,p,g", lambda i, s, at: [s, s + 1]),
        {"columns": MAP, "time_unit": "s"},
        "columns",
        None,
    ),
}


def write(folder: Path, text: str) -> Path:
    (folder / "trace.dat").write_text(text, encoding="utf-8")
    return folder / "trace.dat"


def assert_as_written(trace: TraceFile, starts_at: datetime | None) -> None:
    frame = trace.frame
    assert frame["arrival_s"].to_list() == pytest.approx(ARRIVAL_S, abs=1e-6)
    assert frame["input_tokens"].to_list() == INPUTS
    assert frame["output_tokens"].mean() == pytest.approx(sum(OUTPUTS) / len(OUTPUTS))
    assert trace.starts_at == starts_at


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    text, options, form, starts_at = LAYOUTS[name]
    trace = read_requests(write(tmp_path, text), **options)
    assert_as_written(trace, starts_at)
    assert trace.format == form


NEAR = {
    "unused times": (
        f"timestamp,{OURS}\n0,1,1\n",
        "column timestamp looks like a time: expected time=NAME in the column map",
    ),
    "unused microseconds": (
        "arrival_us,num_prefill_tokens,num_decode_tokens\n0,1,1\n",
        "column arrival_us looks like a time",
    ),
    "unused dates": (f"foo,{OURS}\n2024-08-05 00:00:00,1,1\n", "column foo looks like a time"),
    "unused numbers": (f"id,submitted,{OURS}\n0,0,1,1\n", "column submitted looks like a time"),
    "two times": (
        f"arrival_s,timestamp,{OURS}\n0,1,1,1\n",
        "timestamp looks like a time in addition to arrival_s",
    ),
    "two formats": (
        "arrival_s,input_tokens,output_tokens,timestamp,input_length,output_length\n0,1,1,0,1,1\n",
        "formats caps-fast and guidellm",
    ),
    "zones that differ": (
        "TIMESTAMP,tz,ContextTokens,GeneratedTokens\n2024-08-05 00:00:00,PST,1,1\n",
        "says 'PST': expected the time zone",
    ),
    "day or month": (
        f"arrival_s,{OURS}\n05/08/2024 01:00,1,1\n",
        "day first or month first: expected workload.trace_time_format",
    ),
    "unix in another unit": (f"arrival_s,{OURS}\n1722816000000,1,1\n", "is a Unix time in ms, not in s"),
    "other classes": (
        f"arrival_s,tier,{OURS}\n0,premium,1,1\n",
        "tier 'premium': expected gold, silver or bronze (workload.trace_tiers",
    ),
    "a late key": (
        '{"arrival_s": 0, "input_tokens": 1, "output_tokens": 1}\n' * 1500
        + '{"arrival_s": 1, "input_tokens": 1, "output_tokens": 1, "tier": "x"}\n',
        "row 1: tier is missing",
    ),
    "a late time": (
        '{"input_tokens": 1, "output_tokens": 1}\n' * 1500
        + '{"input_tokens": 1, "output_tokens": 1, "timestamp": 4}\n',
        "column timestamp looks like a time",
    ),
}


@pytest.mark.parametrize("name", NEAR)
def test_what_nobody_can_know_is_refused_with_what_settles_it(tmp_path: Path, name: str) -> None:
    text, wanted = NEAR[name]
    with pytest.raises(InputError) as caught:
        read_requests(write(tmp_path, text))
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unused_times_are_settled_by_the_column_map(tmp_path: Path) -> None:
    path = write(tmp_path, f"timestamp,{OURS}\n5,1,1\n9,1,1\n")
    assert read_requests(path, columns={"time": "timestamp"}, time_unit="ms").frame["arrival_s"].to_list() == [
        0.0,
        0.004,
    ]
    with pytest.raises(
        InputError, match=r"column timestamp has no time unit: expected one of s, ms, .* \(workload\.trace_time_unit"
    ):
        read_requests(path, columns={"time": "timestamp"})
    dated = write(tmp_path, f"timestamp,{OURS}\n2024-08-05 00:00:00,1,1\n2024-08-05 00:00:01.5,1,1\n")
    assert read_requests(dated, columns={"time": "timestamp"}).frame["arrival_s"].to_list() == [0.0, 1.5]
    path = write(tmp_path, f"timestamp,{OURS}\n5,1,1\n9,1,1\n")
    assert not read_requests(path, columns={"time": "-"}).timed


def test_a_column_map_of_an_unknown_table_names_both_lengths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column map lacks output_tokens"):
        read_requests(write(tmp_path, "a,b\n1,2\n"), columns={"input_tokens": "a"})


def test_local_dates_need_a_zone_and_blank_columns_are_none(tmp_path: Path) -> None:
    path = write(tmp_path, "local_time,p,g\n2024-08-05 00:00:00,1,1\n")
    columns = {"time": "local_time", "input_tokens": "p", "output_tokens": "g"}
    with pytest.raises(
        InputError, match=r"column local_time is in local time: expected its time zone in workload\.trace_time_zone"
    ):
        read_requests(path, columns=columns)
    assert read_requests(path, columns=columns, time_zone="Europe/Berlin").starts_at == datetime(
        2024, 8, 4, 22, tzinfo=UTC
    )
    blank = write(tmp_path, f"arrival_s,tenant,tier,turns,{OURS}\n0,,,,1,1\n1,,,,1,1\n")
    assert read_requests(blank).frame.columns == ["arrival_s", "input_tokens", "output_tokens"]


def test_digits_are_dates(tmp_path: Path) -> None:
    trace = read_requests(write(tmp_path, f"arrival_s,{OURS}\n2024080500,1,1\n2024080502,1,1\n"))
    assert trace.frame["arrival_s"].to_list() == [0.0, 7200.0]
    assert trace.starts_at == datetime(2024, 8, 5)


def test_classes_under_other_names(tmp_path: Path) -> None:
    path = write(tmp_path, f"arrival_s,class,{OURS}\n0,Chat,1,1\n1,batch,1,1\n2,other,1,1\n")
    tiers = {"chat": "gold", "batch": "bronze", "*": "silver"}
    assert read_requests(path, columns={"tier": "class"}, tiers=tiers).frame["tier"].to_list() == [
        "gold",
        "bronze",
        "silver",
    ]
    assert "column class is not used; tier=class in workload.trace_columns" in read_requests(path).notes[0]
    with pytest.raises(
        InputError, match=r"row 3: class 'other': expected gold, silver or bronze, or one of chat, batch"
    ):
        read_requests(path, columns={"tier": "class"}, tiers={"chat": "gold", "batch": "bronze"})
    with pytest.raises(InputError, match="no column has classes: expected tier=NAME"):
        read_requests(path, tiers=tiers)
    with pytest.raises(InputError, match="tiers map to 'platinum': expected gold"):
        read_requests(path, columns={"tier": "class"}, tiers={"chat": "platinum"})
    text, *_ = LAYOUTS["blis"]
    assert read_requests(write(tmp_path, text), tiers={"batch": "bronze"}).frame["tier"].to_list() == ["bronze"] * 5


def test_what_is_hardly_plausible_is_said(tmp_path: Path) -> None:
    rows = "".join(f"{i / 1000},1,1\n" for i in range(2000))
    assert (
        "2,000 requests in 2 s: is the unit of time really s?"
        in read_requests(write(tmp_path, f"arrival_s,{OURS}\n{rows}")).notes
    )
    late = read_requests(write(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n2150-01-01 00:00:00,1,1\n"))
    assert late.notes == ("dated in the future, from 2150-01-01 00:00",)


# --- columns permuted, renamed and added: the answer stays, or the file is refused ------------------------------------

EXTRA = (
    "timestamp",
    "tz",
    "end_time",
    "class",
    "latency_ms",
    "arrival_s",
    "Timestamp",
    "created_at",
    "x",
    "hash_ids",
    "input_tokens",
    "id",
    "TIMESTAMP",
)
CELLS = ("", "3", "UTC", "2024-08-05T00:00:00Z", "America/New_York", "a")
TABLES = [name for name, (text, *_) in LAYOUTS.items() if text[0] != "{"]


def cells_of(text: str) -> tuple[str, list[list[str]]]:
    separator = max(",;\t", key=text.partition("\n")[0].count)
    return separator, [line.split(separator) for line in text.splitlines()]


@lenient
@given(name=st.sampled_from(TABLES), seed=st.integers(0, 10**6))
def test_permuted_columns_change_nothing(tmp_path: Path, name: str, seed: int) -> None:
    text, options, _, starts_at = LAYOUTS[name]
    separator, lines = cells_of(text)
    order = random.Random(seed).sample(range(len(lines[0])), len(lines[0]))
    shuffled = "\n".join(separator.join(line[at] for at in order) for line in lines)
    assert_as_written(read_requests(write(tmp_path, shuffled), **options), starts_at)


@lenient
@given(name=st.sampled_from(TABLES), extra=st.sampled_from(EXTRA), cell=st.sampled_from(CELLS), front=st.booleans())
def test_a_column_more_changes_nothing_that_it_does_not_say(
    tmp_path: Path, name: str, extra: str, cell: str, front: bool
) -> None:
    text, options, _, starts_at = LAYOUTS[name]
    separator, lines = cells_of(text)
    added = [extra] + [cell] * (len(lines) - 1)
    wider = "\n".join(
        separator.join([new, *line] if front else [*line, new]) for line, new in zip(lines, added, strict=True)
    )
    try:
        trace = read_requests(write(tmp_path, wider), **options)
    except InputError:
        return
    if extra == "tz":
        starts_at = trace.starts_at  # it says in which zone the dates are
    assert_as_written(trace, starts_at)


@lenient
@given(
    name=st.sampled_from(TABLES),
    at=st.integers(0, 9),
    new=st.sampled_from(("x", "column 7", "Wert", "timestamp", "arrival_s", "input_length")),
)
def test_a_renamed_column_is_refused_or_changes_nothing(tmp_path: Path, name: str, at: int, new: str) -> None:
    text, options, _, starts_at = LAYOUTS[name]
    separator, lines = cells_of(text)
    old = lines[0][at % len(lines[0])]
    lines[0][at % len(lines[0])] = new
    try:
        trace = read_requests(write(tmp_path, "\n".join(separator.join(line) for line in lines)), **options)
    except InputError:
        return
    if old == "timezone":
        return
    if trace.timed:
        assert_as_written(trace, starts_at)
    assert trace.frame["input_tokens"].to_list() == INPUTS
    assert trace.timed or old in ("arrived_at", "arrival_s", "arrival_time_us")
