"""What cannot be used is told before anything is trained, run or written, whatever the command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from caps_fast import predictor
from caps_fast.calibrate import outcome
from caps_fast.cli import main
from caps_fast.sweep import fanout

TUNE = "tune paper --days 0.01 --trials 2 --seeds 1 --held-out 1"
CALIBRATION = """
[training]
days = 0.01
"predictor.source" = "declared"
{training}
[report]
days = 0.01
{report}
[bounds]
"policy.beta" = {{ range = [0, 1] }}
[[targets]]
policy = "caps"
metric = "energy_kwh"
value = 1
tolerance = 1
"""
GAPS = "time,carbon_intensity_gco2eq_per_kwh\n2024-01-01T00:00Z,100\n2024-01-01T01:00Z,100\n2024-01-01T09:00Z,100\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"{TUNE} --search carbon.file=gaps.csv,none", "gaps.csv: 7 samples are missing"),
        (f"{TUNE} --search predictor.model=junk,none", "junk: not a model"),
        (f"{TUNE} --search policy=caps,nowhere.py", "nowhere.py: cannot be read"),
        (f"{TUNE} --study .", ".: not a regular file"),
        ("train --evaluate nowhere", "nowhere: cannot be read"),
        ("train --evaluate carbon.file=gaps.csv", "gaps.csv: 7 samples are missing"),
        ("train --evaluate policy.name=nowhere.py", "nowhere.py: cannot be read"),
        ("train --trace junk", "junk"),
        ("grid --days 0.01 --set predictor.model=junk", "junk: not a model"),
        ("grid --days 0.01 --out ftp://host/path", "out 'ftp://host/path': expected a folder, or a bucket"),
        ("grid --days 0.01 --out s3://", "out 's3://': expected a folder, or a bucket"),
        (
            "grid --days 0.01 --jobs 99999999999999999999",
            "--jobs '99999999999999999999': expected less than or equal to 4096",
        ),
        ("reproduce --out taken", "taken/claims.parquet: not a regular file"),
        ("reproduce --out new --seeds 100000000000", "1 to 10,000 seeds"),
        ("reproduce --out new --days 0.5 --curve-days 1", "curve days 1: expected no more than the 0.5 days"),
        ("calibrate training.toml --out new", "junk: not a model"),
        ("calibrate report.toml --out new", "gaps.csv: 7 samples are missing"),
        ("calibrate good.toml --out taken", "taken/best.toml: not a regular file"),
        ("inspect gaps.csv --picture x.txt", "x.txt: picture: expected a name ending in .png"),
        ("inspect gaps.csv --picture nowhere/x.png", "the folder nowhere does not exist"),
        ("fit-profile gaps.csv --picture x.txt", "x.txt: picture: expected a name ending in .png"),
    ],
)
def test_told_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, said: str
) -> None:
    def too_late(*_: object) -> None:
        pytest.fail("something is trained or run before the bad input is told")

    for module, name in (
        (predictor, "predictor_of"),
        (predictor, "train_model"),
        (fanout, "work"),
        (outcome, "_search"),
    ):
        monkeypatch.setattr(module, name, too_late)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gaps.csv").write_text(GAPS)
    (tmp_path / "junk").write_bytes(b"\x00\x01junk")
    for name, training, report in (
        ("good", "", ""),
        ("training", '"predictor.model" = "junk"', ""),
        ("report", "", '"carbon.file" = "gaps.csv"'),
    ):
        (tmp_path / f"{name}.toml").write_text(CALIBRATION.format(training=training, report=report))
    for name in ("claims.parquet", "best.toml"):
        (tmp_path / "taken" / name).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["caps-fast", *command.split()])
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr()
    assert left.value.code == 2
    assert said in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert sorted(tmp_path.rglob("*")) == before
