"""Drawn arrivals have the rate, the gaps, the batches and the levels that are declared; the same requests whatever
the block size.

Statistical tests use fixed seeds and a level of 1e-3.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from caps_fast import scenario
from caps_fast.arrays import Array
from caps_fast.demand import Demand, Levels, RateTable, Surge
from caps_fast.errors import InputError
from caps_fast.workload import workload_of
from caps_fast.workload.arrivals import Arrivals
from caps_fast.workload.intensity import MONTH_DAYS, Clockwork, Rate
from caps_fast.workload.profile_file import table_of
from caps_fast.workload.shapes import FLAT, shape_of
from caps_fast.workload.varied import VariedWorkload

LEVEL = 1e-3
DAY_S, WEEK_S = 86400.0, 604800.0
CONFIDENT = stats.norm.isf(LEVEL / 2)
SHAPES = ("office", "evening", "global")


WORKLOAD = scenario.preset("paper").workload


def base(**changes: Any) -> scenario.Scenario:
    """A day at 2 requests a second, with dotted fields (`__` for the dot) changed."""
    fields = {"seed": 5, "days": 1.0, "predictor.source": "declared", "workload.rate_rps": 2.0}
    return scenario.preset("paper").replace(
        fields | {name.replace("__", "."): value for name, value in changes.items()}
    )


def drawn(config: scenario.Scenario, block: int = 20_000) -> Array:
    return np.concatenate(list(workload_of(config).blocks(block)))


def arrivals(demand: Demand, rate_rps: float, end_s: float, seed: int = 1, rate: Rate | None = None) -> Array:
    """Arrivals alone, of a constant rate or another."""
    source = Arrivals(demand, rate or Rate(rate_rps, FLAT), seed, 0, 0.0, end_s)
    parts = [np.zeros(0)]
    while len(part := source.take(min(max(int(2 * rate_rps * end_s), 8), 50_000))):
        parts.append(part)
    return np.concatenate(parts)


def rate_of_shape(name: str, rate_rps: float, start: datetime | None = None, zone: str | None = None) -> Rate:
    demand = Demand(rate_profile=name, profile_zone=zone)
    return Rate(rate_rps, shape_of(demand, table_of(demand, WORKLOAD), start))


@pytest.mark.parametrize("zone", [None, "America/Los_Angeles", "Asia/Kolkata"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_mean_over_a_week_is_exactly_the_rate(name: str, zone: str | None) -> None:
    for from_s in (0.0, -3 * DAY_S, 12_345.678):
        rate = rate_of_shape(name, 7.5, datetime(2024, 1, 17, 13, 20, 7, tzinfo=UTC), zone)
        assert rate.expected(from_s, from_s + WEEK_S) == pytest.approx(7.5 * WEEK_S, rel=1e-12)


def test_counts_by_hour_are_those_of_the_profile() -> None:
    """Over four weeks: each hour of the week is Poisson about the integral of its rate, from a start in the middle of
    an hour of another zone.
    """
    start = datetime(2024, 8, 7, 9, 30, tzinfo=UTC)  # a Wednesday; 02:30 in Los Angeles
    rate = rate_of_shape("office", 1.0, start, "America/Los_Angeles")
    times_s = arrivals(Demand(), 1.0, 4 * WEEK_S, rate=rate)
    hour = ((times_s + 2 * DAY_S + 2.5 * 3600) % WEEK_S // 3600).astype(int)
    counts = np.bincount(hour, minlength=168)
    table = table_of(Demand(rate_profile="office"), WORKLOAD)
    assert table is not None
    factors = np.array(table.factors)
    expected = factors / factors.mean() * 4 * 3600
    assert stats.chi2(168).sf(float(((counts - expected) ** 2 / expected).sum())) > LEVEL
    assert stats.chi2(168).cdf(float(((counts - expected) ** 2 / expected).sum())) > LEVEL
    assert counts.argmax() % 24 in (14, 15, 16)


def test_arrivals_under_a_profile_are_poisson_in_operational_time() -> None:
    rate = rate_of_shape("office", 3.0)
    times_s = arrivals(Demand(), 3.0, 2 * DAY_S, rate=rate)
    grid_s = np.arange(0, 2 * DAY_S + 1, 3600.0)
    upto = np.array([rate.expected(0.0, at) for at in grid_s])
    gaps = np.diff(np.interp(times_s, grid_s, upto))
    assert stats.kstest(gaps, "expon").pvalue > LEVEL
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < CONFIDENT / math.sqrt(len(gaps))


@pytest.mark.parametrize("cv", [0.3, 0.999, 2.0, 5.0])
def test_gaps_have_their_coefficient_of_variation(cv: float) -> None:
    """Distribution and independence; gaps below a microsecond, of which bursts have many, are lost in the rounding of
    times and only counted.
    """
    gaps_s = np.diff(arrivals(Demand(gap_cv=cv), 4.0, 100_000.0))
    at_s, counts = np.unique(np.maximum(gaps_s, 1e-6), return_counts=True)
    distance = np.abs(np.cumsum(counts) / len(gaps_s) - stats.gamma(cv**-2, scale=cv**2 / 4.0).cdf(at_s)).max()
    assert stats.kstwo.sf(distance, len(gaps_s)) > LEVEL
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, rel=0.05)
    assert abs(np.corrcoef(gaps_s[1:], gaps_s[:-1])[0, 1]) < 2 * CONFIDENT / math.sqrt(len(gaps_s))


def test_even_gaps() -> None:
    gaps_s = np.diff(arrivals(Demand(gap_cv=0.0), 4.0, 1000.0))
    np.testing.assert_allclose(gaps_s, 0.25, rtol=1e-9)


@pytest.mark.parametrize(
    "demand",
    [Demand(gap_cv=4.0), Demand(gap_cv=0.5), Demand(batch_size=6.0), Demand(batch_size=4.0, batch_size_law="fixed")],
)
def test_bursts_are_stationary_from_the_start(demand: Demand) -> None:
    """The first two seconds of many runs hold as many requests as any other two, and no more at their beginning."""
    runs = [arrivals(demand, 3.0, 2.0, seed) for seed in range(2500)]
    for end_s in (0.25, 2.0):
        counts = np.array([(run < end_s).sum() for run in runs])
        assert abs(counts.mean() - 3.0 * end_s) < CONFIDENT * counts.std() / math.sqrt(len(counts))


def test_gamma_gaps_follow_the_profile() -> None:
    rate = rate_of_shape("office", 4.0)
    times_s = arrivals(Demand(gap_cv=2.0), 4.0, 2 * WEEK_S, rate=rate)
    counts = np.bincount((times_s % WEEK_S // 3600).astype(int), minlength=168)
    expected = np.array([rate.expected(hour * 3600.0, (hour + 1) * 3600.0) * 2 for hour in range(168)])
    z = (counts - expected) / np.sqrt(4.0 * expected)  # the variance of counts is cv^2 times their mean
    assert np.abs(z).max() < stats.norm.isf(LEVEL / 168)
    assert 0.7 < z.std() < 1.3


@pytest.mark.parametrize(("law", "variance"), [("geometric", 5.0 * 4.0), ("fixed", 0.0)])
def test_batches(law: Any, variance: float) -> None:
    times_s = arrivals(Demand(batch_size=5.0, batch_size_law=law), 10.0, 50_000.0)
    at_s, sizes = np.unique(times_s, return_counts=True)
    assert stats.kstest(np.diff(at_s), stats.expon(scale=0.5).cdf).pvalue > LEVEL
    assert abs(sizes.mean() - 5.0) <= CONFIDENT * math.sqrt(variance / len(sizes))
    if law == "geometric":
        counts = np.bincount(np.minimum(sizes, 15), minlength=16)[1:]
        expected = np.append(stats.geom(0.2).pmf(np.arange(1, 15)), stats.geom(0.2).sf(14)) * len(sizes)
        assert stats.chisquare(counts, expected).pvalue > LEVEL
    else:
        assert set(sizes) == {5}


def test_levels_have_their_autocorrelation() -> None:
    """Counts in bins of a rate that jumps between two levels: variance, and covariance over lags, in closed form."""
    levels = Levels(levels=(1.0, 5.0), sojourn_s=(60.0, 30.0))
    times_s = arrivals(Demand(rate_levels=levels), 2.0, 600_000.0)
    width_s, lags = 10.0, (1, 3, 6, 12)
    counts = np.bincount((times_s // width_s).astype(int), minlength=60_000)[:60_000].astype(float)
    mean_level, decay = (60 * 1 + 30 * 5) / 90, 1 / 60 + 1 / 30
    v = (2.0 * (5 - 1) / mean_level) ** 2 * (60 / 90) * (30 / 90)
    expected = {0: 2.0 * width_s + 2 * v / decay**2 * (decay * width_s - 1 + math.exp(-decay * width_s))}
    for lag in lags:
        expected[lag] = v * math.exp(-decay * (lag - 1) * width_s) * (1 - math.exp(-decay * width_s)) ** 2 / decay**2
    centred = counts - 2.0 * width_s
    for lag, value in expected.items():
        products = centred[lag:] * centred[: len(centred) - lag]
        means = np.array([part.mean() for part in np.array_split(products, 40)])
        half = float(stats.t.isf(LEVEL / 2, 39)) * means.std(ddof=1) / math.sqrt(40)
        assert abs(means.mean() - value) < half, (lag, means.mean(), value, half)
        assert half < 0.5 * expected[0]
    assert abs(centred.mean()) < 5 * math.sqrt((expected[0] + 2 * v / decay * width_s) / 60_000 * 3)


def test_levels_of_three_share_their_time() -> None:
    levels = Levels(levels=(0.0, 1.0, 8.0), sojourn_s=(100.0, 50.0, 10.0))
    times_s = arrivals(Demand(rate_levels=levels), 1.0, 400_000.0)
    counts = np.bincount((times_s // 4000).astype(int), minlength=100)
    assert abs(counts.mean() - 4000) < CONFIDENT * counts.std(ddof=1) / 10


def test_growth_and_surges() -> None:
    rate = Rate(
        2.0, FLAT, growth_per_month=0.2, surges=(Surge(at_h=30, hours=2, factor=3), Surge(at_h=31, hours=4, factor=0))
    )
    assert rate.expected(0.0, DAY_S) == pytest.approx(2 * DAY_S)
    day = 1.2 ** (1 / MONTH_DAYS)
    assert rate.expected(DAY_S, 2 * DAY_S) == pytest.approx(2 * day * (DAY_S + 3600 * (2 - 4)), rel=1e-12)
    assert rate.expected(31 * 3600.0, 35 * 3600.0) == 0
    assert rate.expected(-DAY_S, 0.0) == pytest.approx(2 * DAY_S / day, rel=1e-12)
    ten_months = 10 * MONTH_DAYS * DAY_S
    assert Rate(1.0, FLAT, 0.2).expected(ten_months, ten_months + 1) == pytest.approx(1.2**10, rel=0.01)
    times_s = arrivals(Demand(), 2.0, 2 * DAY_S, rate=rate)
    assert not ((times_s > 31 * 3600) & (times_s < 35 * 3600)).any()
    assert stats.poisson(2 * day * 3 * 3600).cdf(
        ((times_s >= 30 * 3600) & (times_s < 31 * 3600)).sum()
    ) == pytest.approx(0.5, abs=0.5 - LEVEL)


LEVELS = {"levels": [0.2, 4.0, 0.0], "sojourn_s": [900.0, 60.0, 30.0]}
demands = st.fixed_dictionaries(
    {},
    optional={
        "rate_profile": st.sampled_from(SHAPES),
        "profile_zone": st.sampled_from(["Europe/Berlin", "Asia/Kolkata"]),
        "growth_per_month": st.floats(-0.5, 1.0),
        "surges": st.just([{"at_h": 0.5, "hours": 0.25, "factor": 5.0}]),
        "gap_cv": st.sampled_from([0.0, 0.4, 1.0, 3.0]),
        "rate_levels": st.just(LEVELS),
        "batch_size": st.sampled_from([1.0, 2.5, 300.0]),
    },
)


@settings(max_examples=25, deadline=None)
@given(
    whole=demands,
    bronze=demands,
    agentic=demands,
    size=st.integers(1, 3000),
    at=st.integers(0, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_same_requests_whatever_the_block_size_and_after_a_restore(
    whole: dict[str, Any], bronze: dict[str, Any], agentic: dict[str, Any], size: int, at: int, seed: int
) -> None:
    parts = {
        "workload.by_tier": {"bronze": bronze} if bronze else {},
        "workload.by_category": {"agentic": agentic} if agentic else {},
    }
    config = base(seed=seed, days=0.02).replace({f"workload.{name}": value for name, value in whole.items()} | parts)
    wanted = drawn(config)
    assert (np.diff(wanted["arrival_s"]) >= 0).all()
    assert not len(wanted) or (wanted["arrival_s"][0] >= 0 and wanted["arrival_s"][-1] < config.horizon_s)
    source = workload_of(config)
    blocks = source.blocks(size)
    begun = [block for _, block in zip(range(at), blocks, strict=False)]
    assert all(0 < len(block) <= size for block in begun)
    state = json.loads(json.dumps(source.state()))
    resumed = workload_of(config)
    resumed.restore(state)
    again = np.concatenate([wanted[:0], *begun, *resumed.blocks(777)])
    np.testing.assert_array_equal(again, wanted)
    np.testing.assert_array_equal(np.concatenate([wanted[:0], *begun, *blocks]), wanted)


@settings(max_examples=100, deadline=None)
@given(
    factors=st.lists(st.floats(0, 10), min_size=1, max_size=30).filter(lambda found: max(found) > 1e-3),
    step_s=st.floats(0.5, 5000),
    from_s=st.floats(-2e5, 2e5),
)
def test_operational_time_is_the_integral_of_the_rate(factors: list[float], step_s: float, from_s: float) -> None:
    """Seconds of operational times, mapped back by the integral; a table as a function of time."""
    table = RateTable(factors=tuple(factors), step_s=step_s, begins="start")
    rate = Rate(1.0, shape_of(Demand(), table, None))
    clock = Clockwork(rate, None, from_s)
    u = np.linspace(0.0, 40.0, 23)[1:]
    times_s = clock.seconds(u, from_s + 10 * DAY_S)
    assert (np.diff(times_s) >= 0).all()
    for at, t_s in zip(u, times_s, strict=True):
        if math.isfinite(t_s):
            assert rate.expected(from_s, float(t_s)) == pytest.approx(at, rel=1e-6, abs=1e-6)
    period_s = len(factors) * step_s
    assert rate.expected(from_s, from_s + period_s) == pytest.approx(period_s, rel=1e-9)


@pytest.mark.parametrize(
    "said",
    [{"rate_profile": "flat"}, {"gap_cv": 1.0}, {"batch_size": 1.0, "profile_zone": "Europe/Berlin"}, {"surges": []}],
)
def test_flat_is_bit_identical(said: dict[str, Any]) -> None:
    config = base(days=0.1).replace(
        {f"workload.{name}": value for name, value in said.items()} | {"workload.by_tier": {"gold": said}}
    )
    np.testing.assert_array_equal(drawn(config), drawn(base(days=0.1)))


def test_a_constant_rate_drawn_the_general_way_is_the_same_to_rounding() -> None:
    general = np.concatenate(list(VariedWorkload(base(days=0.1)).blocks(999)))
    np.testing.assert_allclose(general["arrival_s"], drawn(base(days=0.1))["arrival_s"], rtol=1e-12)


def test_each_tier_and_category_has_its_own_demand() -> None:
    night = {"begins": "midnight", "factors": [4.0] * 6 + [0.0] * 18}
    changes = {
        "workload.by_tier": {"bronze": {"rate_table": night, "batch_size": 10}},
        "workload.by_category": {"agentic": {"gap_cv": 3.0}},
    }
    config = base(days=2.0).replace(changes)
    block = drawn(config)
    bronze = block[(block["tier"] == 2) & (block["category"] < 2)]
    assert ((bronze["arrival_s"] % DAY_S) < 6 * 3600).all()
    sizes = np.unique(bronze["arrival_s"], return_counts=True)[1]
    assert 8 < sizes.mean() < 12
    for tier, share in enumerate((0.3, 0.4, 0.3)):
        for category, part in enumerate((0.5, 0.35, 0.15)):
            of_cell = int(((block["tier"] == tier) & (block["category"] == category)).sum())
            mean = share * part * 2.0 * 2 * DAY_S
            assert abs(of_cell - mean) < 4.5 * math.sqrt(mean * (19 if tier == 2 and category < 2 else 9))
    tenants = {tier: set(block["tenant"][block["tier"] == tier]) for tier in range(3)}
    assert not tenants[0] & tenants[1] | tenants[1] & tenants[2]


def test_the_demand_of_one_tier_leaves_the_others_alone() -> None:
    one, other = (
        drawn(base().replace({"workload.by_tier": {"bronze": said}}))
        for said in ({"gap_cv": 2.0}, {"rate_profile": "evening"})
    )
    np.testing.assert_array_equal(one[one["tier"] < 2], other[other["tier"] < 2])
    assert len(one[one["tier"] == 2]) != len(other[other["tier"] == 2])


REFUSED = [
    ({"rate_profile": "office", "profile_from": "x.csv"}, "rate_profile and profile_from: expected one of them"),
    (
        {"rate_table": {"factors": [0.0] * 24, "begins": "midnight"}},
        "factors: all are 0; expected at least one above 0",
    ),
    ({"rate_table": {"factors": [1.0, -2.0], "begins": "start"}}, "rate_table.factors.1 -2.0"),
    (
        {"rate_table": {"factors": [1.0] * 25, "begins": "midnight"}},
        "a table of 25 h that begins at midnight; expected whole days",
    ),
    ({"rate_levels": {"levels": [1.0, 2.0], "sojourn_s": [5.0]}}, "2 levels and 1 sojourn_s: expected as many"),
    ({"rate_levels": {"levels": [0.0], "sojourn_s": [5.0]}}, "levels: all are 0"),
    ({"gap_cv": -1.0}, "gap_cv -1"),
    (
        {"batch_size": 2.5, "batch_size_law": "fixed"},
        "batch_size 2.5 with batch_size_law fixed: expected a whole number",
    ),
    ({"profile_zone": "Mars/Base", "rate_profile": "office"}, "profile_zone 'Mars/Base': expected a time zone"),
    (
        {"rate_profile": "offise"},
        "): expected one of flat, office, evening, global, or",
    ),
    ({"rate_table": {"factors": [1e308] * 2, "begins": "start"}}, "rate_table.factors.0 1e+308"),
    ({"rate_table": {"factors": []}}, "rate_table.factors []: expected a list of 1 or more"),
    ({"rate_table": 5}, "rate_table 5: expected a table of fields"),
    ({"surges": 3}, "surges 3: expected a list"),
    ({"surges": [{"hours": 1, "factor": 3}]}, "surges.0.at_h missing; expected a value"),
    ({"surges": [{"at_h": -1, "hours": 48, "factor": 0}]}, "its rate is 0 over the whole run"),
]


@pytest.mark.parametrize(("said", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_bad_demand_is_one_line(said: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        workload_of(base().replace({f"workload.{name}": value for name, value in said.items()}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
