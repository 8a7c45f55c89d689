"""Profiles and workloads from files, workloads that resemble a trace, and what is refused of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from caps_fast import scenario
from caps_fast.arrays import Array
from caps_fast.client_groups import Lengths
from caps_fast.demand import Demand
from caps_fast.errors import InputError
from caps_fast.inputs import expect_inputs
from caps_fast.instants import parse_utc
from caps_fast.predictor import key_of
from caps_fast.workload import drawn_workload, workload_of
from caps_fast.workload.clients import quantile_function
from caps_fast.workload.gamma_gaps import gamma_gaps
from caps_fast.workload.intensity import Rate
from caps_fast.workload.profile_file import table_of
from caps_fast.workload.shapes import shape_of

DAY_S = 86400.0


WORKLOAD = scenario.preset("paper").workload


def base(**changes: Any) -> scenario.Scenario:
    fields = {"seed": 3, "days": 1.0, "predictor.source": "declared", "workload.rate_rps": 2.0}
    return scenario.preset("paper").replace(
        fields | {name.replace("__", "."): value for name, value in changes.items()}
    )


def drawn(config: scenario.Scenario, block: int = 20_000) -> Array:
    return np.concatenate(list(workload_of(config).blocks(block)))


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def rate_of(path: str, zone: str | None = None, start: str | None = None) -> Rate:
    demand = Demand(rate_profile=path, profile_zone=zone)
    return Rate(1.0, shape_of(demand, table_of(demand, WORKLOAD), parse_utc(start, "start") if start else None))


def week_table(value: Any = lambda hour, day: 1 + hour + 100 * day) -> str:
    rows = [",".join([str(hour), *(str(value(hour, day)) for day in range(7))]) for hour in range(24)]
    return "hour,mon,tue,wed,thu,fri,sat,sun\n" + "\n".join(rows) + "\n"


def test_a_table_of_the_week(tmp_path: Path) -> None:
    path = written(tmp_path / "week.csv", week_table())
    rate = rate_of(path, "America/New_York", "2024-08-08T05:30Z")  # Thursday 01:30
    mean = np.mean([1 + hour + 100 * day for hour in range(24) for day in range(7)])
    assert rate.expected(0, 1800) == pytest.approx(1800 * (1 + 1 + 300) / mean, rel=1e-12)
    assert rate.expected(1800, 5400) == pytest.approx(3600 * (1 + 2 + 300) / mean, rel=1e-12)
    assert rate.expected(0, 7 * DAY_S) == pytest.approx(7 * DAY_S, rel=1e-12)


def test_a_course_in_seconds_begins_at_t_0_and_repeats(tmp_path: Path) -> None:
    rate = rate_of(written(tmp_path / "course.csv", "time,rate\n0,1\n60,3\n120,0\n180,4\n"), start="2024-08-08T05:30Z")
    for period in (-2, 0, 5):
        for step, value in enumerate((1, 3, 0, 4)):
            at_s = period * 240 + step * 60
            assert rate.expected(at_s, at_s + 60) == pytest.approx(60 * value / 2, rel=1e-9, abs=1e-9)


def test_a_course_with_dates_lies_on_the_calendar(tmp_path: Path) -> None:
    """A day by half-hours of Berlin in summer: only the hours count, whenever the run starts."""
    day = [f"2024-08-09T{hour:02d}:{half:02d}+02:00,{hour + half / 60}" for hour in range(24) for half in (0, 30)]
    path = written(tmp_path / "dates.csv", "time,rate\n" + "\n".join(day) + "\n")
    rate = rate_of(path, "Europe/Berlin", "2025-01-15T11:15Z")  # 12:15 in winter
    assert rate.expected(0, 900) == pytest.approx(900 * 12.0 / 11.75, rel=1e-9)
    assert rate.expected(900, 2700) == pytest.approx(1800 * 12.5 / 11.75, rel=1e-9)


REFUSED_PROFILES = [
    ("", "has no rows"),
    ("time,rate\n", "has no rows"),
    ("a,b\n1,2\n", "columns a, b: expected a table of hour, mon"),
    (
        "time,rate\n0,1\n60,2\n180,2\n",
        "row 3: time '180' comes 120 s after the row before: expected 60 s, without gaps",
    ),
    ("time,rate\n0,1\n60,-2\n", "row 2: rate '-2': expected 0 or more"),
    ("time,rate\n0,1\n60,\n", "row 2: rate '': expected a number"),
    ("time,rate\n0,1\n60,nan\n", "row 2: rate 'nan': expected a number"),
    ("time,rate\n0,0\n60,0\n", "all rates are 0"),
    ("time,rate\n0,1\n", "one row: expected at least two"),
    ("time,rate\n60,1\n120,1\n", "row 1: time '60': expected 0, as seconds count from t = 0"),
    ("time,rate\n0,1\n0,1\n", "row 2: time '0' comes 0 s after row 1"),
    ("time,rate\n0,1\n60,1,5\n", "row 2 has 3 cells: expected 2"),
    ("time,rate\n2024-08-05,1\n2024-08-05T01:00,1\n", "a table of 2 h that begins at midnight; expected whole days"),
    ("time,rate\n2024-13-05,1\n2024-08-05T01:00,1\n", "row 1: time '2024-13-05': expected a date"),
    (week_table().replace("\n7,", "\n8,"), "row 8: hour 8: expected hour 7, of hours 0 to 23 without gaps"),
    (week_table().rsplit("23,", 1)[0], "row 24: no row: expected hour 23"),
    (week_table(lambda hour, day: 0), "all rates are 0: expected at least one above 0"),
    (week_table(lambda hour, day: "1e308"), "row 1: mon '1e308': expected 0 or more, at most 1e+15"),
    (week_table(lambda hour, day: -hour), "row 2: mon '-1': expected 0 or more"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED_PROFILES, ids=[message for _, message in REFUSED_PROFILES])
def test_bad_profiles_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "profile.csv", text)
    with pytest.raises(InputError) as caught:
        expect_inputs([base(workload__rate_profile=path)])
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def trace_file(path: Path, days: float, seed: int = 0, tiers: bool = False, start: str = "2024-08-05T00:00:00") -> str:
    """A trace of a rate that is three times as high from 8 to 16 h, weekends a half."""
    rng = np.random.default_rng(seed)
    at_s = np.sort(rng.random(round(days * 4000)) * days * DAY_S)
    hour, weekday = at_s % DAY_S // 3600, at_s // DAY_S % 7
    kept = rng.random(len(at_s)) < np.where((hour >= 8) & (hour < 16), 1, 1 / 3) * np.where(weekday >= 5, 0.5, 1)
    at_s = at_s[kept]
    lengths = np.exp(rng.multivariate_normal([6, 5], [[0.8, 0.4], [0.4, 0.7]], len(at_s)))
    columns: dict[str, Any] = {"TIMESTAMP": (np.datetime64(start) + (at_s * 1e6).astype("timedelta64[us]")).astype(str)}
    columns |= {
        "ContextTokens": np.maximum(lengths[:, 0].astype(int), 1),
        "GeneratedTokens": np.maximum(lengths[:, 1].astype(int), 1),
    }
    if tiers:
        columns["tier"] = np.where(rng.random(len(at_s)) < 0.6, "gold", "bronze")
    pl.DataFrame(columns).write_csv(path)
    return str(path)


@pytest.mark.parametrize("days", [1.5, 15.0])
def test_the_shape_of_a_trace_at_another_level(tmp_path: Path, days: float) -> None:
    path = trace_file(tmp_path / "trace.csv", days)
    table = table_of(Demand(profile_from=path), WORKLOAD)
    assert table is not None
    assert (table.begins, len(table.factors)) == (("midnight", 24) if days < 7 else ("monday", 168))
    busy = [factor for hour, factor in enumerate(table.factors) if 8 <= hour % 24 < 16 and hour < 120]
    quiet = [factor for hour, factor in enumerate(table.factors) if not 8 <= hour % 24 < 16 and hour < 120]
    assert np.mean(busy) / np.mean(quiet) == pytest.approx(3.0, rel=0.15)
    if days > 7:
        assert np.mean(table.factors[120:]) / np.mean(table.factors[:120]) == pytest.approx(0.5, rel=0.1)
        assert drawn_workload(base(days=7.0, workload__profile_from=path)).expected_requests == pytest.approx(
            2.0 * 7 * DAY_S, rel=1e-9
        )


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (
            0.5,
            "spans 12 h and does not cover 12 hours of the day, the first at 12:00: expected a trace of a day or more",
        )
    ],
)
def test_a_trace_too_short_for_a_shape(tmp_path: Path, days: float, message: str) -> None:
    path = trace_file(tmp_path / "trace.csv", days)
    with pytest.raises(InputError) as caught:
        workload_of(base(workload__profile_from=path))
    assert message in str(caught.value)


def test_a_trace_with_times_takes_no_demand_and_one_without_does(tmp_path: Path) -> None:
    path = trace_file(tmp_path / "trace.csv", 1.0)
    with pytest.raises(InputError, match="has arrival times: expected no demand with a trace with times"):
        workload_of(base(workload__trace=path, workload__rate_profile="office"))
    lengths = tmp_path / "lengths.csv"
    pl.DataFrame({"input_tokens": range(10, 60), "output_tokens": range(1, 51)}).write_csv(lengths)
    config = base(workload__trace=str(lengths), workload__rate_profile="office", workload__batch_size=3.0)
    source = workload_of(config)
    block = np.concatenate(list(source.blocks(1000)))
    np.testing.assert_array_equal(block["input_tokens"], 10 + np.arange(len(block)) % 50)
    np.testing.assert_array_equal(block, np.concatenate(list(workload_of(config).blocks(101))))
    assert source.expected_requests is not None
    assert abs(len(block) - source.expected_requests) < 4 * math.sqrt(5 * source.expected_requests)
    assert np.median(np.unique(block["arrival_s"], return_counts=True)[1]) >= 2
    with pytest.raises(InputError, match="expected one demand for all"):
        workload_of(config.replace({"workload.by_tier": {"gold": {"gap_cv": 2}}}))
    half = workload_of(config)
    begun = [block for _, block in zip(range(5), half.blocks(999), strict=False)]
    again = workload_of(config)
    again.restore(json.loads(json.dumps(half.state())))
    np.testing.assert_array_equal(np.concatenate([*begun, *again.blocks(500)]), block)


MIX = """
rate_rps = 4.0
[[clients]]
name = "chat"
share = 0.75
tier = "gold"
gap_cv = 2.0
input_tokens = { log_mean = 6.0, log_sd = 0.8 }
output_tokens = { log_mean = 5.0, log_sd = 1.0 }
length_correlation = 0.5
predictability = 0.6
[[clients]]
name = "nightly"
share = 0.25
rate_table = { begins = "midnight", factors = [12,12,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0] }
batch_size = 20
input_tokens = 4096
output_tokens = { quantiles = [[0, 100], [0.5, 200], [1, 1600]] }
"""


def test_client_groups(tmp_path: Path) -> None:
    config = scenario.preset("paper").replace(
        {"workload.file": written(tmp_path / "mix.toml", MIX), "predictor.source": "declared", "seed": 8}
    )
    assert config.workload.rate_rps == 4.0
    source, config = workload_of(config), config.replace({"days": 1.0})
    block = drawn(config)
    chat, nightly = block[block["input_tokens"] != 4096], block[block["input_tokens"] == 4096]
    assert (chat["tier"] == 0).all()
    assert abs(len(chat) - 3.0 * DAY_S) < 4 * math.sqrt(4 * 3.0 * DAY_S)
    assert abs(len(nightly) - DAY_S) < 4 * math.sqrt(39 * DAY_S)
    gaps_s = np.diff(chat["arrival_s"])
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(2.0, rel=0.03)
    assert (
        stats.kstest(np.log(chat["input_tokens"][chat["input_tokens"] > 100] + 0.0), "norm", (6.0, 0.8)).statistic < 0.1
    )
    scores = [
        stats.norm.ppf(stats.rankdata(chat[name]) / (len(chat) + 1)) for name in ("input_tokens", "output_tokens")
    ]
    assert np.corrcoef(*scores)[0, 1] == pytest.approx(0.5, abs=0.03)
    for name, mean, sd in (("input_tokens", 6.0, 0.8), ("output_tokens", 5.0, 1.0)):
        assert np.log(chat[name]).mean() == pytest.approx(mean, abs=0.02)
        assert np.log(chat[name]).std() == pytest.approx(sd, abs=0.02)
    assert np.corrcoef(np.log(chat["predicted_tokens"]), np.log(chat["output_tokens"]))[0, 1] == pytest.approx(
        math.sqrt(0.6), abs=0.02
    )
    assert (nightly["arrival_s"] % DAY_S < 7200).all()
    np.testing.assert_allclose(
        np.quantile(nightly["output_tokens"], (0.25, 0.5, 0.75)),
        (math.sqrt(2) * 100, 200, math.sqrt(8) * 200),
        rtol=0.02,
    )
    np.testing.assert_allclose(np.bincount(nightly["tier"]) / len(nightly), (0.3, 0.4, 0.3), atol=0.02)
    assert source.mean_input_tokens == pytest.approx(0.75 * math.exp(6 + 0.32) + 0.25 * 4096, rel=0.01)
    assert (chat["category"] == np.searchsorted([256, 2048], chat["input_tokens"], side="right")).all()
    np.testing.assert_array_equal(drawn(config, 777), block)


def test_a_rate_beside_a_workload_file_goes_first_and_files_are_inputs(tmp_path: Path) -> None:
    path, lengths = written(tmp_path / "mix.toml", MIX), trace_file(tmp_path / "trace.csv", 1.0)
    other = written(
        tmp_path / "other.toml", MIX.replace("input_tokens = 4096", f'input_tokens = {{ trace = "{lengths}" }}')
    )
    config = scenario.preset("paper").replace({"workload.file": path})
    assert config.replace({"workload.rate_rps": 9.0}).workload.rate_rps == 9.0
    assert config.replace({"workload.file": other}).input_files == (other, lengths)
    before, key = config.hash, key_of(config)
    path_2 = written(tmp_path / "mix.toml", MIX.replace("0.75", "0.74").replace("share = 0.25", "share = 0.26"))
    assert path_2 == path
    again = scenario.preset("paper").replace({"workload.file": path})
    assert again.hash != before
    assert key_of(again) != key


REFUSED_MIXES = [
    ("rate_rps = 1\n", "clients"),
    (MIX.replace("share = 0.25", "share = 0.35"), "shares of clients sum to 1.1: expected 1"),
    (MIX.replace('"nightly"', '"chat"'), "client 'chat' appears twice"),
    (MIX.replace("share = 0.75", "share = -1"), "clients.chat.share -1"),
    (MIX.replace('tier = "gold"', 'tier = "golden"'), "clients.chat.tier 'golden'"),
    (
        MIX.replace("[1, 1600]", "[0.9, 1600]"),
        "clients.nightly.output_tokens.quantiles probabilities from 0 to 0.9: expected them to rise from 0 to 1",
    ),
    (
        MIX.replace("[0.5, 200]", "[0.5, 20]"),
        "clients.nightly.output_tokens.quantiles 20 tokens after 100: expected them not to fall",
    ),
    (MIX.replace("log_mean = 6.0, ", ""), "clients.chat.input_tokens nothing: expected one of"),
    (MIX.replace("factors = [12,12,", "factors = [12,-12,"), "clients.nightly.rate_table.factors.1 -12"),
    (
        MIX.replace("length_correlation = 0.5", "length_correlation = 0.9"),
        "clients.chat: length_correlation 0.9: expected at most 0.7",
    ),
    (MIX.replace("[0.5, 200]", "[0, 200]"), "quantiles probability 0 after 0: expected them to rise from 0 to 1"),
    (MIX.replace("[0, 100]", "[0, 0.5]"), "quantiles 0.5 to 1600 tokens: expected 1 to 10,000,000"),
    (MIX.replace("[0, 100]", "[0, 100, 3]"), "quantiles.0 expected a list of 2 or fewer"),
    (MIX.replace("batch_size = 20", "batch_sise = 20"), "clients.nightly.batch_sise 20: unknown field"),
    (MIX.replace("= 4096", "= 4096.5"), "clients.nightly.input_tokens 4096.5: expected a table of fields"),
    ("clients = []\n", "clients expected a list of 1 or more"),
    ("[[clients]\n", "not TOML"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED_MIXES, ids=[message for _, message in REFUSED_MIXES])
def test_bad_workload_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "mix.toml", text)
    with pytest.raises(InputError) as caught:
        workload_of(base(workload__file=path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_go_with_a_workload_file(tmp_path: Path) -> None:
    path = written(tmp_path / "mix.toml", MIX)
    with pytest.raises(InputError, match=r"trace t\.csv and file"):
        base(workload__file=path, workload__trace="t.csv")
    with pytest.raises(InputError, match="expected each client group to set its own"):
        base(workload__file=path, workload__by_tier={"gold": {"gap_cv": 2}})
    with pytest.raises(InputError, match=r"tier gold: slo.gold.share is 0"):
        workload_of(base(workload__file=path, slo__gold__share=0.0, slo__silver__share=0.7))
    with pytest.raises(InputError, match="cannot be read"):
        workload_of(base(workload__file=str(tmp_path / "none.toml")))


@pytest.mark.parametrize("cv", [0.05, 0.5, 0.999, 1.5, 5.0])
def test_gamma_gaps_are_quantiles(cv: float) -> None:
    rng = np.random.default_rng(1)
    extreme = 2.0 ** -rng.uniform(1, 53, 2000)
    p = np.concatenate([rng.random(20_000), extreme, 1 - extreme, [0.0, 0.25, 0.5, 0.75, 1 - 2.0**-53]])
    expected = stats.gamma(cv**-2, scale=cv**2).ppf(np.maximum(p, 2.0**-54))
    found = gamma_gaps(p.copy(), cv)
    assert (np.diff(found[np.argsort(p, kind="stable")]) >= 0).all()
    seen = expected > 1e-280
    np.testing.assert_allclose(found[seen], expected[seen], rtol=2e-9)
    assert (found[~seen] < 1e-270).all()


def test_lengths_are_capped_and_whole() -> None:
    u = np.linspace(0.0005, 0.9995, 1000)
    assert quantile_function(Lengths(log_mean=6.0, log_sd=2.0), "output_tokens", 500.0, WORKLOAD)(u).max() == 500
    assert quantile_function(Lengths(tokens=700), "output_tokens", 500.0, WORKLOAD)(u).max() == 500
