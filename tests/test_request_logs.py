"""Logs of requests and of power: the layouts that are read, alike from every benchmark, and what is refused in one
line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine_logs
from caps_fast.errors import InputError
from caps_fast.validation import read_log
from caps_fast.validation.power_log import read_power_log

LAYOUTS = {
    "ours": engine_logs.csv_text(),
    "ours with spaces, another order and more columns": "\n".join(
        ["e2e_s, ttft_s,model, output_tokens,input_tokens,arrival_s"]
        + [f"{row[4]}, {row[3]},m, {row[2]},{row[1]},{row[0] + 5}" for row in reversed(engine_logs.ROWS)]
    ),
    "vllm": json.dumps(engine_logs.vllm()),
    "guidellm": json.dumps(engine_logs.guidellm()),
    "guidellm before 0.4": json.dumps(engine_logs.guidellm(flat=True)),
    "aiperf": engine_logs.aiperf(),
    "vllm with a byte order mark": "\ufeff" + json.dumps(engine_logs.vllm()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_requests(tmp_path: Path, layout: str) -> None:
    (tmp_path / "log").write_text(LAYOUTS[layout])
    found = read_log(tmp_path / "log")
    arrival_s, inputs, outputs, ttft_s, e2e_s = map(np.array, zip(*engine_logs.ROWS, strict=True))
    assert found.arrival_s == pytest.approx(arrival_s, abs=1e-6)
    assert found.input_tokens.tolist() == inputs.tolist()
    assert found.output_tokens.tolist() == outputs.tolist()
    assert found.ttft_s == pytest.approx(ttft_s, rel=1e-9)
    assert found.e2e_s == pytest.approx(e2e_s, abs=1e-6)
    failed = 0 if layout.startswith("ours") else 1
    assert [note for note in found.notes if "not served" in note] == [
        f"{tmp_path / 'log'}: 1 requests {NOT_SERVED}"
    ] * failed
    assert found.dated == (layout.startswith(("guidellm", "aiperf")))


NOT_SERVED = "were not served and are left out, although they loaded the engine"


def test_one_of_several_benchmarks(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(engine_logs.guidellm(benchmarks=3)))
    assert len(read_log(path, benchmark=2)) == len(engine_logs.ROWS)
    appended = tmp_path / "appended.json"
    appended.write_text((json.dumps(engine_logs.vllm()) + "\n") * 2)
    assert len(read_log(appended, benchmark=2)) == len(engine_logs.ROWS)
    for bad, wanted in ((None, "3 benchmarks: expected --benchmark with a number from 1 to 3"), (4, "--benchmark 4: ")):
        with pytest.raises(InputError, match=wanted):
            read_log(path, benchmark=bad)


def vllm_without(name: str) -> str:
    return json.dumps({key: value for key, value in engine_logs.vllm().items() if key != name})


def guidellm_with(**fields: Any) -> str:
    report = engine_logs.guidellm(flat=True)
    report["benchmarks"][0]["requests"]["successful"][0].update(fields)
    return json.dumps(report)


def changed_aiperf(change: Any) -> str:
    record = json.loads(engine_logs.aiperf().splitlines()[1])
    change(record)
    return json.dumps(record)


REFUSED = {
    "": "not readable as CSV",
    "arrival_s,input_tokens,output_tokens,ttft_s\n0,1,1,1\n": "e2e_s is missing among the columns",
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n": "no request was served",
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n0,1,1,,\n": "no request was served",
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n0,8,8,1,2\n0,8,8,x,2\n": "row 2: ttft_s 'x': expected a number",
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n0,8,8,1,2\n,8,8,1,2\n": "row 2: arrival_s is empty",
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n0,8,8,-1,2\n": (
        "row 1: ttft_s -1: expected seconds from 0 to 3.16e+08"
    ),
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n0,8.5,8,1,2\n": (
        "row 1: input_tokens 8.5: expected a whole number from 1"
    ),
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n0,0,8,1,2\n": (
        "row 1: input_tokens 0: expected a whole number from 1"
    ),
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\ninf,8,8,1,2\n": (
        "row 1: arrival_s inf: expected a finite number"
    ),
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n0,8,8,3,2\n": "row 1: e2e_s 2: expected at least ttft_s",
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n0,8,8,1,1e300\n": (
        "row 1: e2e_s 1e+300: expected seconds from 0 to 3.16e+08"
    ),
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n1e10,8,8,1,2\n0,8,8,1,2\n": (
        "row 1: arrival_s 1e+10: expected seconds, at most"
    ),
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s,ttft_s\n0,8,8,1,2,1\n": "two columns ttft_s; expected one",
    '{"a": ': "line 1: not JSON",
    '{"a": 1}\n{"b": ': "line 2: not JSON",
    '{"a": 1}': "no layout of requests is known with the keys a: expected GuideLLM's report",
    "[]": "no layout of requests is known with no keys",
    '{"mean_ttft_ms": 5}': "a summary without requests: expected a result that vLLM saved with --save-detailed",
    '{"experiments": []}': "genai-perf's raw export has no token counts: expected AIPerf's profile_export.jsonl",
    vllm_without(
        "start_times"
    ): "start_times is missing: expected a list with one entry per request, which newer versions of vLLM write",
    vllm_without("itls"): "itls is missing",
    json.dumps(engine_logs.vllm() | {"ttfts": [1.0]}): "lists of different lengths",
    json.dumps(engine_logs.vllm() | {"itls": ["x"] * 6}): "itls 'x': expected a list of seconds",
    json.dumps(engine_logs.vllm() | {"input_lens": ["a"] * 6}): "request 1: input_tokens 'a': expected a number",
    json.dumps(engine_logs.vllm() | {"errors": True}): "errors 'True': expected a list with one entry per request",
    json.dumps(engine_logs.vllm() | {"errors": [""] * 5}): "lists of different lengths",
    json.dumps(
        engine_logs.vllm() | {"input_lens": [10**400] * 6}
    ): "row 1: input_tokens inf: expected a whole number from 1",
    '{"benchmarks": []}': "no benchmarks: expected one or more",
    '{"benchmarks": [{"requests": {"successful": [], "errored": 3}}]}': "requests.errored '3': expected a list",
    guidellm_with(time_to_first_token_ms="50"): "request 1: time_to_first_token_ms '50': expected a number",
    guidellm_with(end_time="noon"): "request 1: end_time 'noon': expected a number",
    changed_aiperf(lambda one: one.update(metrics=3)): "line 1: metrics '3': expected an object",
    changed_aiperf(
        lambda one: one["metrics"]["request_latency"].update(unit=["ms"])
    ): "unit \"['ms']\": expected one of s, sec, ms",
    '{"benchmarks": [{"a": 1}]}': "requests.successful is missing",
    '{"benchmarks": [{"requests": {"successful": [{"start_time": 1}]}}]}': "request 1: input_tokens is missing",
    changed_aiperf(
        lambda one: one["metadata"].pop("request_start_ns")
    ): "metadata.request_start_ns 'None': expected nanoseconds",
    changed_aiperf(
        lambda one: one["metrics"].pop("request_latency")
    ): "metrics.request_latency 'None': expected a value",
    changed_aiperf(
        lambda one: one["metrics"]["request_latency"].update(unit="fortnights")
    ): "unit 'fortnights': expected one of s, sec, ms",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_log_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_log(path)
    assert REFUSED[text] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    for read in (read_log, read_power_log):
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / "none")
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path)


# --- power ------------------------------------------------------------------------------------------------------------


def test_power_in_both_layouts(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(engine_logs.csv_text())
    log = read_log(tmp_path / "log.csv")  # 0 to 3.055 s
    (tmp_path / "ours.csv").write_text("time_s,power_w\n0,100\n1,300\n2,200\n3,200\n4,200\n")
    ours = read_power_log(tmp_path / "ours.csv")
    assert ours.mean_w(log) == pytest.approx((100 + 300 + 1.055 * 200) / 3.055)
    assert ours.means_w(log, 2) == pytest.approx([(100 + 0.5275 * 300) / 1.5275, (0.4725 * 300 + 1.055 * 200) / 1.5275])
    (tmp_path / "dated.json").write_text(json.dumps(engine_logs.guidellm()))
    dated = read_log(tmp_path / "dated.json")  # from 2023-11-14 22:13:20 UTC on
    rows = ["index, timestamp, power.draw [W]"]
    for second, (first, other) in enumerate(((60, 40), (200, 100), (100, 100), (100, 100), (100, 100))):
        rows += [f"0, 2023/11/14 22:13:2{second}.000, {first}.00 W", f"1, 2023/11/14 22:13:2{second}.000, {other}.00 W"]
    (tmp_path / "smi.csv").write_text("\n".join(rows) + "\n")
    smi = read_power_log(tmp_path / "smi.csv")
    assert smi.mean_w(dated) == pytest.approx(ours.mean_w(log))
    with pytest.raises(InputError, match=r"has dates, but .*log.csv has none"):
        smi.mean_w(log)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a,b\n1,2\n", "columns a, b: expected time_s, power_w, or nvidia-smi's timestamp"),
        ("time_s,power_w\n1,2\n", "1 readings: expected at least two"),
        ("time_s,power_w\n1,2\n2,x\n", "row 2: power_w 'x': expected a number from 0"),
        ("time_s,power_w\n1,2\n2,-1\n", "row 2: power_w '-1'"),
        (
            "timestamp, power.draw [W]\n2023/11/14 22:13:20.000, 5 W\nyesterday, 5 W\n",
            "row 2: timestamp ' yesterday'|'yesterday'",
        ),
        ("time_s,power_w\n1,2\n2,1e300\n", "row 2: power_w '1e300': expected a number from 0 to 1e+10"),
        ("time_s,index,power_w\n0,,1\n1,0,1\n", "spans 0 to 1 s"),
        ("time_s,power_w\n0,1\n1,1\n", "spans 0 to 1 s after the first request"),
        ("time_s,power_w\n2.5,1\n2.6,1\n2.7,1\n9,1\n", "expected 0 to 3.055 s"),
    ],
)
def test_what_is_no_power_log_is_refused(tmp_path: Path, text: str, wanted: str) -> None:
    (tmp_path / "power").write_text(text)
    (tmp_path / "log.csv").write_text(engine_logs.csv_text())
    with pytest.raises(InputError) as caught:
        read_power_log(tmp_path / "power").mean_w(read_log(tmp_path / "log.csv"))
    assert any(part in str(caught.value) for part in wanted.split("|"))
