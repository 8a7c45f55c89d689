"""The commands `grid` and `sweep`: a summary for people, and one clear line for what cannot be."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from caps_fast import cli
from caps_fast.metrics import METRICS
from caps_fast.outcome import parameters
from caps_fast.policies import MAIN
from caps_fast.scenario import preset
from caps_fast.sweep import sweep
from caps_fast.sweep.rows import fields, table
from tiny_sweeps import SERIAL, content, grid, plan_of


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    sweep(plan_of(), folder, SERIAL)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(cli, "MODULES", ("grid", "sweep", "pareto", "compare", "tune"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["caps-fast", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_grid_prints_a_summary_at_one_rate(undisturbed: Path, tmp_path: Path, run: Any) -> None:
    options = ("grid", *grid(tmp_path, "--jobs", "1")[4:])
    code, out, _ = run(*options)
    assert code == 0
    assert out.startswith("at 8 req/s")
    assert len(out.splitlines()) == 5
    assert content(tmp_path) == content(undisturbed)
    code, out, _ = run(*options, "--json")
    assert [row["policy"] for row in json.loads(out)] == ["round-robin", "edf"]
    assert code == 0
    code, out, _ = run(*options, "--dry-run", "--json")
    assert json.loads(out)["runs"] == 12
    code, out, _ = run("sweep", str(Path(__file__).parent.parent / "sweeps/paper.toml"), "--dry-run")
    assert out.startswith("375 runs, 2.04 billion requests")


def test_an_earlier_picture_goes_where_there_are_no_curves(tmp_path: Path, run: Any) -> None:
    options = ("grid", *grid(tmp_path, "--jobs", "1", "--beta", "0,1,0.5")[4:])
    _, _, err = run(*options)
    assert f"drew {tmp_path}/rates.png: beta 0.5 (of 0, 0.5, 1)" in err
    run(*options, "--rates", "4")
    assert not (tmp_path / "rates.png").exists()


def test_the_papers_figures_stand_beside_runs_of_its_set_up_only(capsys: pytest.CaptureFixture[str]) -> None:
    from caps_fast.cli.sweeping import _tell_results  # noqa: PLC0415

    base = preset("paper").replace({"days": 0.5, "policy.beta": 1})
    rows = [
        parameters(base.replace({"policy.name": name}))
        | fields(base)
        | dict.fromkeys(METRICS, 1.0)
        | {"input_hashes": "{}"}
        for name in MAIN
    ]
    runs = table(rows)
    _tell_results(runs, as_json=False)
    assert "0.5 days at 10 req/s; ours, then the paper's" in capsys.readouterr().out
    for other in ({"cluster.max_batch": 4}, {"carbon.file": "mine.csv"}, {"slo.gold.ttft_s": 3.0}, {"preset": "mine"}):
        _tell_results(runs.with_columns(**{name: pl.lit(value) for name, value in other.items()}), as_json=False)
        assert "the paper's" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        ("--rates", "16..2"),
        ("--rates", "-2"),
        ("--rates", "0"),
        ("--policies", "nope"),
        ("--splits", "8/8/9"),
        ("--splits", "8/8"),
        ("--splits", "x"),
        ("--alpha", "-1"),
        ("--days", "0"),
        ("--seeds", "0"),
        ("--preset", "nope"),
        ("--scenario", "nope.toml"),
        ("--trace", "nope.csv"),
        ("--carbon", "nope.csv"),
        ("--set", "nope"),
        ("--set", "no.such=1"),
        ("--backend", "dask"),
        ("--backend", "loky", "--address", "somewhere:1"),
        ("--jobs", "-1"),
        ("--no-such",),
    ],
    ids=" ".join,
)
def test_bad_options_are_told_in_one_line_before_anything_is_written(
    tmp_path: Path, run: Any, options: tuple[str, ...]
) -> None:
    code, out, err = run("grid", *options, "--out", str(tmp_path / "out"))
    assert (code, out) == (2, "")
    assert err.startswith("caps-fast: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
