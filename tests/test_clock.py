"""One clock: a dated trace meets the grid at its own date and time of day, whatever the options."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caps_fast.carbon.alignment import meeting, repeated
from caps_fast.carbon.monitor import monitors_of
from caps_fast.clock import clock_of, whole_days
from caps_fast.errors import InputError
from caps_fast.scenario import Scenario, preset
from caps_fast.simulation import simulate
from caps_fast.workload import workload_of
from caps_fast.workload.days import Days

SUNDAY = datetime(2024, 5, 12, tzinfo=UTC)
HOUR, DAY_S = timedelta(hours=1), 86400.0
BUSY = range(8, 20)
OFFICE_S = [day * DAY_S + hour * 3600.0 + 7.5 + turn * 90.0 for day in range(7) for hour in BUSY for turn in range(39)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A week of requests from 8 to 20 h UTC, and three weeks of a grid at 500 g/kWh in these hours and 100 else."""
    path = tmp_path_factory.mktemp("clock")
    lines = [
        f"{SUNDAY + timedelta(seconds=at):%Y-%m-%d %H:%M:%S.%f},{100 + n % 50},{20 + n % 9}"
        for n, at in enumerate(OFFICE_S)
    ]
    (path / "week.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines) + "\n")
    hours = [SUNDAY - timedelta(days=7) + n * HOUR for n in range(21 * 24)]
    grid = [f"{at:%Y-%m-%dT%H:%MZ},{500 if at.hour in BUSY else 100}" for at in hours]
    (path / "grid.csv").write_text("time,g_per_kwh\n" + "\n".join(grid) + "\n")
    rows = [f"{at - OFFICE_S[0]},{100},{20}" for at in OFFICE_S]
    (path / "seconds.csv").write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    return path


def dated(folder: Path, **changes: Any) -> Scenario:
    files = {
        "workload.trace": str(folder / "week.csv"),
        "carbon.file": str(folder / "grid.csv"),
        "drain_h": 2,
        "policy.name": "round-robin",
    }
    return preset("measured").replace(files | {name.replace("__", "."): value for name, value in changes.items()})


def arrivals(config: Scenario, size: int = 997) -> Any:
    return np.concatenate(list(workload_of(config).blocks(size)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"predictor__source": "declared"},
        {"days": 3},
        {"days": 21},
        {"workload__rate_rps": 0.1},
        {"workload__rate_rps": 0.002},
        {"workload__trace_fit": "once"},
        {"workload__trace_fit": "once", "days": 3},
        {"workload__trace_fit": "once", "workload__rate_rps": 0.1},
        {"workload__trace_fit": "stretch"},
        {"workload__trace_fit": "stretch", "days": 14},
        {"workload__trace_fit": "stretch", "days": 3},
        {"carbon__start": "2024-05-12"},
        {"carbon__start": "2024-05-13T03:00"},
        {"start": "2024-05-14T03:00Z"},
        {"start": "2024-05-14"},
        {"start": "2023-02-14T03:00Z"},
        {"start": "2024-05-14T03:00Z", "workload__trace_fit": "once"},
        {"start": "2024-05-14T03:00Z", "carbon__start": "2024-05-07T03:00Z"},
    ],
    ids=str,
)
def test_whatever_the_options_work_meets_the_grid_at_its_own_time_of_day(folder: Path, changes: dict[str, Any]) -> None:
    result = simulate(dated(folder, **changes))
    assert result.metrics["requests"] > 100
    assert result.metrics["carbon_kg"] * 1000 / result.metrics["energy_kwh"] == pytest.approx(500, abs=0.5)
    assert sum("t = 0 is" in note for note in result.notes) == 2, (
        "what was aligned is said of the trace and of the grid"
    )


def test_the_traffics_zone_moves_the_clock(folder: Path) -> None:
    start = clock_of(dated(folder, workload__trace_time_zone="America/Los_Angeles", predictor__source="declared")).start
    assert start == SUNDAY + timedelta(hours=15, seconds=7.5)


def test_a_start_gives_a_trace_without_dates_a_calendar(folder: Path) -> None:
    config = dated(folder, workload__trace=str(folder / "seconds.csv"), start="2024-05-12T08:00:07.5Z")
    result = simulate(config)
    assert result.metrics["carbon_kg"] * 1000 / result.metrics["energy_kwh"] == pytest.approx(500, abs=0.5)
    assert clock_of(config.replace({"start": None})).start is None


def test_synthetic_traffic_meets_the_built_in_grid_at_the_time_of_day_of_start() -> None:
    plain, later = (
        monitors_of(preset("measured").replace({"days": 1, "start": start}))[0].trace
        for start in (None, "2024-05-12T08:00Z")
    )
    assert later.at(0.0) == plain.at(8 * 3600.0)
    assert "t = 0 is 08:00:00 UTC" in later.warnings[0]
    assert plain.warnings == ()


def test_a_rate_changes_how_many_come_and_not_when(folder: Path) -> None:
    own = arrivals(dated(folder, predictor__source="declared"))
    rate = len(own) / (7 * DAY_S)
    for factor in (0.25, 1.0, 3.5):
        rows = arrivals(dated(folder, predictor__source="declared", workload__rate_rps=rate * factor))
        assert len(rows) == pytest.approx(factor * len(own), abs=1)
        hours = (rows["arrival_s"] + 8 * 3600 + 7.5) % DAY_S // 3600
        assert set(hours) <= {*BUSY, 20}  # a copy of the last request may come a little later
        np.testing.assert_array_equal(
            rows, arrivals(dated(folder, predictor__source="declared", workload__rate_rps=rate * factor), 31)
        )


def test_what_trains_the_predictor_is_whole_days_and_is_not_replayed(folder: Path) -> None:
    clock = clock_of(dated(folder))
    assert clock.start == SUNDAY + timedelta(days=2, hours=8, seconds=7.5)
    assert clock.period_s == 5 * DAY_S
    assert clock.first == 2 * len(BUSY) * 39


def test_what_once_leaves_out_is_said(folder: Path) -> None:
    notes = simulate(dated(folder, workload__trace_fit="once", days=3)).notes
    assert any("1,872 requests (57.1%) come after the run's end (days 3) and are left out" in note for note in notes)
    assert not any("left out" in note for note in simulate(dated(folder, workload__trace_fit="once")).notes)


def test_the_rate_that_was_played_is_a_metric_and_is_said_where_it_differs(folder: Path) -> None:
    config = dated(folder, workload__rate_rps=0.05, days=0.4, predictor__source="declared")
    result = simulate(config)
    assert result.metrics["requests_per_s"] == result.metrics["requests"] / config.horizon_s
    assert any(note.startswith("the rate is 0.05 requests per second, but 0.1") for note in result.notes)
    assert not any(
        "asked for" in note for note in simulate(preset("paper").replace({"days": 0.01, "policy.name": "edf"})).notes
    )


@pytest.mark.parametrize(
    ("times_s", "days"),
    [
        ([0.0, 3600.0], 0),
        ([0.0, 8 * 3600.0], 1),
        (OFFICE_S, 7),
        (np.arange(0.0, 2.1 * DAY_S, 60.0), 2),
        (np.arange(0.0, 2.9 * DAY_S, 60.0), 3),
        (np.arange(0.0, DAY_S, 60.0), 1),
    ],
)
def test_a_trace_spans_whole_days_where_what_the_last_one_lacks_is_night(times_s: Any, days: int) -> None:
    assert whole_days(np.asarray(times_s) - times_s[0]) == days


def test_where_a_grid_is_met() -> None:
    first, last = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 12, 31, tzinfo=UTC)
    week = timedelta(days=7)
    assert meeting(SUNDAY, first, last, week) == (SUNDAY, "its own date")
    there, how = meeting(SUNDAY.replace(year=2021, hour=9), first, last, week)
    assert (there.weekday(), there.hour, there.month) == (SUNDAY.replace(year=2021).weekday(), 9, 5)
    assert how.endswith("156 weeks later")
    there, how = meeting(SUNDAY, first, first + timedelta(days=20), week)
    assert (there.weekday(), there.hour, how) == (6, 0, "the same weekday and time of day")
    assert meeting(SUNDAY.replace(hour=5), first, first + timedelta(days=2), week) == (
        first.replace(hour=5),
        "the same time of day",
    )


def test_a_start_that_the_grid_does_not_have_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"carbon\.start '2025-01-01'"):
        monitors_of(dated(folder, carbon__start="2025-01-01"))
    with pytest.raises(InputError, match=r"start 'soon': expected a date or time"):
        clock_of(dated(folder, start="soon"))


def test_a_grid_that_ends_before_dated_traffic_repeats_its_last_week() -> None:
    times_s, values = np.arange(0.0, 8 * DAY_S, 3600.0), np.arange(192.0)
    longer_s, more, cycle = repeated(times_s, values, 3600.0, 20 * DAY_S)
    assert cycle == "week"
    np.testing.assert_array_equal(np.diff(longer_s), 3600.0)
    np.testing.assert_array_equal(more[192 : 192 + 168], values[24:])
    assert longer_s[-1] >= 20 * DAY_S - 3600


@given(
    times=st.lists(st.floats(0, 86399), min_size=1, max_size=30),
    density=st.floats(0.01, 50),
    phase=st.floats(0, 86399),
    size=st.integers(1, 40),
)
def test_days_do_not_depend_on_the_block_and_never_fall(
    times: list[float], density: float, phase: float, size: int
) -> None:
    days = Days(np.sort(times), DAY_S, phase, density, once=False)
    rows, arrivals_s = days.played(days.first, 200)
    assert (np.diff(arrivals_s) >= -1e-6).all()
    assert arrivals_s[0] >= -1e-6
    parts = [days.played(at, size) for at in range(days.first, days.first + 200, size)]
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts])[:200], arrivals_s)
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts])[:200], rows)
    once = Days(np.sort(times), DAY_S, 0.0, 1.0, once=True)
    np.testing.assert_array_equal(once.played(0, 100)[1], np.sort(times))
