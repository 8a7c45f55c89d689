"""`inspect --profile`: the workload file that resembles a trace."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from caps_fast.cli.inspect import register
from caps_fast.errors import InputError
from caps_fast.traces import read_requests
from caps_fast.workload.resemble import likeness, regenerated, workload_file
from test_demand_files import trace_file, written

DAY_S = 86400.0
AZURE = Path(__file__).parents[2] / "shared/data/requests/AzureLLMInferenceTrace_conv.csv"


def inspect(*arguments: object) -> str:
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(("days", "tiers"), [(0.4, False), (2.0, True), (14.0, False)])
def test_a_workload_that_resembles_a_trace(tmp_path: Path, days: float, tiers: bool) -> None:
    path, out = trace_file(tmp_path / "trace.csv", days, tiers=tiers), tmp_path / "out.toml"
    found = json.loads(inspect(path, "--profile", out, "--json"))["likeness"]
    trace = read_requests(path)
    assert found == json.loads(json.dumps(likeness(trace, regenerated(str(out), trace))))
    original, again = found["requests"]
    assert abs(original - again) < 4.5 * math.sqrt(2 * original)
    for name in ("input_tokens_p50", "output_tokens_p50", "input_tokens_p95", "output_tokens_p95", "input_tokens_mean"):
        assert found[name][1] == pytest.approx(found[name][0], rel=0.15), name
    assert found["gap_cv"][1] == pytest.approx(found["gap_cv"][0], rel=0.1)
    assert found["length_correlation"][1] == pytest.approx(found["length_correlation"][0], abs=0.06)
    rates = {name: values for name, values in found.items() if name.startswith("rps_")}
    assert len(rates) == (24 if days >= 1 else 10)
    span_s = days * DAY_S / len(rates)
    for name, (one, other) in rates.items():
        assert abs(one - other) < 5 * math.sqrt(2 * one / span_s) + 0.02 * one, name
    if tiers:
        assert found["share_gold"][1] == pytest.approx(found["share_gold"][0], abs=0.03)


def test_inspect_profile_prints_both_side_by_side_and_refuses(tmp_path: Path) -> None:
    path = trace_file(tmp_path / "trace.csv", 1.0)
    printed = inspect(path, "--profile", tmp_path / "out.toml")
    heading = next(line for line in printed.splitlines() if "original" in line)
    assert heading.split() == ["original", "regenerated"]
    lengths = tmp_path / "lengths.csv"
    pl.DataFrame({"input_tokens": [5, 6], "output_tokens": [1, 2]}).write_csv(lengths)
    with pytest.raises(InputError, match="has no arrival times"):
        inspect(lengths, "--profile", tmp_path / "no.toml")
    assert not (tmp_path / "no.toml").exists()
    carbon = written(tmp_path / "carbon.csv", "time,carbon_intensity\n2024-08-05T00:00Z,100\n2024-08-05T01:00Z,120\n")
    with pytest.raises(InputError, match="is read as a carbon file: expected a request trace"):
        inspect(carbon, "--profile", tmp_path / "no.toml", "--as", "carbon")


def test_batches_of_a_trace_are_taken_over(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    at_s = np.sort(rng.random(3000) * 40_000).round(3)
    sizes = rng.geometric(1 / 4, len(at_s))
    path = tmp_path / "bursts.csv"
    columns = {
        "arrival_s": np.repeat(at_s, sizes),
        "input_tokens": np.full(sizes.sum(), 50),
        "output_tokens": np.full(sizes.sum(), 20),
    }
    pl.DataFrame(columns).write_csv(path)
    trace = read_requests(path)
    out = written(tmp_path / "out.toml", workload_file(trace))
    again = regenerated(out, trace)
    assert again["arrival_s"].n_unique() == pytest.approx(3000, rel=0.1)
    assert len(again) == pytest.approx(sizes.sum(), rel=0.1)


@pytest.mark.skipif(not AZURE.exists(), reason="the Azure trace is not here")
def test_the_azure_hour_is_resembled(tmp_path: Path) -> None:
    trace = read_requests(AZURE)
    found = likeness(trace, regenerated(written(tmp_path / "out.toml", workload_file(trace)), trace))
    for name in (
        "requests",
        "gap_cv",
        "dispersion_10_s",
        "input_tokens_p50",
        "input_tokens_p95",
        "output_tokens_p50",
        "output_tokens_p95",
    ):
        assert found[name][1] == pytest.approx(found[name][0], rel=0.12), name
