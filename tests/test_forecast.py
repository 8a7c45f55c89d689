"""Forecasts are seen when issued and not before, are as good as they say; the monitor looks at the past alone."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from caps_fast.carbon.forecast import ForecastGrid, degrade, forecast_error, forecast_grid
from caps_fast.carbon.forecasters import NAMES, forecaster
from caps_fast.carbon.monitor import monitor, monitors_of, rolling_quantile
from caps_fast.carbon.skill import CARBONCAST, error_table
from caps_fast.carbon.trace import CarbonTrace, carbon_trace
from caps_fast.cli.forecast_error import register
from caps_fast.errors import InputError
from caps_fast.grid_section import Monitor
from caps_fast.scenario import preset

DATA = Path(__file__).parents[2] / "shared" / "data" / "carbon"
CAISO, CARBONCAST_FILE = DATA / "US-CAL-CISO_2024_hourly.csv", DATA / "CISO_carboncast_lifecycle_2021H2.csv"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared data are not at hand")

DAY_S = 86400.0
HONEST = [name for name in NAMES if name not in ("perfect", "noisy")]
Floats = NDArray[np.float64]


def config(**fields: object) -> Monitor:
    return preset("measured").replace({f"monitor.{name}": value for name, value in fields.items()}).monitor


def trace_of(values: Floats, step_s: float = 3600.0, first_s: float = 0.0) -> CarbonTrace:
    times_s = first_s + step_s * np.arange(len(values))
    return CarbonTrace(
        times_s, np.asarray(values, np.float64), "average", "lifecycle", "X", "test", datetime(2024, 1, 1, tzinfo=UTC)
    )


def wavy(days: int, step_s: float = 3600.0, first_s: float = 0.0, seed: int = 0) -> CarbonTrace:
    hours = np.arange(int(days * DAY_S / step_s)) * step_s / 3600
    noise = np.random.default_rng(seed).normal(0, 10, hours.size)
    return trace_of(np.maximum(250 + 80 * np.sin(hours * np.pi / 12) + noise, 0.0), step_s, first_s)


@pytest.mark.parametrize("name", HONEST)
@settings(max_examples=10)
@given(
    step_s=st.sampled_from([300.0, 900.0, 1800.0, 3600.0, 5400.0]), issue_h=st.integers(1, 60), seed=st.integers(0, 99)
)
def test_what_comes_after_an_issue_does_not_change_it(name: str, step_s: float, issue_h: int, seed: int) -> None:
    history_s = -15 * DAY_S if name == "learned" else -8 * DAY_S
    trace = wavy(18, step_s, history_s, seed)
    issued_s = np.arange(issue_h + 1) * 3600.0
    later = trace.times_s >= issued_s[-1]
    changed = np.where(later, np.random.default_rng(seed + 1).uniform(0, 900, later.size), trace.g_per_kwh)
    assert (changed != trace.g_per_kwh).any()
    method = forecaster(name, (), 0)
    one, two = (
        method.rows(given, issued_s, 48) for given in (trace, CarbonTrace(trace.times_s, changed, "", "", "", ""))
    )
    assert (one[-1] == two[-1]).all()


@given(st.integers(1, 400), st.data())
def test_the_issue_in_force_is_the_last_one_by_then(hours: int, data: st.DataObject) -> None:
    trace = wavy(20)
    name = data.draw(st.sampled_from(["perfect", "yesterday"]))
    grid = forecast_grid(config(forecast=name), trace, hours * 3600.0, 0)
    t_s = data.draw(st.floats(0, hours * 3600.0))
    assert grid.issued_s[grid.row(t_s)] <= t_s
    assert t_s - grid.issued_s[grid.row(t_s)] < 3600
    with pytest.raises(InputError, match="expected a time from the first issue"):
        grid.row(-1.0)


def test_simple_forecasters_are_what_their_names_say() -> None:
    values = np.arange(24.0 * 30)
    trace, issue = trace_of(values), np.array([20 * DAY_S])
    hours = 20 * 24 + np.arange(96)
    assert forecaster("perfect", (), 0).rows(trace, issue, 96)[0] == pytest.approx(values[hours])
    assert forecaster("persistence", (), 0).rows(trace, issue, 96)[0] == pytest.approx(np.full(96, 20 * 24 - 1))
    assert forecaster("yesterday", (), 0).rows(trace, issue, 96)[0] == pytest.approx(
        np.tile(19 * 24 + np.arange(24.0), 4)
    )
    assert forecaster("last-week", (), 0).rows(trace, issue, 96)[0] == pytest.approx(hours - 168.0)
    assert forecaster("last-week", (), 0).rows(trace, issue, 192)[0, 168:] == pytest.approx(hours[:24] - 168.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_forecaster_serves_the_built_in_trace(name: str) -> None:
    scenario = preset("paper")
    trace = carbon_trace(scenario.carbon, scenario.horizon_s)
    grid = forecast_grid(config(forecast=name), trace, 9 * DAY_S, 0)
    assert grid.g_per_kwh.shape == (9 * 24 + 1, 96)
    assert ((grid.g_per_kwh >= 0) & np.isfinite(grid.g_per_kwh)).all()


def test_forecasters_fall_back_where_history_is_short() -> None:
    trace = trace_of(np.arange(24.0 * 30))
    last_week, yesterday, persistence = (forecaster(name, (), 0) for name in ("last-week", "yesterday", "persistence"))
    three_days, none = np.array([3 * DAY_S]), np.array([0.0])
    assert (last_week.rows(trace, three_days, 48) == yesterday.rows(trace, three_days, 48)).all()
    assert (yesterday.rows(trace, none, 48) == persistence.rows(trace, none, 48)).all()
    assert (persistence.rows(trace, none, 48) == trace.at(0.0)).all()
    with pytest.raises(
        InputError, match=r"'learned': test has 3\.0 days before the first forecast; expected at least 14"
    ):
        forecaster("learned", (), 0).rows(trace, three_days, 96)


@settings(max_examples=15)
@given(st.tuples(*[st.floats(0, 1.2)] * 4), st.integers(0, 5))
def test_noise_is_as_large_as_stated(errors: tuple[float, ...], seed: int) -> None:
    trace = wavy(70)
    grid = forecast_grid(config(forecast="noisy", forecast_error=list(errors)), trace, 60 * DAY_S, seed)
    assert forecast_error(grid, trace) == pytest.approx(np.array(errors), rel=0.1, abs=1e-9)
    shorter = forecast_grid(config(forecast="noisy", forecast_error=list(errors)), trace, 10 * DAY_S, seed)
    assert (grid.g_per_kwh[: shorter.issued_s.size] == shorter.g_per_kwh).all()
    perfect = forecast_grid(config(), trace, 60 * DAY_S, seed)
    assert (degrade(perfect, errors, seed).g_per_kwh == grid.g_per_kwh).all()


def test_noise_realises_its_error_within_a_few_percent_and_is_without_bias() -> None:
    grid = ForecastGrid(np.arange(20_000) * 3600.0, 3600.0, np.full((20_000, 96), 100.0))
    worse = degrade(grid, (0.065, 0.147, 0.197, 0.218), 7).g_per_kwh.reshape(20_000, 4, 24)
    assert np.abs(worse / 100 - 1).mean(axis=(0, 2)) == pytest.approx(np.array([0.065, 0.147, 0.197, 0.218]), rel=0.02)
    assert worse.mean() == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"forecast": "oracle"}, "monitor.forecast 'oracle': expected one of perfect"),
        ({"forecast": "noisy", "forecast_error": [2.5]}, "monitor.forecast_error 2.5: expected"),
        ({"forecast": "noisy", "forecast_error": []}, "expected at least one number"),
        ({"forecast": "file"}, "monitor.forecast_file is missing"),
        ({"forecast": "perfect", "forecast_file": "a.csv"}, "expected monitor.forecast = 'file' with it"),
    ],
)
def test_bad_choices_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        forecast_grid(config(**fields), wavy(10), DAY_S, 0)


def forecast_csv(folder: Path, rows: list[tuple[str, str, float]]) -> str:
    path = folder / "forecasts.csv"
    path.write_text(
        "issued_at,valid_at,g_per_kwh\n" + "".join(f"{issued},{valid},{value}\n" for issued, valid, value in rows)
    )
    return str(path)


def test_a_forecast_file_is_averaged_to_hours_and_starts_with_the_issue_in_force(tmp_path: Path) -> None:
    issues = [
        ("2023-12-31T22:00Z", 1.0),
        ("2023-12-31T23:30Z", 2.0),
        ("2024-01-01T06:00Z", 3.0),
        ("2024-01-02T06:00Z", 4.0),
    ]
    start = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    rows = []
    for issued, value in issues:
        first = datetime.fromisoformat(issued).timestamp()
        rows += [
            (issued, f"{datetime.fromtimestamp(first + 1800 * i, UTC):%Y-%m-%dT%H:%MZ}", 100 * value + i)
            for i in range(8)
        ]
    grid = forecast_grid(config(forecast="file", forecast_file=forecast_csv(tmp_path, rows)), wavy(5), DAY_S, 0)
    assert (start + grid.issued_s).tolist() == [datetime.fromisoformat(issued).timestamp() for issued, _ in issues[1:3]]
    assert grid.g_per_kwh.tolist() == [[200.5, 202.5, 204.5, 206.5], [300.5, 302.5, 304.5, 306.5]]
    assert any("the last forecast ends 10 h into the run" in line for line in grid.warnings)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True), st.floats(0, 48), st.integers(0, 99))
def test_no_forecast_of_a_file_is_seen_before_its_issue(
    tmp_path_factory: pytest.TempPathFactory, hours: list[int], now_h: float, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(1, 900, (1 + len(hours), 4))
    rows = [
        (hour, lead, float(value))
        for hour, row in zip((0, *sorted(hours)), values, strict=True)
        for lead, value in enumerate(row)
    ]

    def outlook(known: list[tuple[int, int, float]]) -> list[float]:
        instant = "{:%Y-%m-%dT%H:%MZ}".format
        start = datetime(2024, 1, 1, tzinfo=UTC)
        named = [
            (instant(start + timedelta(hours=hour)), instant(start + timedelta(hours=hour + lead)), value)
            for hour, lead, value in known
        ]
        file = forecast_csv(tmp_path_factory.mktemp("issues"), named)
        seen: list[float] = (
            monitor(config(forecast="file", forecast_file=file), wavy(3), 2 * DAY_S, 0).outlook(now_h * 3600).tolist()
        )
        return seen

    issued = [row for row in rows if row[0] <= now_h]
    assert outlook(rows) == outlook(issued) == [value for _, _, value in issued[-4:]]


def test_forecast_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = config(
        forecast="file",
        forecast_file=forecast_csv(
            tmp_path, [("2024-01-02T00:00Z", "2024-01-02T00:00Z", 5.0), ("2024-01-02T00:00Z", "2024-01-02T01:00Z", 5.0)]
        ),
    )
    with pytest.raises(InputError, match="the first forecast is issued 24 h after the run's start"):
        forecast_grid(file, wavy(5), DAY_S, 0)
    with pytest.raises(InputError, match="no dates to match forecasts with"):
        forecast_grid(file, carbon_trace(preset("measured").carbon, DAY_S), DAY_S, 0)
    holed = [("2024-01-01T00:00Z", f"2024-01-01T{hour:02}:00Z", 5.0) for hour in (0, 1, 2, 5)]
    with pytest.raises(InputError, match="has a gap"):
        forecast_grid(config(forecast="file", forecast_file=forecast_csv(tmp_path, holed)), wavy(5), DAY_S, 0)


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 50))
def test_threshold_is_the_quantile_of_the_rolling_window(window_h: int, quantile: float, seed: int) -> None:
    trace = wavy(6, 1800.0, -3 * DAY_S, seed)
    seen = monitor(config(window_h=window_h, gate_quantile=quantile), trace, 2 * DAY_S, 0)
    for t_s in np.random.default_rng(seed).uniform(-3 * DAY_S, 2 * DAY_S, 10):
        sample_s = trace.times_s[trace.times_s <= t_s][-1]
        inside = (trace.times_s > sample_s - window_h * 3600) & (trace.times_s <= sample_s)
        assert seen.threshold(t_s) == pytest.approx(np.quantile(trace.g_per_kwh[inside], quantile))
        assert seen.window(sample_s).tolist() == trace.g_per_kwh[inside].tolist()
        assert seen.intensity(t_s) == trace.at(t_s)
    assert (seen.outlook(5000.0) == seen.forecast.g_per_kwh[1]).all()


def test_runs_share_a_monitor_only_where_they_see_the_same(tmp_path: Path) -> None:
    path = tmp_path / "carbon.csv"
    path.write_text("time,g_per_kwh\n" + "".join(f"2024-01-01T{hour:02}:00Z,{100 + hour}\n" for hour in range(24)))
    run = preset("measured").replace({"carbon.file": str(path), "carbon.unit": "g/kWh", "days": 0.1})
    (seen,) = monitors_of(run)
    assert monitors_of(run.replace({"seed": 7, "policy.name": "edf", "workload.rate_rps": 3.0}))[0] is seen
    noisy = run.replace({"monitor.forecast": "noisy"})
    other_policy, other_seed = noisy.replace({"policy.beta": 3.0}), noisy.replace({"seed": 7})
    assert monitors_of(noisy)[0] is monitors_of(other_policy)[0] is not monitors_of(other_seed)[0]
    assert monitors_of(run.replace({"monitor.gate_quantile": 0.1}))[0].threshold(0.0) <= seen.threshold(0.0)
    path.write_text(path.read_text().replace(",100\n", ",900\n"))
    assert (seen.intensity(0.0), monitors_of(run)[0].intensity(0.0)) == (100.0, 900.0)


@given(st.integers(0, 47), st.integers(0, 50))
def test_the_future_changes_nothing_that_the_monitor_shows(hour: int, seed: int) -> None:
    trace = wavy(12, first_s=-8 * DAY_S, seed=seed)
    t_s = hour * 3600.0
    changed = np.where(trace.times_s > t_s, 900.0, trace.g_per_kwh)
    one, two = (
        monitor(config(forecast="yesterday"), CarbonTrace(trace.times_s, values, "", "", "", ""), 2 * DAY_S, 0)
        for values in (trace.g_per_kwh, changed)
    )
    assert one.threshold(t_s) == two.threshold(t_s)
    assert one.intensity(t_s) == two.intensity(t_s)
    assert (one.window(t_s) == two.window(t_s)).all()
    assert (one.outlook(t_s) == two.outlook(t_s)).all()


def test_a_threshold_given_as_a_value_holds_always() -> None:
    seen = monitor(config(gate_g_per_kwh=123.0), wavy(3, first_s=-DAY_S), DAY_S, 0)
    assert seen.threshold(-5.0) == seen.threshold(1e6) == 123.0


def test_a_year_of_five_minute_data_packs_in_two_seconds() -> None:
    trace = wavy(365, 300.0, -8 * DAY_S)
    rolling_quantile(trace.times_s[:10], trace.g_per_kwh[:10], 100.0, 0.5)
    begin = time.process_time()
    monitor(config(forecast="last-week"), trace, 350 * DAY_S, 0)
    assert time.process_time() - begin < 2


@needs_data
def test_carboncast_forecasts_have_their_published_error() -> None:
    scenario = preset("measured").replace(
        {
            "carbon.file": str(CARBONCAST_FILE),
            "carbon.start": "2021-07-01",
            "monitor.forecast": "file",
            "monitor.forecast_file": str(CARBONCAST_FILE),
        }
    )
    trace = carbon_trace(scenario.carbon, 7 * DAY_S)
    grid = forecast_grid(scenario.monitor, trace, 181 * DAY_S, 0)
    assert grid.g_per_kwh.shape == (181, 96)
    assert (np.diff(grid.issued_s) == DAY_S).all()
    assert 100 * forecast_error(grid, trace) == pytest.approx(np.array(CARBONCAST["CISO"]), abs=0.06)


@needs_data
def test_learned_forecasts_beat_the_simple_ones_on_real_data() -> None:
    scenario = preset("measured").replace({"carbon.file": str(CAISO)})
    table = error_table(scenario.monitor, carbon_trace(scenario.carbon, 0.0), 300.0, 0).rows_by_key(
        "forecaster", unique=True
    )
    for day in range(4):
        simple = min(table[name][day] for name in ("persistence", "yesterday", "last-week"))
        assert table["perfect"][day] == pytest.approx(0, abs=1e-6)
        assert table["learned"][day] < simple


def test_forecast_error_command_takes_the_unit_of_a_plain_file(tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    file = tmp_path / "plain.csv"
    hours = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(24 * 30)]
    file.write_text("time,value\n" + "".join(f"{at:%Y-%m-%dT%H:%MZ},{300 + at.hour}\n" for at in hours))
    told = CliRunner().invoke(
        app, ["forecast-error", str(file), "--unit", "g/kWh", "--history-days", "20", "--hours", "24", "--json"]
    )
    assert told.exit_code == 0, told.exception
    assert {row["forecaster"]: row["day_1"] for row in json.loads(told.stdout)["measured"]}[
        "yesterday"
    ] == pytest.approx(0, abs=1e-9)
    assert isinstance(CliRunner().invoke(app, ["forecast-error", str(file)]).exception, InputError)


@needs_data
def test_forecast_error_command_prints_ours_beside_the_published(tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    file = tmp_path / "carboncast.csv"
    file.write_text("".join(CARBONCAST_FILE.read_text().splitlines(keepends=True)[: 1 + 96 * 30]))
    common = ["forecast-error", str(file), "--history-days", "20"]
    shown = CliRunner().invoke(app, common)
    assert shown.exit_code == 0, shown.output
    for name in (*NAMES, "file", "CISO", "ERCOT"):
        assert f"\n{name}" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*common, "--json"]).stdout)
    assert {row["forecaster"] for row in told["measured"]} == {*NAMES, "file"}
    short = CliRunner().invoke(app, ["forecast-error", str(file), "--history-days", "400"])
    assert isinstance(short.exception, InputError)


@given(
    st.lists(st.floats(0.1, 900), min_size=1, max_size=20),
    st.sampled_from([420.0, 1800.0, 3600.0, 4711.7]),
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(1.0, 1e4)), min_size=1, max_size=20),
)
def test_means_lie_within_their_samples_to_the_last_bit(
    values: list[float], step_s: float, spans: list[tuple[float, float]]
) -> None:
    times_s = np.arange(len(values)) * step_s
    trace = CarbonTrace(times_s, np.array(values), "average", "lifecycle", "test", "test")
    start_s, length_s = np.array(spans).T
    means = trace.mean(start_s, start_s + length_s)
    np.testing.assert_allclose(means, trace.integral(start_s, start_s + length_s) / length_s, rtol=1e-9)
    for mean, begin_s, end_s in zip(means, start_s, start_s + length_s, strict=True):
        inside = trace.g_per_kwh[(times_s < end_s) & (np.append(times_s[1:], np.inf) > begin_s)]
        assert inside.min() <= mean <= inside.max()
