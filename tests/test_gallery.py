"""The gallery at a small scale: every scenario and sweep of it is whole, and its commands give tables and pictures."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from caps_fast.cli import main
from caps_fast.scenario import load as scenario
from caps_fast.sweep import Workers, load, sweep
from caps_fast.workload import workload_of

ROOT = Path(__file__).parent.parent
FOLDER, PAGES = ROOT / "sweeps" / "gallery", ROOT / "docs" / "gallery"
SWEEPS = ("nightly-batch", "surge", "two-generations")
SCENARIOS = ("next-year", "wrong-forecast", "two-generations-fleet")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["caps-fast", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def shortened(name: str, folder: Path) -> Path:
    """A file of the gallery with a run of half an hour, one seed and EDF alone."""
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^days = .*$", "days = 0.02", text)
    text = re.sub(r"(?m)^seeds = .*$", "seeds = 1", text)
    text = re.sub(r"(?m)^policy = .*$", 'policy = ["edf"]', text)
    text = re.sub(r"(?m)^\"policy.scaling\" = .*$", '"policy.scaling" = ["none"]', text)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_files_and_pages_belong_together() -> None:
    names = {path.stem for path in PAGES.glob("*.md")} - {"index"}
    assert names == {path.stem for path in FOLDER.glob("*.toml")} - {"two-generations-fleet"}
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in names:
        page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert f"make gallery-{name}" in page
        assert name in targets
        assert (PAGES / f"{name}.png").stat().st_size > 10_000
    assert names == {*SWEEPS, "next-year", "wrong-forecast"}


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The whole plan is valid, and a short one gives a front with a picture."""
    plan = load(FOLDER / f"{name}.toml")
    assert len(plan) > 10
    shortened("two-generations-fleet", tmp_path)
    short = load(shortened(name, tmp_path))
    found = sweep(short, tmp_path / "runs", Workers(1))
    assert not found.failures
    assert found.runs.height == len(short)
    picture = tmp_path / "front.png"
    words = ("--x", "bill_kg", "--y", "slo_attainment", *(("--group", "day") if name == "surge" else ()))
    assert run(monkeypatch, "pareto", tmp_path / "runs", *words, "--picture", picture) == 0
    assert "hypervolume" in capsys.readouterr().out
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios(name: str) -> None:
    """Valid, and its requests can be drawn."""
    config = scenario(FOLDER / f"{name}.toml").replace({"days": 0.02})
    assert sum(len(block) for block in workload_of(config).blocks(4096)) > 100
