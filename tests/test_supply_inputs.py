"""What `supply` reads: sites of runs, plants from files, weather; the command, and one clear line for everything
that is wrong.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from caps_fast.cli import main
from caps_fast.errors import InputError
from caps_fast.results import Result
from caps_fast.scenario import preset
from caps_fast.simulation import simulate
from caps_fast.supply import Assumptions, battery_of, supply
from caps_fast.supply.designs import axes_of
from caps_fast.supply.plant import plant_of, read_plant, size_kw
from caps_fast.supply.site import UNDATED, site_of
from caps_fast.supply.weather import sun, wind
from supply_sites import week

QUICK = {"predictor.source": "declared", "policy.name": "edf", "workload.rate_rps": 1.0, "days": 1.0}
SMALL = ("--policy", "edf", "--rate", "0.5", "--days", "0.2", "--set", "predictor.source=declared")
SIZES = ("--solar", "20kW", "--battery", "20kWh,5kW")


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(
        preset("measured").replace(QUICK | {"regions.grid.pue": 1.25, "regions.grid.price_by_hour": list(range(24))})
    )


def test_the_site_of_a_run(result: Result) -> None:
    """Its load, carbon and money are the bill's."""
    site, metrics = site_of(result), result.metrics
    assert site.load_kwh.sum() == pytest.approx(metrics["bill_kwh"], rel=1e-12)
    assert site.load_kwh @ site.g_per_kwh / 1000 == pytest.approx(metrics["bill_kg"], rel=1e-9)
    assert site.load_kwh @ site.price_per_kwh == pytest.approx(metrics["energy_cost"], rel=1e-9)
    assert site.busy_kwh.sum() == pytest.approx(1.25 * metrics["energy_kwh"], rel=1e-12)
    assert (site.load_kwh <= site.most_kw * site.hours).all()
    assert site.start == UNDATED
    assert site.hours.max() <= 1.0


def test_a_run_repeated(result: Result) -> None:
    """Every day has the run's energy, its drain at the beginning; the grid and its prices go on."""
    once, site = site_of(result), site_of(result, days=5.0)
    assert site.days.tolist() == [0, 24, 48, 72, 96, 120]
    assert site.load_kwh.reshape(5, 24).sum(axis=1) == pytest.approx(np.full(5, once.load_kwh.sum()), rel=1e-12)
    late = once.load_kwh[24:].sum()
    assert late > 0.0
    early = np.append(once.load_kwh[24:], np.zeros(24))[:23]
    np.testing.assert_allclose(site.load_kwh[:23], once.load_kwh[:23] + early, rtol=0.02)
    assert site.price_per_kwh.tolist() == [*range(24)] * 5
    assert len(set(site.g_per_kwh.reshape(5, 24)[:, 0])) == 5
    with pytest.raises(InputError, match=r"days 0\.5: expected at least the run's 1"):
        site_of(result, days=0.5)
    with pytest.raises(InputError, match="region 'moon': expected one of grid"):
        site_of(result, region="moon")


def test_the_built_in_weather() -> None:
    """Means over the year are as stated; the sun is highest at its noon, never up at midnight, and lower in winter."""
    given = Assumptions(solar_capacity_factor=0.2, wind_capacity_factor=0.4, longitude_deg=-120.0)
    day, blow = sun(given), wind(given)
    assert day.factors.mean() == pytest.approx(0.2, rel=1e-9)
    assert blow.factors.mean() == pytest.approx(0.4, rel=1e-9)
    by_day = day.factors.reshape(365, 96)
    assert by_day.sum(axis=0).argmax() // 4 in (19, 20)  # 12:00 of 120 degrees west
    assert not by_day[:, 30:34].any()  # 23:30 to 0:30
    assert by_day[330:].mean() < 0.7 * by_day[150:200].mean()
    hours = blow.factors
    assert np.corrcoef(hours[1:], hours[:-1])[0, 1] > 0.8
    edges_s = np.array([0.0, 450.0, 5400.0, 86400.0 * 730])
    np.testing.assert_allclose(day.means(edges_s)[2], 0.2, rtol=1e-3)
    np.testing.assert_allclose(blow.means(edges_s)[:2], [hours[0], (hours[0] * 3150 + hours[1] * 1800) / 4950])
    assert (
        sun(Assumptions(weather_seed=1)).factors[40:].tolist() != sun(Assumptions(weather_seed=2)).factors[40:].tolist()
    )


def plants_file(path: Path, column: str, values: list[float | str], step: timedelta = timedelta(hours=1)) -> str:
    times = [datetime(2024, 8, 5, tzinfo=UTC) + at * step for at in range(len(values))]
    rows = [f"{time:%Y-%m-%dT%H:%MZ},{value}" for time, value in zip(times, values, strict=True)]
    path.write_text("\n".join([f"time,{column}", *rows]) + "\n")
    return str(path)


def test_plants_from_files(tmp_path: Path) -> None:
    """MW as they are or scaled to a size, capacity factors with a size; shorter files are repeated."""
    site, _ = week()
    mw = plants_file(tmp_path / "farm.csv", "solar_mw", [0.0] * 12 + [2.0] * 6 + [4.0] * 6)
    farm = read_plant(mw, site)
    assert farm.kw == 4000.0
    np.testing.assert_allclose(farm.factors, [0.0, 0.75] * 7)
    assert "its last day is repeated" in farm.notes[-1]
    assert plant_of("solar", f"{mw}@20kW", site, Assumptions()).kw == 20.0
    share = plants_file(tmp_path / "share.csv", "capacity_factor", [0.5, 0.25] * 12)
    np.testing.assert_allclose(plant_of("wind", f"{share}@1MW", site, Assumptions()).factors, 0.375)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("solar_mw", [1.0, -1.0], "row 3, solar_mw: '-1.0'; expected a power of at least 0"),
        ("capacity_factor", [0.5, 1.5], "row 3, capacity_factor: '1.5'; expected a capacity factor from 0 to 1"),
        ("capacity_factor", [0.5, "x"], "row 3, capacity_factor: 'x'; expected a capacity factor"),
        ("capacity_factor", [0.5] * 24, "has capacity factors; expected the plant's size with it"),
        ("power", [0.5] * 24, "no column of output among time, power; expected one in MW or kW, or capacity_factor"),
        ("solar_mw", [1e300, 1.0], "row 2, solar_mw: '1e+300'; expected a power of at least 0, at most 1,000,000 MW"),
        ("solar_kwh", [0.5] * 24, "no column of output among time, solar_kwh; expected one in MW or kW"),
        ("g_per_kwh", [0.5] * 24, "no column of output among time, g_per_kwh; expected one in MW or kW"),
        ("solar_mw", [1.0], "one row; expected at least two"),
        ("solar_mw", [0.0] * 24, "is 0 throughout"),
        ("solar_mw", [1.0] * 3, "has no whole day to repeat"),
    ],
)
def test_bad_plants(tmp_path: Path, column: str, values: list[float | str], said: str) -> None:
    with pytest.raises(InputError) as error:
        read_plant(plants_file(tmp_path / "bad.csv", column, values), week()[0])
    assert said in str(error.value)


def test_gaps_are_named(tmp_path: Path) -> None:
    path = tmp_path / "gap.csv"
    path.write_text("time,mw\n2024-08-05T00:00Z,1\n2024-08-05T01:00Z,1\n2024-08-05T02:00Z,1\n2024-08-05T05:00Z,1\n")
    with pytest.raises(InputError, match="row 5: 3:00:00 after the sample before; expected 1:00:00"):
        read_plant(str(path), week()[0])


def test_sizes() -> None:
    assert [size_kw(text, "--solar") for text in ("20", "20MW", "500kW", "0", "1e-3gw")] == pytest.approx(
        [20000, 20000, 500, 0, 1000]
    )
    assert battery_of("80kWh,20kW") == (80.0, 20.0)
    assert battery_of("0.08") == (80.0, 20.0)
    assert axes_of(["solar=0..0.02:0.01", "battery=0,5kWh", "wait=0,0.5"]) == {
        "solar": [0, 10, 20],
        "battery": [0, 5],
        "wait": [0, 0.5],
    }


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["caps-fast", "supply", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--solar", "-3"), "--solar '-3': expected 0 to"),
        (("--solar", "20kWh"), "--solar '20kWh': expected a size in MW, as 20, 20MW or 500kW"),
        (("--battery", "20,"), "--battery '': expected a size in MW"),
        (("--battery", "20,0"), "expected both energy and power above 0"),
        (("--rules", "best,magic"), "rule 'magic': expected one of greedy, price, carbon, best, best-cost"),
        (("--over", "sun=3"), "--over 'sun=3': expected solar, wind, battery, wait"),
        (("--over", "wait=0,2"), "--over wait '2': expected a share from 0 to 1"),
        (("--over", "solar=1,2", "--rules", "best"), "a design space needs a rule"),
        (("--assume", "cycles=0"), "--assume cycles=0: expected a number greater than 0"),
        (("--assume", "moon=1"), "--assume 'moon=1': unknown field; expected one of latitude_deg"),
        (("--reduce", "5kW"), "--reduce '5kW': expected a size and hours from t = 0, as 15kW@26..29"),
        (("--reduce", "5kW@900..901"), "begins after the end"),
        (("--limit", "-1"), "--limit '-1': expected 0 to"),
        (("--region", "mars"), "region 'mars': expected one of grid"),
        (("--repeat-days", "3"), "its load can be repeated for whole days only"),
        (("--solar", "none.csv"), "none.csv: cannot be read (No such file or directory); expected a table of times"),
        (("--out", "flows.csv"), "--out flows.csv: expected a name that ends in .parquet"),
    ],
)
def test_bad_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert run(monkeypatch, "measured", *SMALL, *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [said in line for line in lines if line.startswith("caps-fast:")] == [True], lines


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A table, flows, a picture, a design space from the flows; every rule's row is the public function's."""
    flows, picture = tmp_path / "flows.parquet", tmp_path / "flows.png"
    assert run(monkeypatch, "measured", *SMALL, *SIZES, "--out", flows, "--picture", picture) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["greedy", "price", "carbon", "best"]
    assert picture.stat().st_size > 10_000
    assert run(monkeypatch, flows, *SIZES, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == supply(str(flows), "20kW", None, "20kWh,5kW").rows()
    over = ("--over", "solar=0,20kW", "--over", "battery=0,20kWh")
    assert run(monkeypatch, flows, *over, "--picture", picture, "--out", tmp_path / "designs.parquet") == 0
    assert capsys.readouterr().out.startswith("4 designs with rule greedy")
    assert pl.read_parquet(tmp_path / "designs.parquet").height == 4
    assert run(monkeypatch, flows, "--rate", "3") == 2
    assert "is the result of a run; expected a scenario" in capsys.readouterr().err
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "odd.parquet")
    assert run(monkeypatch, tmp_path / "odd.parquet") == 2
    assert "no column t_s; expected a file that supply --out wrote" in capsys.readouterr().err
