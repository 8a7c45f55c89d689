"""Bad traces: a clear line or a right answer, never a traceback."""

from __future__ import annotations

import gzip
import os
import re

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from caps_fast.errors import InputError
from caps_fast.traces import read_requests
from trace_samples import (
    ARRIVAL_S,
    INPUTS,
    OUTPUTS,
    SAMPLES,
    assert_canonical,
    assert_sample,
    azure_2023,
    azure_2024,
    csv_text,
    lenient,
    read_or_refuse,
    read_text,
    refusal,
    vidur,
)

# --- refusals, in one line --------------------------------------------------------------------------------------------

HEADER = "arrival_s,input_tokens,output_tokens\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        (HEADER, "no requests"),
        (HEADER + "\n\n", "no requests"),
        ("a,b,c\n1,2,3\n", "columns a, b, c: expected those of caps-fast, azure"),
        (
            HEADER + "0,1,1\n2,1,1\n1,1,1\n",
            "row 3: arrival_s '1' is before 2.0 above: expected times in order; sort the file by arrival_s",
        ),
        (HEADER + "0,1,1\n\n2,1,1\n1,1,1\n", "row 4: arrival_s '1'"),
        (HEADER + "0,1,1\nzwei,1,1\n", "row 2: arrival_s 'zwei': expected a time as a finite number (s)"),
        (
            HEADER + "0,1,1\n1,1\n",
            "row 2: output_tokens is missing: expected a whole number of tokens from 1 to 10,000,000",
        ),
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
        (
            azure_2023().replace("2024-05-10", "10 May 2024"),
            "row 1: TIMESTAMP '10 May 2024 23:59:59.5000000': expected a date and time like",
        ),
        ('{"timestamp": 0, "input_length": 1, "output_length": 2}\n{"timestamp": 1, "input_len', "row 2: "),
        (
            '{"timestamp": 0, "input_length": 1, "output_length": 2}\n{"timestamp": 1, "input_length": 1}\n',
            "row 2: output_length is missing",
        ),
        ('{"timestamp": 0, "input_length": [1], "output_length": 2}\n', "row 1: input_length '[1]'"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 2}\n', "row 1: number 'NaN': expected a finite one"),
        (
            '{"timestamp": 0, "input_length": 1, "output_length": 2}\n{"timestamp": 1e400}\n',
            "row 2: number '1e400': expected a finite one",
        ),
        (
            HEADER.replace("\n", ",Output_Tokens \n") + "0,1,1,1\n",
            "columns 'output_tokens' and 'Output_Tokens ' differ in case or blanks only",
        ),
        (
            HEADER.replace("\n", ",Tenant,TENANT\n") + "0,1,1,a,b\n",
            "columns 'Tenant' and 'TENANT' differ in case or blanks only",
        ),
    ],
)
def test_a_refusal_names_row_column_value_and_expectation(tmp_path, text, wanted):
    assert wanted in refusal(tmp_path, text)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_cut_off_and_broken_compression(tmp_path, pack):
    whole = pack(
        csv_text(HEADER.strip(), [(i, 1 + i * 7919 % 997, 1 + i * 104729 % 991) for i in range(2000)]).encode()
    )
    assert "truncated" in refusal(tmp_path, whole[: len(whole) // 2])
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
        ({"columns": {"tenant": "who"}, "format": "vidur"}, "column who is missing"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, wanted):
    text = (
        vidur().replace(",arrived_at", "arrived_at").replace("\n0,", "\n").replace("\n1,", "\n").replace("\n2,", "\n")
    )
    assert wanted in refusal(tmp_path, text, **options)


def test_parquet_of_a_wrong_type_is_refused(tmp_path):
    pl.DataFrame({"arrival_s": [0.0], "input_tokens": [True], "output_tokens": [1]}).write_parquet(
        tmp_path / "t.parquet"
    )
    with pytest.raises(InputError, match="column input_tokens is of type Boolean: expected a whole number"):
        read_requests(tmp_path / "t.parquet")


@pytest.mark.parametrize("column", ["arrival_s", "input_tokens", "tenant", "tier"])
def test_parquet_with_a_list_column_is_refused_by_its_name(tmp_path, column):
    frame = pl.DataFrame({"arrival_s": [0.0], "input_tokens": [1], "output_tokens": [1]})
    frame.with_columns(pl.Series(column, [[1]])).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=re.escape(f"column {column} is of type List(Int64): expected")):
        read_requests(tmp_path / "t.parquet")


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: not a regular file: expected a request trace"):
        read_requests(tmp_path / "pipe")


# --- mangled files: a clear line or a right answer --------------------------------------------------------------------


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
    assert (
        trace.frame.head(before)
        .select("input_tokens", "output_tokens")
        .equals(whole.head(before).select("input_tokens", "output_tokens"))
    )


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
    text = (
        HEADER
        + ("0,1,1\n" if column == "arrival_s" else "")
        + ",".join(str(cells[name]) for name in HEADER.strip().split(","))
        + "\n"
    )
    if column == "arrival_s" and 0 <= value <= 3660 * 86400:
        assert_canonical(read_text(tmp_path, text))
        return
    assert refusal(tmp_path, text)


@lenient
@given(
    st.lists(
        st.tuples(st.floats(0, 1e7), st.integers(1, 10_000_000), st.integers(1, 10_000_000)), min_size=1, max_size=30
    ),
    st.sampled_from(["csv", "ndjson", "parquet"]),
)
def test_any_trace_round_trips(tmp_path, requests, kind):
    requests.sort(key=lambda request: request[0])
    frame = pl.DataFrame(
        requests, schema={"arrival_s": pl.Float64, "input_tokens": pl.Int32, "output_tokens": pl.Int32}, orient="row"
    )
    path = tmp_path / f"t.{kind}"
    getattr(frame, f"write_{kind}")(path)
    trace = read_requests(path)
    wanted = frame.with_columns(pl.col("arrival_s") - pl.col("arrival_s").first())
    assert trace.frame.equals(wanted)
