"""The carbon trace of a run: its zero, integral and last sample, the built-in trace, a real week."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caps_fast.carbon.formats import read_carbon
from caps_fast.carbon.frame import find_gaps
from caps_fast.carbon.trace import HOURLY_MEANS, CarbonTrace, carbon_trace
from caps_fast.errors import InputError
from caps_fast.scenario import preset
from carbon_files import CAISO, CARBONCAST, MAPS, NOON, config, needs_data, write


def test_start_sets_zero_history_is_kept_and_the_last_sample_holds(tmp_path: Path) -> None:
    path = write(tmp_path, MAPS)
    trace = carbon_trace(config(path, start="2024-08-05T12:30"), 7200.0)
    assert trace.times_s.tolist() == [-1800.0, 1800.0]
    assert trace.at([-1800, 0, 1800, 1e9]).tolist() == [290.25, 290.25, 280.0, 280.0]
    assert any("its last sample holds until then" in line for line in trace.warnings)
    assert trace.start == NOON + timedelta(minutes=30)
    with pytest.raises(InputError, match="expected a time from its first sample"):
        trace.at(-1801.0)
    for start, message in (
        ("2024-08-04", "outside .* expected a time from 2024-08-05 12:00"),
        ("soon", "carbon.start 'soon': expected a date or time"),
    ):
        with pytest.raises(InputError, match=message):
            carbon_trace(config(path, start=start), 60.0)


@given(
    st.lists(st.floats(0, 1000), min_size=1, max_size=20),
    st.lists(st.floats(0.5, 5000), min_size=20, max_size=20),
    st.floats(0, 1e5),
    st.floats(0, 1e5),
)
def test_integral_is_the_sum_over_pieces(values: list[float], steps: list[float], t0_s: float, more_s: float) -> None:
    times_s = np.concatenate(([0.0], np.cumsum(steps)))[: len(values)]
    trace = CarbonTrace(times_s, np.array(values), "average", "direct", "X", "test")
    edges = np.append(times_s, np.inf)
    pieces = sum(
        value * max(0.0, min(end, t0_s + more_s) - max(begin, t0_s))
        for begin, end, value in zip(edges, edges[1:], values, strict=False)
    )
    assert float(trace.integral(t0_s, t0_s + more_s)) == pytest.approx(pieces, rel=1e-9, abs=1e-4)


@pytest.mark.parametrize("scope", ["lifecycle", "direct"])
def test_built_in_trace_has_the_shape_of_its_source(scope: str) -> None:
    still = carbon_trace(
        preset("measured").replace({"carbon.day_to_day_sd": 0, "carbon.scope": scope}).carbon, 7 * 86400.0
    )
    assert still.at(np.arange(24) * 3600.0).tolist() == list(HOURLY_MEANS[scope])
    assert still.times_s[0] == -28 * 86400
    assert still.times_s[-1] >= 13 * 86400
    varied = carbon_trace(preset("measured").replace({"carbon.day_to_day_sd": 0.1}).carbon, 2000 * 86400.0)
    levels = np.log(varied.g_per_kwh.reshape(-1, 24)[:, 0] / HOURLY_MEANS["lifecycle"][0])
    assert levels.std() == pytest.approx(0.1, rel=0.1)
    assert np.corrcoef(levels[:-1], levels[1:])[0, 1] == pytest.approx(0.6, abs=0.06)
    week = carbon_trace(preset("measured").replace({"carbon.day_to_day_sd": 0.1}).carbon, 7 * 86400.0)
    assert (varied.g_per_kwh[: week.g_per_kwh.size] == week.g_per_kwh).all()


@given(st.floats(0, 200), st.floats(1, 800), st.floats(0.1, 30))
def test_scaling_stretches_the_run_to_exactly_the_two_figures(low: float, more: float, days: float) -> None:
    carbon = preset("measured").replace({"carbon.scale_to_g_per_kwh": [low, low + more]}).carbon
    trace = carbon_trace(carbon, days * 86400.0)
    run = trace.g_per_kwh[(trace.times_s >= 0) & (trace.times_s < max(days, 1) * 86400.0)]
    assert (run.min(), run.max()) == (low, low + more)
    assert (trace.g_per_kwh >= 0).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [("zone", "DE"), ("start", "2024-01-01"), ("unit", "g/kWh"), ("kind", "marginal"), ("format", "uk")],
)
def test_built_in_trace_refuses_what_only_a_file_can_have(field: str, value: str) -> None:
    with pytest.raises(InputError, match=f"carbon.{field} '{value}'"):
        carbon_trace(preset("measured").replace({f"carbon.{field}": value}).carbon, 86400.0)


@needs_data
def test_real_week_has_the_known_range() -> None:
    trace = carbon_trace(config(CAISO, start="2024-08-05"), 7 * 86400.0)
    week = trace.at(np.arange(168) * 3600.0)
    assert (round(float(week.min())), round(float(week.max())), round(float(week.mean()))) == (102, 340, 238)
    means = week.reshape(7, 24).mean(axis=0)
    assert means == pytest.approx(np.array(HOURLY_MEANS["lifecycle"]), abs=0.051)
    direct = carbon_trace(config(CAISO, start="2024-08-05", scope="direct"), 7 * 86400.0).at(np.arange(168) * 3600.0)
    assert direct.reshape(7, 24).mean(axis=0) == pytest.approx(np.array(HOURLY_MEANS["direct"]), abs=0.051)


@needs_data
def test_real_carboncast_file_with_its_misdated_block(caplog: pytest.LogCaptureFixture) -> None:
    frame = read_carbon(CARBONCAST)
    assert "row 15074 begins a second block of 2021-12-04" in caplog.text
    assert frame["issued_at"].n_unique() == 182
    assert frame.filter(pl.col("issued_at").is_null()).height == 184 * 24
    assert find_gaps(frame.filter(pl.col("issued_at").is_null())["valid_at"]).is_empty()
