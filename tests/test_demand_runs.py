"""Demand in runs, sweeps and training: one clock, the same requests for all policies, the same days before."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from caps_fast.demand import Levels
from caps_fast.errors import InputError
from caps_fast.predictor import key_of, warmup_requests
from caps_fast.predictor.train import worlds
from caps_fast.simulation import Recording, simulate_group, workload_key
from caps_fast.sweep import Grid
from caps_fast.sweep.axes import Axis
from caps_fast.workload import drawn_workload, workload_of
from caps_fast.workload.varied import VariedWorkload
from test_demand import CONFIDENT, DAY_S, LEVEL, base, drawn, rate_of_shape


def test_a_profile_alone_keeps_the_requests_and_moves_them_in_time() -> None:
    flat, office = drawn(base()), drawn(base(workload__rate_profile="office"))
    n = min(len(flat), len(office))
    for name in set(flat.dtype.names or ()) - {"arrival_s"}:
        np.testing.assert_array_equal(flat[name][:n], office[name][:n], err_msg=name)
    assert (flat["arrival_s"][:n] != office["arrival_s"][:n]).all()


def test_training_days_have_the_same_demand() -> None:
    config = base(workload__rate_profile="office", start="2024-08-05")  # a Monday: the two days before are a weekend
    past = np.concatenate(list(drawn_workload(config, -2 * DAY_S, 0.0).blocks(5000)))
    expected = VariedWorkload(config, -2 * DAY_S, 0.0).expected_requests
    assert expected == pytest.approx(2.0 * 2 * DAY_S * 0.4, rel=0.05)
    assert stats.poisson(expected).cdf(len(past)) == pytest.approx(0.5, abs=0.5 - LEVEL)
    assert past["arrival_s"][0] >= -2 * DAY_S
    assert past["arrival_s"][-1] < 0
    friday = drawn_workload(config, -4 * DAY_S, -2 * DAY_S)
    assert friday.expected_requests == pytest.approx(2.0 * 2 * DAY_S * 1.28, rel=0.05)


def test_the_predictor_learns_from_the_same_demand() -> None:
    changes = {
        "start": "2024-08-05",
        "predictor.train_days": 2.0,
        "predictor.train_requests": 20_000,
        "predictor.source": "learned",
    }
    config = base(workload__rate_profile="office", workload__batch_size=4.0).replace(changes)
    world = np.concatenate(list(next(worlds(config))))
    assert stats.mode(np.unique(world["arrival_s"], return_counts=True)[1]).mode < 4
    sunday = ((world["arrival_s"] >= -DAY_S) & (world["arrival_s"] < 0)).sum()
    assert abs(np.unique(world["arrival_s"]).size / len(world) - 0.25) < 0.03
    rate = rate_of_shape("office", 1.0, datetime(2024, 8, 5, tzinfo=UTC))
    share = rate.expected(-DAY_S, 0) / rate.expected(-2 * DAY_S, 0)
    assert abs(sunday - share * len(world)) < CONFIDENT * math.sqrt(7 * len(world) / 4)
    past = np.concatenate(list(warmup_requests(config)))
    assert len(np.unique(past["arrival_s"])) < 0.3 * len(past)
    keys = {
        key_of(config.replace(other))
        for other in ({}, {"start": "2024-08-06"}, {"workload.gap_cv": 2.0}, {"workload.rate_rps": 5.0})
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    "field", ["workload.gap_cv", "workload.by_tier.bronze.gap_cv", "start", "regions.here.carbon.start"]
)
def test_runs_of_a_sweep_with_other_demand_do_not_share_requests(field: str) -> None:
    axes = (Axis("demand", (field,), ((1,), (2,))), Axis("policy", ("policy.name",), (("caps",), ("edf",))))
    assert [sorted(group) for group in Grid("", {}, axes).groups(8, lambda index: 0.0)] == [[0, 1], [2, 3]]


def test_fields_of_demand_can_be_set_one_by_one() -> None:
    changes = {
        "workload.by_tier.bronze.gap_cv": 3.0,
        "workload.rate_levels.levels": [1, 4],
        "workload.rate_levels.sojourn_s": [60, 5],
    }
    workload = base().replace(changes).workload
    assert workload.by_tier["bronze"].gap_cv == 3.0
    assert workload.rate_levels == Levels(levels=(1, 4), sojourn_s=(60, 5))
    assert workload.demand_of("bronze", "long").rate_levels == workload.rate_levels
    for field in (
        "workload.by_tier.copper.gap_cv",
        "workload.by_tier.gold.gap_dv",
        "workload.tenants.x",
        "workload.trace.x",
    ):
        with pytest.raises(InputError, match="workload"):
            base().replace({field: 2.0})


def test_start_decides_what_is_drawn() -> None:
    monday, saturday = (
        base(workload__rate_profile="office", start="2024-08-05"),
        base(workload__rate_profile="office", start="2024-08-10"),
    )
    assert workload_key(monday) != workload_key(saturday)
    assert len(drawn(monday)) > 2 * len(drawn(saturday))
    assert workload_key(base(start="2024-08-05")) == workload_key(base(start="2024-08-10"))
    np.testing.assert_array_equal(drawn(base(workload__rate_profile="office")), drawn(monday))


def test_notes_tell_the_clock_and_the_mean() -> None:
    notes = workload_of(base(workload__rate_profile="office", workload__profile_zone="America/Los_Angeles")).notes
    assert notes[0] == (
        "workload: no start is given: t = 0 is Monday 00:00 UTC for its profiles, Sunday 17:00 in America/Los_Angeles"
    )
    assert "requests per second are expected over this run; rate_rps 2 is the mean of its profiles" in notes[1]
    assert workload_of(base(workload__rate_profile="global", days=7.0, start="2024-08-05")).notes == ()
    surges = [{"at_h": at_h, "hours": 1, "factor": 3} for at_h in (-1, 0, 23.5, 24)]
    outside = ("at_h -1 lies outside the run, 0 to 24 h", "at_h 24 lies outside the run, 0 to 24 h")
    notes = workload_of(base(workload__surges=surges, days=1.0)).notes
    assert tuple(note for note in notes if "surge" in note) == tuple(f"workload: the surge {one}" for one in outside)


def test_policies_see_the_same_requests() -> None:
    config = base(days=0.05, workload__rate_profile="office", workload__gap_cv=2.0, start="2024-08-05T16:00Z")
    results = simulate_group(
        [config.replace({"policy.name": name}) for name in ("round-robin", "caps")], Recording(requests=True)
    )
    first, second = (result.outcome.requests for result in results)
    assert first is not None
    assert second is not None
    for name in ("arrival_s", "tenant", "input_tokens", "output_tokens"):
        np.testing.assert_array_equal(first[name], second[name])
    assert len(first) == len(drawn(config))
