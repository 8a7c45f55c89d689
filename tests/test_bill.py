"""The whole bill: money by time, water, embodied carbon and hours of replicas, by hand and over random runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast.arrays import J_PER_KWH
from caps_fast.errors import InputError
from caps_fast.metrics import heading
from caps_fast.outcome import Outcome
from caps_fast.prices import Prices, prices_of, read_prices
from caps_fast.report.tables import summary_table
from caps_fast.scenario import Scenario, preset
from cases import cases, fleets, play_fast
from plain import case, cluster, grid, requests
from slow_engine import Case

KINDS = {"embodied_kg": 164.0, "lifetime_years": 4.0, "price_per_replica_hour": 2.5}
YEAR_S = 365.25 * 86400.0


def with_terms(one: Case, region: dict[str, Any], kind: dict[str, Any] | None = None) -> Case:
    """A case with these fields in every region and kind."""
    changes = {f"regions.{name}.{field}": value for name in one.config.fleet.regions for field, value in region.items()}
    changes |= {
        f"gpus.{name}.{field}": value for name in one.config.fleet.kinds for field, value in (kind or {}).items()
    }
    monitors = {"monitor": one.monitor, "others": one.others}
    return Case(one.config.replace(changes), requests=one.requests, means=one.means, **monitors)


@settings(max_examples=40)
@given(case=st.one_of(cases("edf"), fleets("edf")), price=st.floats(-1, 3))
def test_what_is_constant(case: Case, price: float) -> None:
    """One price: cost is the bill's energy times it and hours times theirs; nothing else of the results changes."""
    plain = play_fast(case)
    priced = play_fast(with_terms(case, {"price_per_kwh": price, "water_l_per_kwh": 1.8, "pue": 1.3}, KINDS))
    hours = plain.spent["seconds"].sum() / 3600.0
    energy_kwh = plain.spent["energy_j"].sum() / J_PER_KWH
    found = priced.metrics
    assert found["replica_hours"] == pytest.approx(hours, rel=1e-12)
    assert found["energy_cost"] == pytest.approx(1.3 * energy_kwh * price, rel=1e-9, abs=1e-12)
    assert found["cost"] == pytest.approx(found["energy_cost"] + 2.5 * hours, rel=1e-9)
    assert found["water_l"] == pytest.approx(1.8 * energy_kwh, rel=1e-12)
    per_gpu_s = sum(
        float(row.sum()) * kind.gpus_per_replica
        for row, kind in zip(plain.spent["seconds"], case.config.fleet.kind_of, strict=True)
    )
    assert found["embodied_kg"] == pytest.approx(per_gpu_s * 164.0 / (4.0 * YEAR_S), rel=1e-12)
    if plain.books.output_tokens:
        grams = 1000.0 * (found["bill_kg"] + found["embodied_kg"])
        assert found["sci_g_per_1k_tokens"] == pytest.approx(1000.0 * grams / plain.books.output_tokens, rel=1e-12)
    for whole, base, part in (
        ("bill_kwh", "total_energy_kwh", "pue_energy_kwh"),
        ("bill_kg", "total_carbon_kg", "pue_carbon_kg"),
    ):
        assert found[part] == pytest.approx(0.3 * found[base], rel=1e-9)
        assert found[base] + found[part] == pytest.approx(found[whole], rel=1e-9)
        assert plain.metrics[part] == 0.0
    for name in ("carbon_kg", "idle_carbon_kg", "energy_kwh", "total_carbon_kg", "slo_attainment"):
        np.testing.assert_equal(found[name], plain.metrics[name])
    for name in ("cost", "energy_cost", "embodied_kg", "water_l"):
        assert plain.metrics[name] == 0.0


def busy_from_5_to_25(changes: dict[str, Any]) -> Outcome:
    """One replica, busy from 5 to 25 s at 300 W, idle else at 50 W until the arrivals end at 40 s; a sample every
    10 s.
    """
    gpu = {
        "gpu.decode_base_s": 1.0,
        "gpu.decode_s_per_seq": 0.0,
        "gpu.prefill_s_per_token": 1e-12,
        "gpu.idle_w": 50.0,
        "gpu.peak_w": 300.0,
    }
    times_s = [*np.arange(-50.0, 60.0, 10.0)]
    one = case(
        cluster(1, 1) | gpu | {"days": 40 / 86400, "drain_h": 1.0},
        requests(5.0, 1, 20),
        grid(times_s, [100.0] * len(times_s)),
    )
    return play_fast(with_terms(one, changes))


def test_prices_over_time_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("time,price_per_kwh\n-30,9\n0,1\n20,2\n30,-4\n")
    result = busy_from_5_to_25({"price_file": str(file), "pue": 1.5})
    joules = 1 * (5 * 50 + 15 * 300) + 2 * (5 * 300 + 5 * 50) - 4 * (10 * 50)
    assert result.metrics["energy_cost"] == pytest.approx(1.5 * joules / J_PER_KWH, rel=1e-9)


def test_a_price_that_changes_within_a_sample_counts_by_its_share(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("time,price_per_kwh\n0,0\n14,10\n")  # of the sample from 10 to 20, 6 s of 10
    result = busy_from_5_to_25({"price_file": str(file)})
    joules = 0.6 * 10 * 300 + 5 * 300 + 5 * 50 + 10 * 50
    assert result.metrics["energy_cost"] == pytest.approx(10 * joules / J_PER_KWH, rel=1e-9)


def test_hours_of_the_day_follow_the_clock() -> None:
    hours = [float(hour) for hour in range(24)]
    region = {"regions.grid.price_by_hour": hours}
    base = preset("paper").replace(region)
    assert price_at(base, [0.0, 3599.0, 3600.0, 86400.0 * 7 + 7200.0]) == [0.0, 0.0, 1.0, 2.0]
    late = preset("paper").replace(region | {"start": "2024-08-05T21:30Z"})
    assert price_at(late, [0.0, 1801.0, 9001.0]) == [21.0, 22.0, 0.0]


def price_at(config: Scenario, at_s: list[float]) -> list[float]:
    times_s = np.array(at_s)
    return prices_of(config.fleet.regions["grid"], config).mean(times_s, times_s).tolist()


@given(
    st.lists(st.tuples(st.floats(0.1, 50), st.floats(-5, 5)), min_size=1, max_size=8),
    st.floats(-20, 300),
    st.floats(0, 100),
)
def test_mean_price_is_that_of_a_fine_grid(steps: list[tuple[float, float]], from_s: float, length_s: float) -> None:
    times_s = np.cumsum([step for step, _ in steps])
    prices = Prices(times_s, np.array([price for _, price in steps]))
    edges_s = np.unique([from_s, from_s + length_s, *times_s[(times_s > from_s) & (times_s < from_s + length_s)]])
    at = np.maximum(np.searchsorted(times_s, edges_s[:-1], side="right") - 1, 0)
    found = prices.mean(np.array([from_s]), np.array([from_s + length_s]))[0]
    if length_s > 1e-6:
        assert found == pytest.approx(prices.per_kwh[at] @ np.diff(edges_s) / length_s, rel=1e-6, abs=1e-6)


def test_dates_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("price_per_kwh,time,note\n0.1,2024-08-05T00:00Z,a\n0.3,2024-08-05T02:00+01:00,b\n")
    prices = read_prices(str(file), datetime(2024, 8, 5, 0, 30, tzinfo=UTC))
    assert prices.times_s.tolist() == [-1800.0, 1800.0]
    assert prices.per_kwh.tolist() == [0.1, 0.3]
    assert read_prices(str(file), None).times_s.tolist() == [0.0, 3600.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,price\n0,1\n", "no column price_per_kwh"),
        ("time,price_per_kwh\n", "no rows"),
        ("time,price_per_kwh\n0,1\n0,2\n", "row 2: time 0: expected a later time than"),
        ("time,price_per_kwh\n0,1\n1,x\n", "row 2: price_per_kwh 'x'"),
        ("time,price_per_kwh\n0,1\n1,nan\n", "row 2: price_per_kwh 'nan'"),
        (
            "time,price_per_kwh\n0,1\n1,1e308\n",
            "row 2: price_per_kwh '1e308': expected a price from -1,000,000 to 1,000,000",
        ),
        ("time,price_per_kwh\n2024-01-01,1\nsoon,2\n", "row 2: time 'soon'"),
        ("time,price_per_kwh\nx,1\n", "row 1: time 'x'"),
    ],
)
def test_bad_files_are_refused_before_the_run(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=said) as refused:
        busy_from_5_to_25({"price_file": str(file)})
    assert str(refused.value).startswith(str(file))


def test_a_day_has_24_prices() -> None:
    with pytest.raises(InputError, match=r"price_by_hour: 23 prices: expected 24, one for each hour of the day"):
        busy_from_5_to_25({"price_by_hour": [0.1] * 23})


def test_one_price_is_told() -> None:
    with pytest.raises(
        InputError, match=r"regions\.grid price_per_kwh together with price_by_hour: expected one of them"
    ):
        preset("paper").replace({"regions.grid.price_per_kwh": 0.1, "regions.grid.price_by_hour": [0.1] * 24})
    with pytest.raises(InputError, match=r"price_by_hour"):
        preset("paper").replace({"regions.grid.price_by_hour": [0.1] * 23})


def test_the_report_shows_what_is_counted() -> None:
    row = {
        "preset": "paper",
        "policy": "edf",
        "rate_rps": 1.0,
        "slo_attainment": 0.5,
        "bill_kg": 12.5,
        "embodied_kg": 0.0,
        "cost": 3.25,
    }
    table = summary_table(pl.DataFrame([row, row]))
    assert "12.50" in table["rows"][0]
    assert "3.25" in table["rows"][0]
    assert heading("cost") in table["heads"]
    assert heading("embodied_kg") not in table["heads"]
