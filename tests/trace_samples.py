"""Request traces: every format's round trip, the real files, and mangled ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, settings

from caps_fast.errors import InputError
from caps_fast.traces import TraceFile, read_requests

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
    return csv_text("TIMESTAMP,ContextTokens,GeneratedTokens", rows(times, INPUTS, OUTPUTS), "\r\n").removesuffix(
        "\r\n"
    )


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
        [
            {"timestamp": 27000 + 1000 * s, "input_length": n, "output_length": m, "hash_ids": [1, 2]}
            for s, n, m in rows(ARRIVAL_S, INPUTS, OUTPUTS)
        ]
    )


def guidellm_jsonl() -> str:
    return jsonl_text(
        [{"timestamp": s, "input_length": n, "output_length": m} for s, n, m in rows(ARRIVAL_S, INPUTS, OUTPUTS)]
    )


def guidellm_csv() -> str:
    return csv_text("timestamp,input_length,output_length", rows(ARRIVAL_S, INPUTS, OUTPUTS))


def vidur() -> str:
    return csv_text(
        ",arrived_at,num_prefill_tokens,num_decode_tokens",
        [(i, *line) for i, line in enumerate(rows(ARRIVAL_S, INPUTS, OUTPUTS))],
    )


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
