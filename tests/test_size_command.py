"""`caps-fast size` as its user sees it: a table, JSON, a picture, and one clear line for everything that is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from caps_fast.cli import main

QUICK = ("size", "measured", "--days", "0.01", "--set", "predictor.source=declared", "--seeds", "3", "--jobs", "1")


Patch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]


def run(monkeypatch: Patch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["caps-fast", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_a_row_a_policy_and_why_smaller_fleets_fail(monkeypatch: Patch, capsys: Capture, tmp_path: Path) -> None:
    picture = tmp_path / "size.png"
    words = ("--slo", "0.9", "--tier", "silver=0.9", "--policies", "edf,caps", "--picture", picture)
    assert run(monkeypatch, *QUICK, *words) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "least bill kg with SLO met at least 90%, silver at least 90%; means over seeds with intervals"
    assert [line.split()[0] for line in lines[3:5]] == ["edf", "caps"]
    smaller = lines[lines.index("the next smaller fleets miss it:") + 1]
    assert smaller.startswith("  edf, ")
    assert "of 90%; most in Gold: " in smaller
    assert lines[-2] == "relative to edf, each at its own best size, on the same requests:"
    assert "replicas instead of" in lines[-1]
    assert "cost" not in said.out  # no prices
    assert "nan" not in said.out
    assert "misses its targets" in said.err
    assert picture.stat().st_size > 10_000


def test_json_has_a_row_per_policy_and_rate(monkeypatch: Patch, capsys: Capture) -> None:
    words = (
        "--slo",
        "none",
        "--tier",
        "gold=0.7",
        "--policies",
        "edf,caps",
        "--rates",
        "5,8",
        "--objective",
        "replicas",
        "--json",
    )
    assert run(monkeypatch, *QUICK, *words) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["policy"], row["rate_rps"]) for row in rows] == [("edf", 5), ("caps", 5), ("edf", 8), ("caps", 8)]
    for row in rows:
        assert sum(map(int, row["split"].split("/"))) == row["replicas"]
        assert 0.7 <= row["slo_attainment_gold"] <= 1
        assert row["bill_kg_low"] < row["bill_kg"] < row["bill_kg_high"]
        assert "cost" in row
        assert {fleet["keeps"] for fleet in row["tried"]} == {True, False}
        for fleet in row["too_small"]:
            assert fleet["slo_attainment_gold"] < 0.7
            assert fleet["replicas"] < row["replicas"]


def test_targets_out_of_reach_are_one_line(monkeypatch: Patch, capsys: Capture) -> None:
    assert run(monkeypatch, *QUICK, "--slo", "0.9999", "--policies", "edf", "--over", "replicas=3..5") == 2
    said = capsys.readouterr()
    (line,) = [one for one in said.err.splitlines() if one.startswith("caps-fast: ")]
    assert line.startswith("caps-fast: --slo 0.9999: no fleet of 3 to 5 replicas meets it with edf at 10 req/s: ")
    assert ": the closest, 5 replicas in 2/2/1, has " in line
    assert said.out == ""


def test_runs_without_requests_have_no_answer(monkeypatch: Patch, capsys: Capture) -> None:
    assert run(monkeypatch, *QUICK, "--days", "1e-9", "--policies", "edf") == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("caps-fast: days 1e-09: no request arrives for slo_attainment")
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--slo", "much"), "--slo 'much': expected a share above 0, at most 1"),
        (("--tier", "gold"), "--tier 'gold': expected a tier and its share, once each, as gold=0.9"),
        (("--over", "split"), "--over 'split': expected field=values"),
        (("--objective", "fame"), "objective 'fame': expected one of carbon, "),
        (("--picture", "size.txt"), "size.txt: picture: expected a name ending in .png, .svg, .pdf"),
        (("--policies", "edf,"), "policies 'edf,': an empty name; expected names separated by commas"),
        (("--over", "policy.depth=1,2"), "--over policy.depth: unknown field of a scenario"),
        (("--over", "policy.placement=here"), "--over scenario: policy.placement 'here': expected one of residents"),
        (("--rates", "0"), "--rates 0: expected a number greater than 0"),
    ],
)
def test_bad_options_are_one_line(monkeypatch: Patch, capsys: Capture, words: tuple[str, ...], said: str) -> None:
    assert run(monkeypatch, *QUICK, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
