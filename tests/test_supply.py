"""Supply: balances at every sample, a week by hand, the best dispatch against every rule, work that waits, the
design space.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from caps_fast.supply import Assumptions, supply
from caps_fast.supply.best import OBJECTIVES, best
from caps_fast.supply.designs import FRONT, explore, on_front
from caps_fast.supply.limits import limits_kwh
from caps_fast.supply.outcome import (
    CLEAN,
    CURTAILED,
    DISCHARGED,
    FROM_GRID,
    FROM_SITE,
    IMPORTED,
    RULES,
    STORED,
    UNSERVED,
    Design,
    Dispatch,
    Weather,
    dispatch,
    figures,
    flags,
)
from caps_fast.supply.site import Site
from caps_fast.supply.waiting import moved
from supply_sites import random_site, week

GIVEN = Assumptions()
DESIGN = Design(solar_kw=20.0, wind_kw=4.0, battery_kwh=30.0, battery_kw=10.0)


def under(site: Site, weather: Weather, design: Design, rule: str, given: Assumptions = GIVEN) -> Dispatch:
    if rule in OBJECTIVES:
        return best(site, weather, design, rule, given)
    return dispatch(site, weather, design, rule, given, flags(site, rule, given))


def test_a_week_by_hand() -> None:
    """Sun 30 kWh by day: 10 to the load, 12 (1 kW) to the battery, of which 6 arrive; 4.8 of these serve the night."""
    site, weather = week()
    given = Assumptions(
        charge_efficiency=0.5, discharge_efficiency=0.8, depth_of_discharge=0.8, fade=0.0, battery_cost_per_kwh=30.0
    )
    design = Design(solar_kw=10.0, battery_kwh=10.0, battery_kw=1.0)
    found = under(site, weather, design, "greedy", given)
    np.testing.assert_allclose(found.flows[:, FROM_SITE], [12.0, 0.0] * 7)
    np.testing.assert_allclose(found.flows[:, STORED], [6.0, 0.0] * 7)
    np.testing.assert_allclose(found.flows[:, IMPORTED], [0.0, 5.2] * 7)
    row = figures(site, weather, found, given)
    wear = 7 * 6.0 / 8.0 / 3000.0
    assert wear > 7 / 365.25 / 15.0
    expected = {
        "load_kwh": 140.0,
        "solar_kwh": 210.0,
        "direct_kwh": 70.0,
        "discharged_kwh": 33.6,
        "imported_kwh": 36.4,
        "curtailed_kwh": 56.0,
        "peak_import_kw": 5.2 / 12.0,
        "matched_by_sample": 0.74,
        "matched_in_all": 1.0,
        "operational_kg": 18.2,
        "embodied_kg": 210.0 * 0.055 + wear * 740.0,
        "cost": 72.8 + wear * 300.0,
        "cycles": 5.25,
        "battery_wear": wear,
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_charging_from_the_grid_by_hand() -> None:
    """Without sun the carbon rule fills the battery by day, 12 in, 6 stored, 4.8 out by night, and none of it is
    clean.
    """
    site, weather = week()
    given = Assumptions(charge_efficiency=0.5, discharge_efficiency=0.9, fade=0.0, low_quantile=0.4, high_quantile=1.0)
    design = Design(battery_kwh=10.0, battery_kw=1.0)
    found = under(site, weather, design, "carbon", given)
    np.testing.assert_allclose(found.flows[2:, IMPORTED], [22.0, 10.0 - 5.4] * 6)  # day 0 has no night to compare with
    assert figures(site, weather, found, given)["matched_by_sample"] == 0.0
    dear = replace(site, g_per_kwh=np.where(site.g_per_kwh == 500.0, 220.0, 200.0))  # less than the round trip loses
    assert not under(dear, weather, design, "carbon", given).flows[:, FROM_GRID].any()


@pytest.mark.parametrize("seed", range(6))
def test_balances_limits_and_the_best(seed: int) -> None:
    """At every sample energy is conserved and the battery within its limits; no rule is below the best, with and
    without waiting.
    """
    site, weather = random_site(seed, negative=seed == 5)
    rng = np.random.default_rng(seed)
    given = Assumptions(
        charge_efficiency=rng.uniform(0.7, 1.0),
        discharge_efficiency=rng.uniform(0.7, 1.0),
        depth_of_discharge=rng.uniform(0.5, 1.0),
        cycles=rng.uniform(3.0, 300.0),
        battery_years=0.2,
        battery_cost_per_kwh=1.0,
    )
    design = Design(
        rng.uniform(0, 40), rng.uniform(0, 10), rng.uniform(5, 60), rng.uniform(2, 20), (0.0, 0.5)[seed % 2]
    )
    if seed in (2, 3):
        weather = replace(weather, limit_kwh=np.where(np.arange(len(site.hours)) % 24 >= 20, 4.0, np.inf))
    rows = {}
    for rule in (*RULES, *OBJECTIVES):
        found = under(site, weather, design, rule, given)
        rows[rule] = figures(site, weather, found, given)
        expect_balanced(site, weather, found, given)
    worst = 1e-6
    assert (rows["greedy"]["unserved_kwh"] > 0.0) == (seed in (2, 3))
    for rule in RULES:
        assert rows["best"]["unserved_kwh"] <= rows[rule]["unserved_kwh"] + worst
        if seed in (2, 3):
            continue  # power where a rule has none has its price
        assert rows["best"]["total_kg"] <= rows[rule]["total_kg"] + worst
        assert rows["best-cost"]["cost"] <= rows[rule]["cost"] + worst
    if seed not in (2, 3):
        assert rows["best"]["total_kg"] < rows["greedy"]["total_kg"] - worst


def expect_balanced(site: Site, weather: Weather, found: Dispatch, given: Assumptions) -> None:
    flows, design, near = found.flows, found.design, 1e-6
    made = design.solar_kw * weather.solar_kwh + design.wind_kw * weather.wind_kwh
    charged = flows[:, FROM_SITE] + flows[:, FROM_GRID]
    np.testing.assert_allclose(
        flows[:, IMPORTED] + made + flows[:, DISCHARGED] + flows[:, UNSERVED],
        found.run_kwh + charged + flows[:, CURTAILED],
        rtol=0,
        atol=near,
    )
    assert flows.min() >= -near
    assert (flows[:, IMPORTED] <= weather.limit_kwh + near).all()
    power = design.battery_kw * site.hours
    assert (charged <= power + near).all()
    assert (flows[:, DISCHARGED] <= power + near).all()
    drawn = flows[:, DISCHARGED] / given.discharge_efficiency
    stored = np.cumsum(charged * given.charge_efficiency - drawn)
    np.testing.assert_allclose(flows[:, STORED], stored, rtol=0, atol=1e-5)
    usable = design.battery_kwh * given.depth_of_discharge
    assert (stored <= usable - given.fade_per_kwh * np.cumsum(drawn) + 1e-5).all()
    assert (flows[:, CLEAN] <= flows[:, DISCHARGED] + near).all()
    for begin, end in zip(site.days[:-1], site.days[1:], strict=True):
        late = np.cumsum(site.load_kwh[begin:end] - found.run_kwh[begin:end])
        assert late.min() >= -near  # nothing runs before it comes
        assert late[-1] == pytest.approx(0.0, abs=near)
    assert (found.run_kwh <= np.maximum(site.most_kw * site.hours, site.load_kwh) + near).all()
    least = site.load_kwh - design.wait_share * site.busy_kwh
    assert (found.run_kwh >= least - near).all()


@pytest.mark.parametrize("seed", range(4))
def test_waiting_is_the_best_without_a_battery(seed: int) -> None:
    site, weather = random_site(seed + 20)
    design = Design(solar_kw=20.0, wait_share=0.8)
    rule, lowest = under(site, weather, design, "greedy"), under(site, weather, design, "best")
    kg = [figures(site, weather, one, GIVEN)["operational_kg"] for one in (rule, lowest)]
    assert kg[0] == pytest.approx(kg[1], rel=1e-9)
    assert (
        kg[0]
        < figures(site, weather, under(site, weather, replace(design, wait_share=0.0), "greedy"), GIVEN)[
            "operational_kg"
        ]
    )


def test_a_reduction_by_hand() -> None:
    """Nights from the grid; in the second, at most 4 kWh: the battery, which may not serve before, gives 6 of its
    8; a full one 8 of 10.
    """
    site, weather = week()
    given = Assumptions(charge_efficiency=1.0, discharge_efficiency=1.0, fade=0.0, high_quantile=1.0, low_quantile=0.0)
    costly = replace(
        site, g_per_kwh=np.linspace(900.0, 100.0, 14)
    )  # always at its lowest, so that `carbon` never serves
    limit = limits_kwh(costly, None, ["0.3333333333333333kW@36..48", "0kW@62..63"])
    np.testing.assert_allclose(limit[[3, 5]], [4.0, 0.0])
    assert np.isinf(np.delete(limit, [3, 5])).all()
    design = Design(solar_kw=6.0, battery_kwh=8.0, battery_kw=10.0)
    found = under(costly, replace(weather, limit_kwh=limit), design, "carbon", given)
    np.testing.assert_allclose(found.flows[[1, 3, 5], IMPORTED], [10.0, 4.0, 0.0])
    np.testing.assert_allclose(found.flows[[1, 3, 5], DISCHARGED], [0.0, 6.0, 8.0])
    np.testing.assert_allclose(found.flows[[1, 3, 5], UNSERVED], [0.0, 0.0, 2.0])
    expect_balanced(costly, replace(weather, limit_kwh=limit), found, given)


def test_waiting_by_hand() -> None:
    """Two hours of work may wait, there is room for one more an hour: the third is the cleanest, then the second."""
    work, price = np.array([2.0, 1.0, 0.0, 1.0]), np.array([3.0, 1.5, 1.0, 2.0])
    days = np.array([0, 4])
    np.testing.assert_allclose(moved(work, work, np.zeros(4), price, np.full(4, 2.0), days), [0.0, 1.0, 2.0, 1.0])
    np.testing.assert_allclose(moved(work, 0.5 * work, np.zeros(4), price, np.full(4, 1.0), days), [1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(
        moved(work, work, np.array([0.0, 0.0, 0.0, 9.0]), price, np.full(4, 3.0), days), [0.0, 0.0, 1.0, 3.0]
    )


def test_a_battery_fades_with_its_cycles() -> None:
    site, weather = week()
    given = Assumptions(fade=0.5, cycles=7.0)
    stored = under(site, weather, Design(solar_kw=10.0, battery_kwh=5.0, battery_kw=10.0), "greedy", given).flows[
        ::2, STORED
    ]
    np.testing.assert_allclose(stored[:2], [5.0, 5.0 - 5.0 * 0.5 / 7.0])
    assert (np.diff(stored) < 0.0).all()


def test_a_design_space_is_its_designs() -> None:
    site, weather = random_site(7)
    over = {"solar": [0.0, 20.0], "wind": [0.0, 5.0], "battery": [0.0, 30.0], "wait": [0.0, 0.4]}
    table = explore(site, weather, DESIGN, over, "carbon", GIVEN)
    assert table.height == 16
    for row in table.to_dicts():
        design = Design(**{name: row[name] for name in vars(DESIGN)})
        assert design.battery_kw == pytest.approx(design.battery_kwh / 3.0)
        alone = figures(site, weather, under(site, weather, design, "carbon"), GIVEN)
        assert {name: row[name] for name in alone} == alone
    points = table.select(FRONT).to_numpy()
    below = [((points <= own).all(1) & (points < own).any(1)).any() for own in points]
    assert table["front"].to_list() == [not one for one in below]
    assert on_front(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [0.0, 3.0]])) == [
        True,
        True,
        True,
        False,
        True,
    ]


def test_the_public_function(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Strings as on the command line; what it writes is a site that it reads."""
    site, _ = week()
    found = supply(site, "20kW", "0.005", "30kWh,10kW", wait=0.2, rules=["greedy", "best"])
    design = found.dispatches[0].design
    assert (design.solar_kw, design.wind_kw, design.battery_kwh, design.battery_kw) == (20.0, 5.0, 30.0, 10.0)
    assert [row["rule"] for row in found.rows()] == ["greedy", "best"]
    path = tmp_path / "flows.parquet"
    found.flows.write_parquet(path)
    again = supply(path, "20kW", "0.005", "30kWh,10kW", wait=0.2, rules=["greedy", "best"])
    assert pl.DataFrame(again.rows()).equals(pl.DataFrame(found.rows()))
