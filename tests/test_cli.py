"""The command line as its user sees it: tables, files, and one clear line for everything that is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from caps_fast import __version__, predictor
from caps_fast.cli import main, talk
from caps_fast.progress import Progress

QUICK = ("--days", "0.01", "--set", "predictor.source=declared")
TIMES = ["released_s", "admitted_s", "first_token_s", "finished_s"]
LENGTHS = ["input_tokens", "output_tokens"]
COLUMNS = [
    "request",
    "arrival_s",
    "tier",
    "category",
    "tenant",
    *LENGTHS,
    "pool",
    "role",
    "gpu",
    *TIMES,
    "outcome",
    "met_slo",
    "energy_j",
    "carbon_g",
]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["caps-fast", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_a_table_a_policy_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "run", "paper", "--policies", "main", *QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:]] == ["round-robin", "edf", "slo-aware", "carbon-aware", "caps"]


def test_json_echoes_the_scenario(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "run", "measured", "--json", "--rate", "3", "--seed", "7", *QUICK) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["rate_rps"], row["seed"], row["preset"]) == (3.0, 7, "measured")
    assert row["scenario"]["gpu"]["profile"] == "a100-llama2-70b-tp4"
    assert 0 <= row["slo_attainment"] <= 1


def test_json_has_no_nan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert run(monkeypatch, "run", "--json", "--rate", "0.001", *QUICK) == 0
    (row,) = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert row["requests"] < 3
    assert row["slo_attainment_gold"] is None or row["slo_attainment_bronze"] is None


def test_requests_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "requests.parquet"
    assert run(monkeypatch, "run", "--requests-out", out, *QUICK) == 0
    table = pl.read_parquet(out)
    assert table.columns == COLUMNS
    assert table["request"].is_sorted()
    assert set(table["tier"].unique()) == {"gold", "silver", "bronze"}
    assert list(tmp_path.iterdir()) == [out]


def test_series_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "series.parquet"
    assert run(monkeypatch, "run", "--series-out", out, *QUICK) == 0
    assert {"t_s", "gamma_g_per_kwh", "pool", "power_w", "waiting"} <= set(pl.read_parquet(out).columns)


def test_a_scenario_file_over_a_preset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "measured"\ndays = 0.01\n[cluster]\nsplit = "6/10/8"\n[predictor]\nsource = "declared"\n')
    assert run(monkeypatch, "run", path, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["split"], row["preset"], row["days"]) == ("6/10/8", "measured", 0.01)


BAD = [
    (("run", "nowhere.toml"), r"nowhere\.toml: cannot be read"),
    (("run", "--rate", "-1"), r"--rate -1\.0: expected a number greater than 0"),
    (("run", "--rate", "0"), r"--rate 0\.0: expected a number greater than 0"),
    (("run", "--rate", "many"), r"--rate.*'many'"),
    (("run", "--days", "nan"), r"--days nan: expected a finite number"),
    (("run", "--split", "²/8/8"), r"--split '²/8/8'"),
    (("run", "--split", "8" * 5000), r"--split '8+': expected whole numbers"),
    (("run", "--set", f"days={'9' * 5000}"), r"days inf"),
    (("run", "--set", f"cluster.chunk_tokens={10**20}"), r"chunk_tokens 10{20}"),
    (("run", "--set", "monitor.window_h=1e300"), r"window_h 1e\+300"),
    (("grid", "--seeds", "²"), r"--seeds: '²'"),
    (("run", "--split", "8/8"), r"roles"),
    (("run", "--split", "8/x/8"), r"--split '8/x/8'"),
    (("run", "--set", "cluster.split=8/8/9"), r"8/8/9 sums to 25"),
    (("run", "--policies", "fifo"), r"--policies: policy 'fifo': expected some of round-robin"),
    (("run", "--set", "policy.nonsense=1"), r"policy\.nonsense: unknown field"),
    (("run", "--set", "policy.beta"), r"expected field=value"),
    (("run", "--set", "workload.category_shares=[0.5,0.5,0.5]"), r"category_shares sum to 1\.5"),
    (("run", "--trace", "nowhere.csv"), r"nowhere\.csv"),
    (("run", "--carbon", "nowhere.csv"), r"nowhere\.csv"),
    (("run", "--requests-out", "/nowhere/at/all.parquet"), r"does not exist"),
    (("run", "--requests-out", "."), r"\.: not a regular file; expected a file to write"),
    (("run", "--series-out", "nowhere/at/all.parquet"), r"the folder .*nowhere/at does not exist"),
    (("run", "--requests-out", "x.xlsx"), r"--requests-out x\.xlsx: expected a name that ends in \.parquet"),
    (("run", "--set", "admission.by_tier.iron.max_waiting=1"), r"admission\.by_tier\.iron 'iron': expected 'gold', "),
    (
        ("run", "--policy", "edf", "--set", "policy.scaling=autoscale", "--set", "policy.options.utilization=0"),
        r"policy\.options\.utilization 0: expected above 0",
    ),
    (("run", "--checkpoint", "."), r"not a regular file"),
    (("run", "--checkpoint", __file__), r"test_cli\.py: not a complete checkpoint"),
    (("train", "--out", "."), r"not a regular file"),
    (("train", "--set", "workload.sessions.users=5"), r"for training: expected a workload without sessions"),
    (("run", "--policies", "main", "--requests-out", "x.parquet"), r"one policy"),
    (
        ("run", "--requests-out", "x.parquet", "--series-out", "./x.parquet"),
        r"--series-out x\.parquet: a file which --requests-out writes",
    ),
    (("run", "--set", "days=true"), r"days true: expected a number"),
    (("run", "--set", "control_step_s=1e-9"), r"control_step_s 1e-09"),
    (("run", "--set", "drain_h=1e300"), r"drain_h 1e\+300"),
    (("run", "--set", "workload.max_output_tokens=10000000000"), r"max_output_tokens 10000000000"),
    (("run", "--set", "workload.input_token_edges=[8,256,2048,100000000000]"), r"input_token_edges\.3 100000000000"),
    (("grid", "--rates", "2", "--trace", "nowhere.csv", "--dry-run"), r"nowhere\.csv: cannot be read"),
    (("grid", "--rates", "2", "--out", ""), r"out '': expected a folder"),
    (("grid", "--rates", "2", "--seeds", "999999999", "--dry-run"), r"999999999; expected .* fewer than 10,000,000"),
    (("run", "--nonsense"), r"No such option: --nonsense"),
    (("nonsense",), r"nonsense"),
    (("rnu",), r"Did you mean 'run'"),
    (("run", "--polices", "edf"), r"--polices \(did you mean --policies\?\) \(see caps-fast run --help\)"),
    (("run", "papr"), r"scenario 'papr' \(did you mean paper\?\)"),
    (("run", "--policy", "edff"), r"--policy: policy 'edff' \(did you mean edf\?\)"),
    (("run", "--set", "policy.bta=1"), r"--set policy\.bta \(did you mean policy\.beta\?\): unknown field"),
    (
        ("run", "--set", "origins.x.share=1"),
        r"--set origins\.x\.share: this scenario has no origins\.x: expected one, in",
    ),
    (("run", "--set", "ttft_s=1"), r"--set ttft_s \(did you mean slo\.gold\.ttft_s\?\)"),
    (("run", "--rates", "2,4"), r"--rates '2,4': expected a number; caps-fast grid takes several"),
    (("run", "--rates=-1"), r"--rates -1\.0: expected a number greater than 0"),
    (("run", "--seed", "1.5"), r"--seed '1\.5': expected a whole number"),
    (("run", "--days"), r"--days.* requires an argument"),
    (("run", "--picture", "x.gif"), r"x\.gif: picture: expected a name ending in \.png"),
    (("run", "--report", "x.pdf"), r"--report x\.pdf: expected a name that ends in \.html"),
    (("grid", "--rate", "2...4"), r"--rate: '2\.\.\.4': expected a\.\.b"),
    (("grid", "--rate", "0,2", "--dry-run"), r"--rate 0: expected a number greater than 0"),
    (("grid", "--split", "8/8", "--dry-run"), r"--split 8/8 sums to 16"),
    (("grid", "paper", "--preset", "measured"), r"paper together with --preset measured: expected one"),
    (("profiles", "rtx4090"), r"'rtx4090' \(did you mean rtx4090-llama3\.1-8b\?\)"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    def too_late(*_: object) -> None:
        pytest.fail("a predictor was asked for, and may be trained for seconds, before the bad input was told")

    for name in ("predictor_of", "train_model"):
        monkeypatch.setattr(predictor, name, too_late)
    assert run(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.search(message, said.err), said.err
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["days = ", "days = 'long'", "[cluster]\nsplit = 8", "surprise = 1", "preset = 3", "\x00"]
)
def test_bad_scenario_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert run(monkeypatch, "run", path) == 2
    assert str(path) in capsys.readouterr().err


def test_a_broken_carbon_file_names_the_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "grid.csv"
    path.write_text("time,carbon_intensity\n2024-08-05T00:00:00Z,200\n2024-08-05T01:00:00Z,many\n")
    assert run(monkeypatch, "run", "--carbon", path, "--set", "carbon.unit=g/kWh", *QUICK) == 2
    assert re.search(r"grid\.csv.*row 3.*many", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("command", "option"),
    [("run", "--requests-out"), ("run", "--series-out"), ("run", "--checkpoint"), ("train", "--out")],
)
def test_no_output_takes_the_place_of_an_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, option: str
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,10,5\n1,20,5\n")
    before = trace.read_bytes()
    link = tmp_path / "link.csv"
    link.symlink_to(trace)
    assert run(monkeypatch, command, "--trace", trace, option, link) == 2
    assert f"{option} {link}: a file which is an input" in capsys.readouterr().err
    assert trace.read_bytes() == before


def test_a_picture_and_a_page_of_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture, page = tmp_path / "run.svg", tmp_path / "run.html"
    assert (
        run(monkeypatch, "run", "--policies", "caps,round-robin", "--picture", picture, "--report", page, *QUICK) == 0
    )
    assert f"wrote {picture}" in capsys.readouterr().err
    assert picture.read_text().startswith("<?xml")
    document = page.read_text()
    assert "Round Robin" in document
    assert "http-equiv" in document
    assert len(list(tmp_path.iterdir())) == 2


def test_quiet_prints_results_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "--quiet", "run", "--series-out", tmp_path / "s.parquet", *QUICK) == 0
    assert run(monkeypatch, "run", "-q", "--series-out", tmp_path / "s.parquet", *QUICK) == 0
    said = capsys.readouterr()
    assert "requests in 0.01 days" in said.out
    assert said.err == ""
    assert run(monkeypatch, "run", "-q", "--days", "-1") == 2
    assert "--days -1.0: expected" in capsys.readouterr().err


def test_a_fault_of_ours_shows_where_if_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("caps_fast.cli.scenarios.expect_scenario", fault)
    assert run(monkeypatch, "bound") == 1
    assert capsys.readouterr().err == "caps-fast: internal error: RuntimeError: broken (--verbose shows where)\n"
    monkeypatch.setattr(sys, "argv", ["caps-fast", "bound", "--verbose"])
    with pytest.raises(RuntimeError, match="broken"):
        main()


def test_a_bar_on_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("caps_fast.progress.LIVE_S", 0.0)
    Progress(2, 0.0).add(1, 0.0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("caps_fast.progress.SPARSE_S", 0.0)
    Progress(2, 0.0).add(1, 0.0)
    assert capsys.readouterr().err == " 50%  1 of 2 runs; 0 s left\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(2, 0.0)
    progress.add(1, 0.0)
    talk.say("a line between")
    progress.add(1, 0.0)
    progress.close()
    begun, half, line, _, whole, ended, nothing = re.split(r"\r|\n", capsys.readouterr().err)[1:]
    assert begun.startswith("─" * 24 + "   0%  0 of 2 runs")
    assert half.startswith("━" * 12 + "─" * 12 + "  50%  1 of 2 runs")
    assert line == "\x1b[Ka line between"
    assert whole.startswith("━" * 24 + " 100%  2 of 2 runs")
    assert (ended, nothing) == (whole, "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("caps-fast run pa", "paper"),
        ("caps-fast run --policies edf,car", "edf,carbon-aware"),
        ("caps-fast siz", "size"),
        ("caps-fast run --pol", "--policies"),
    ],
)
def test_the_shell_is_offered_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, offered: str
) -> None:
    monkeypatch.setenv("_CAPS_FAST_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", typed)
    assert run(monkeypatch) == 0
    assert offered in capsys.readouterr().out


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"caps-fast {__version__}\n"


@pytest.mark.parametrize("command", ["policies", "presets", "profiles"])
def test_lists(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run(monkeypatch, command) == 0
    assert capsys.readouterr().out.strip()


def test_help_imports_nothing_heavy() -> None:
    heavy = "numba|polars|lightgbm|matplotlib|pydantic|optuna|scipy|numpy"
    check = (
        "import sys, re; from caps_fast.cli import _app; _app(); print([m for m in sys.modules if "
        f"re.fullmatch('{heavy}', m)])"
    )
    assert (
        subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
