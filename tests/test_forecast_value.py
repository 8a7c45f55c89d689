"""`forecast-value`: savings by forecast against a baseline on the same requests, by region, and one line for what
is wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from caps_fast.carbon.grid import forecast_error
from caps_fast.carbon.monitor import monitors_of
from caps_fast.cli import main
from caps_fast.errors import InputError
from caps_fast.foresight import _row, forecast_value
from caps_fast.foresight.choices import choices_of
from caps_fast.foresight.runs import Outcome, outcomes
from caps_fast.scenario import Scenario, preset
from caps_fast.sweep import Workers

QUICK = preset("paper").replace(
    {"predictor.source": "declared", "policy.name": "caps", "days": 1.0, "workload.rate_rps": 1.0}
)


def fleet() -> Scenario:
    """One pool of each role; the batch pool in a region of its own."""
    pools = [
        {"name": role.lower(), "role": role, "replicas": 2, "region": "east" if role == "BP" else "west"}
        for role in ("LP", "CP", "BP")
    ]
    regions = {"west": {"pue": 1.0}, "east": {"pue": 1.5, "carbon": {"day_to_day_sd": 0.3}}}
    kind = next(iter(QUICK.fleet.kinds))
    return QUICK.replace({"pools": [{**pool, "gpu": kind} for pool in pools], "regions": regions})


def test_a_row_by_hand() -> None:
    """Savings of 10 and 20 %: mean 15, Student's t with one degree of freedom; errors are means over seeds."""
    runs = [
        Outcome({"a": 9.0, "b": 3.0}, {"a": np.array([0.1, np.nan])}, 0.9, ()),
        Outcome({"a": 8.0, "b": 1.0}, {"a": np.array([0.3])}, 0.8, ()),
    ]
    before = [Outcome({"a": 10.0, "b": 4.0}, {}, 1.0, ()), Outcome({"a": 10.0, "b": 2.0}, {}, 0.9, ())]
    row = _row(runs, before, "a", 0.95)
    assert (row["saving"], row["kg"], row["baseline_kg"]) == pytest.approx((0.15, 8.5, 10.0))
    assert row["high"] - row["saving"] == pytest.approx(12.7062 * 0.05, rel=1e-4)  # type: ignore[operator]
    assert row["error_day_1"] == pytest.approx(0.2)
    assert np.isnan(row["error_day_2"])  # type: ignore[arg-type]
    assert _row(runs, before, "all", 0.95)["saving"] == pytest.approx((2 / 14 + 3 / 12) / 2)
    assert _row(runs[:1], before[:1], "a", 0.95)["high"] is None


def test_choices_set_fields_by_region() -> None:
    config = fleet()
    perfect, noise, file = choices_of(["perfect", "noise:2", "carboncast"], {"carboncast": "ciso.csv"})
    assert noise.fields(config)["regions.east.monitor.forecast_error"] == pytest.approx((0.13, 0.294, 0.394, 0.436))
    assert file.fields(config)["regions.west.monitor.forecast_file"] == "ciso.csv"
    assert perfect.fields(config.replace(noise.fields(config)))["regions.east.monitor.forecast"] == "perfect"
    assert [one.is_oracle for one in choices_of(["noise:0.5", "perfect", "learned", "file:a.csv"])] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["oracle"], "--forecasts 'oracle': expected some of perfect"),
        (["noisy"], "--forecasts 'noisy': expected some of perfect"),
        (["noise:-1"], "expected a factor of at least 0"),
        (["perfect", "perfect"], "'perfect' appears twice"),
        (["carboncast"], "--forecasts 'carboncast': expected its file, as --forecast-file"),
        (["noise:50"], "an error of 10.9; expected below 2"),
        (["file:none.csv"], "none.csv: cannot be read"),
    ],
)
def test_bad_forecasts(names: list[str], said: str) -> None:
    with pytest.raises(InputError) as error:
        forecast_value(QUICK, forecasts=names, baseline="caps", seeds=[0])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"seeds": []}, "seeds: none"),
        ({"of": "all"}, "of 'all': expected one of bill, busy"),
        ({"grids": ["a.csv"]}, "has 2 regions; expected a fleet in one"),
    ],
)
def test_bad_settings(more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        forecast_value(fleet(), forecasts=["perfect"], baseline="caps", **more)
    assert said in str(error.value)


def test_against_itself_by_region() -> None:
    """A baseline with the perfect forecast: nothing is saved under that, and regions add up; errors are the
    monitors' own.
    """
    config = fleet()
    found = forecast_value(
        config, forecasts=["perfect", "noise:4", "persistence"], baseline="caps", seeds=[3, 4], workers=Workers(1)
    )
    rows = found.rows
    assert rows.filter(pl.col("forecast") == "perfect")["saving"].to_list() == [0.0] * 3
    assert rows["region"].to_list()[:3] == ["all", "west", "east"]
    for own in rows.partition_by("forecast", maintain_order=True):
        kg = dict(zip(own["region"], own["kg"], strict=True))
        assert kg["all"] == pytest.approx(kg["west"] + kg["east"], rel=1e-12)
    [again] = outcomes([config.replace({"seed": 3})], "bill", Workers(1))
    assert sum(again.kg.values()) == pytest.approx(rows["baseline_kg"][0], rel=0.05)
    noisy = rows.filter(pl.col("forecast") == "noise:4")
    assert noisy["error_day_1"].to_list() == pytest.approx([0.26] * 3, rel=0.2)
    assert noisy["saving"].to_list() != [0.0] * 3  # the forecast is used
    [persistence] = rows.filter(pl.col("forecast") == "persistence", pl.col("region") == "east")[
        "error_day_1"
    ].to_list()
    monitor = monitors_of(config.replace({"regions.east.monitor.forecast": "persistence"}))[1]
    assert persistence == float(forecast_error(monitor.forecast, monitor.trace)[0])


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture, out = tmp_path / "value.png", tmp_path / "value.parquet"
    words = [
        "paper",
        "--policies",
        "caps",
        "--baseline",
        "caps",
        "--days",
        "0.2",
        "--rate",
        "1",
        "--set",
        "predictor.source=declared",
        "--jobs",
        "1",
    ]

    def run(*more: object) -> int:
        monkeypatch.setattr(sys, "argv", ["caps-fast", "forecast-value", *words, *map(str, more)])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    assert run("--seeds", "2", "--forecasts", "perfect,yesterday", "--picture", picture, "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "relative to caps, on the same requests, 2 seeds"
    assert [line.split()[:2] for line in lines[3:]] == [["caps", "perfect"], ["caps", "yesterday"]]
    assert picture.stat().st_size > 10_000
    assert run("--seeds", "2", "--forecasts", "perfect,yesterday", "--json") == 0
    assert json.loads(capsys.readouterr().out) == pl.read_parquet(out).fill_nan(None).to_dicts()
    assert run("--forecasts", "file:none.csv", "--seeds", "1") == 2
    assert "none.csv" in capsys.readouterr().err
