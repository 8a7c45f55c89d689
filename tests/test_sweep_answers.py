"""Answers from sweeps: fronts against brute force, paired differences against SciPy, tuning that is the same
however it was interrupted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from caps_fast import cli
from caps_fast.errors import InputError
from caps_fast.report.fronts import front_figure
from caps_fast.sweep import read
from caps_fast.sweep.compare import compare
from caps_fast.sweep.frames import means, metrics, settings, where
from caps_fast.sweep.pareto import pareto
from caps_fast.sweep.summary import at_one_rate, summary, text_table

CARBON, SLO = "carbon_g_per_1k_tokens", "slo_attainment"


def results(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Results with the columns that matter here; what a row does not say is common."""
    common = {
        "policy": "caps",
        "rate_rps": 10.0,
        "seed": 0,
        "split": "8/8/8",
        "beta": 0.5,
        "version": "1",
        "monitor.window_h": 168.0,
    }
    return pl.DataFrame(
        [common | row | {"scenario_hash": str(index)} for index, row in enumerate(rows)], infer_schema_length=None
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_a_front_is_what_brute_force_finds(points: list[tuple[int, int]]) -> None:
    runs = results([{"beta": float(index), CARBON: x / 10, SLO: y / 10} for index, (x, y) in enumerate(points)])
    (front,) = pareto(runs, [CARBON, SLO])
    beaten = {
        index
        for index, (x, y) in enumerate(points)
        if any(other_x <= x and other_y >= y and (other_x, other_y) != (x, y) for other_x, other_y in points)
    }
    kept = sorted(set(range(len(points))) - beaten)
    assert front.of == len(points)
    assert sorted(front.settings[CARBON].to_list()) == sorted(points[index][0] / 10 for index in kept)
    if len(points) > 1:
        assert sorted(front.settings["beta"].to_list()) == kept
    worst_x, worst_y = max(x for x, _ in points), min(y for _, y in points)
    covered = {
        (x, y) for x in range(10) for y in range(10) for px, py in points if px <= x < worst_x and worst_y <= y < py
    }
    assert front.hypervolume == pytest.approx(len(covered) / 100, abs=1e-12)


def test_a_picture_says_which_line_is_the_front_and_what_none_means() -> None:
    points = (("none", 2.0, 0.9), ("lcp", 1.0, 0.8), ("autoscale", 3.0, 0.7))
    runs = results([{"policy.scaling": name, CARBON: x, SLO: y} for name, x, y in points])
    figure = front_figure(runs, pareto(runs, [CARBON, SLO]), [CARBON, SLO])
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "no scaling",
        "lcp",
        "autoscale",
        "Pareto front",
    }


def test_fronts_are_means_over_seeds_and_never_mix_rates() -> None:
    runs = results(
        [
            {"rate_rps": rate, "seed": seed, "beta": beta, CARBON: beta + seed, SLO: beta}
            for rate in (4.0, 8.0)
            for beta in (0.1, 0.2)
            for seed in (0, 1)
        ]
    )
    found = pareto(runs, [CARBON, SLO])
    assert [front.group for front in found] == [{"rate_rps": 4.0}, {"rate_rps": 8.0}]
    first = found[0].settings.row(0, named=True)
    assert first == {
        "rate_rps": 4.0,
        "policy": "caps",
        "beta": 0.1,
        "seeds": 2,
        CARBON: pytest.approx(0.6),
        SLO: pytest.approx(0.1),
    }
    (mixed,) = pareto(runs, [CARBON, SLO], group=[])
    assert mixed.of == 4
    assert pareto(runs, [CARBON, SLO], reference=[1.6, 0.0])[0].hypervolume == pytest.approx(0.1 * 0.1 + 0.9 * 0.2)
    with pytest.raises(InputError, match="expected one of"):
        pareto(runs, ["nope", SLO])
    with pytest.raises(InputError, match="2 numbers"):
        pareto(runs, [CARBON, SLO], reference=[1.0])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_differences_are_those_of_a_paired_t_test(values: list[tuple[float, float]]) -> None:
    runs = results(
        [
            {"policy": name, "seed": seed, SLO: pair[index]}
            for seed, pair in enumerate(values)
            for index, name in enumerate(("edf", "caps"))
        ]
    )
    (row,) = compare(runs, "edf", [SLO]).rows(named=True)
    before, after = np.array(values).T
    assert row["pairs"] == len(values)
    assert row["difference"] == pytest.approx(np.mean(after - before), abs=1e-12)
    if np.std(after - before) > 1e-9:
        interval = ttest_rel(after, before).confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_runs_are_paired_with_the_same_requests_and_settings() -> None:
    """A baseline that has one beta only is the partner of every beta; one that has several, of the same; never of
    another rate or seed.
    """
    rows = [{"policy": "edf", "rate_rps": 4.0, "seed": seed, SLO: 0.1 * seed} for seed in (0, 1, 2)]
    rows += [
        {"policy": "caps", "rate_rps": rate, "seed": seed, "beta": beta, SLO: beta}
        for rate in (4.0, 8.0)
        for beta in (0.1, 0.2)
        for seed in (1, 2, 3)
    ]
    found = compare(results(rows), "edf", [SLO])
    assert found.select("rate_rps", "beta", "pairs", "baseline").rows() == [
        (4.0, 0.1, 2, pytest.approx(0.15)),
        (4.0, 0.2, 2, pytest.approx(0.15)),
    ]
    both = results(
        [{"policy": name, "beta": beta, "seed": 0, SLO: beta} for name in ("edf", "caps") for beta in (0.1, 0.2)]
    )
    alone = compare(both, "edf", [SLO])
    assert alone.select("beta", "difference").rows() == [(0.1, 0.0), (0.2, 0.0)]
    assert alone["low"].is_nan().all() or alone["low"].is_null().all(), "one pair tells nothing about its spread"
    splits = results([{"split": split, "seed": seed, SLO: 0.5} for split in ("8/8/8", "6/10/8") for seed in (0, 1)])
    assert compare(splits, "8/8/8", [SLO], factor="split")["split"].to_list() == ["6/10/8"]


def test_what_changes_with_the_factor_is_no_part_of_the_match() -> None:
    tiers = [("tight", 0.3, 0.05), ("loose", 1.0, 0.1)]
    rows = [
        {
            "policy": name,
            "seed": seed,
            "slo": label,
            "slo.gold.ttft_s": ttft_s,
            "slo.gold.tpot_s": tpot_s,
            SLO: ttft_s / 2 + seed,
        }
        for label, ttft_s, tpot_s in tiers
        for name in ("edf", "caps")
        for seed in (0, 1)
    ]
    for factor, baseline in (("slo", "tight"), ("slo.gold.ttft_s", "0.3")):
        found = compare(results(rows), baseline, [SLO], factor)
        assert found.select("policy", "pairs", "difference").rows() == [
            ("edf", 2, pytest.approx(0.35)),
            ("caps", 2, pytest.approx(0.35)),
        ]
    presets = results(
        [{"preset": name, "gpu.idle_w": watts, SLO: watts} for name, watts in (("paper", 100.0), ("measured", 63.0))]
    )
    assert compare(presets, "paper", [SLO], "preset")["difference"].to_list() == [-37.0]
    with pytest.raises(InputError, match="the same seed, rate_rps"):
        compare(
            results([{"policy": "edf", "rate_rps": 4.0, SLO: 1.0}, {"policy": "caps", "rate_rps": 8.0, SLO: 1.0}]),
            "edf",
            [SLO],
        )


def test_numbers_are_compared_as_numbers() -> None:
    runs = results([{"beta": beta, "cluster.max_batch": 5, SLO: beta} for beta in (0.0, 0.5, 1.0)])
    for baseline in ("0", "0.0", "0e0"):
        assert compare(runs, baseline, [SLO], "beta")["difference"].to_list() == [0.5, 1.0]
        assert where(runs, [f"beta={baseline}", "cluster.max_batch=5.0"]).height == 1
    with pytest.raises(InputError, match="baseline 'x': expected numbers; there are 0, "):
        compare(runs, "x", [SLO], "beta")


def test_none_is_a_value_that_can_be_named() -> None:
    runs = results([{"gpu.mtbf_s": mtbf_s, SLO: slo} for mtbf_s, slo in ((None, 1.0), (3600.0, 0.5), (60.0, 0.25))])
    assert compare(runs, "none", [SLO], "gpu.mtbf_s")["difference"].to_list() == [-0.5, -0.75]
    assert where(runs, ["gpu.mtbf_s=none,60"])[SLO].to_list() == [1.0, 0.25]


@pytest.mark.parametrize(
    ("baseline", "factor", "told"),
    [("nope", "policy", "there are"), ("edf", "nope", "column"), ("caps", "split", "two values")],
)
def test_comparisons_that_cannot_be(baseline: str, factor: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        compare(results([{"policy": "edf", SLO: 1.0}, {"policy": "caps", SLO: 1.0}]), baseline, [SLO], factor)


def test_without_common_seeds_there_is_nothing_to_compare() -> None:
    with pytest.raises(InputError, match="common seeds"):
        compare(
            results([{"policy": "edf", "seed": 0, SLO: 1.0}, {"policy": "caps", "seed": 1, SLO: 1.0}]), "edf", [SLO]
        )


def test_conditions() -> None:
    runs = results([{"policy": name, "rate_rps": rate, SLO: 1.0} for name in ("edf", "caps") for rate in (4.0, 10.0)])
    assert where(runs, ["rate_rps=10", "policy=caps,slo-aware"]).height == 1
    for condition, told in (
        ("rate_rps=99", "there are 4, 10"),
        ("rate_rps", "column=value"),
        ("nope=1", "column 'nope'"),
        ("rate_rps=x", "numbers"),
    ):
        with pytest.raises(InputError, match=told):
            where(runs, [condition])


def test_a_summary_is_at_ten_requests_a_second_or_in_the_middle() -> None:
    assert at_one_rate(results([{"rate_rps": rate} for rate in (4.0, 10.0, 16.0, 17.0)]))["rate_rps"].to_list() == [
        10.0
    ]
    assert at_one_rate(results([{"rate_rps": rate} for rate in (4.0, 5.0, 6.0)]))["rate_rps"].to_list() == [5.0]
    text = text_table(
        summary(results([{"policy": "edf", "seed": seed, SLO: 0.5, CARBON: float("nan")} for seed in (0, 1)]))
    )
    assert text.splitlines()[-1].split() == ["edf", "2", "50.0%", "-"]


def test_a_million_rows_are_summed_up_within_a_second() -> None:
    count = 1_000_000
    at = np.arange(count)
    runs = pl.DataFrame(
        {
            "policy": np.array(["edf", "caps"])[at % 2],
            "rate_rps": 2.0 + at % 15,
            "seed": at % 100,
            "beta": (at % 7) / 4,
            "split": "8/8/8",
        }
        | {"scenario_hash": at.astype(str), "version": "1", SLO: at / count, CARBON: at / count}
    )
    start_s = time.process_time()
    assert metrics(runs) == [SLO, CARBON]
    table = summary(runs)
    one_core_s = (time.process_time() - start_s) / 2
    assert table.height == 14
    assert one_core_s < 1
    assert means(runs, settings(runs), [SLO]).height == 2 * 15 * 7


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(cli, "MODULES", ("pareto", "compare", "tune", "grid", "sweep"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["caps-fast", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_commands(tmp_path: Path, run: Any) -> None:
    folder = tmp_path / "runs.parquet"
    rows = [
        {"policy": name, "seed": seed, CARBON: 1.0 + at + seed, SLO: 0.5 + at / 10}
        for at, name in enumerate(("edf", "caps"))
        for seed in (0, 1)
    ]
    results(rows).write_parquet(folder)
    assert read(folder).height == 4
    code, out, _ = run("pareto", str(folder))
    assert (code, out.splitlines()[0]) == (0, "2 of 2 settings; hypervolume 0")
    code, out, _ = run("pareto", str(folder), "--x", CARBON, "--y", SLO, "--group", "policy", "--json")
    assert [front["policy"] for front in json.loads(out)] == ["edf", "caps"]
    code, out, _ = run("compare", str(folder), "--baseline", "edf", "--metric", SLO, "--json")
    assert json.loads(out)[0]["difference"] == pytest.approx(0.1)
    code, out, _ = run("compare", str(folder), "--baseline", "edf", "--metric", SLO)
    assert "95% confidence" in out
    for bad in (
        ("pareto", "nowhere"),
        ("compare", str(folder)),
        ("compare", str(folder), "--baseline", "edf", "--confidence", "2"),
        ("tune", "nope.toml"),
    ):
        code, out, err = run(*bad)
        assert (code, out, err.count("\n")) == (2, "", 1)
    quick = (
        "tune",
        "paper",
        "--study",
        str(tmp_path / "s.log"),
        "--days",
        "0.002",
        "--set",
        "predictor.source=declared",
        "--seeds",
        "1",
        "--held-out",
        "1",
    )
    code, out, err = run(*quick, "--trials", "2", "--search", "beta=0..1", "--jobs", "1")
    assert (code, out.splitlines()[0].split(";")[0].split(" of ")[1]) == (0, "2 trials")
    code, out, err = run(*quick, "--trials", "2", "--search", "beta=0..1", "--jobs", "1", "--json")
    assert json.loads(out)["trials"] == 2


def test_results_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="expected Parquet"):
        read(tmp_path / "x.parquet")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "y.parquet")
    with pytest.raises(InputError, match="expected results of a sweep"):
        read(tmp_path / "y.parquet")
    results([{SLO: 1.0}]).with_columns(policy=pl.lit(1)).write_parquet(tmp_path / "runs.parquet")
    with pytest.raises(InputError, match=r"runs\.parquet: column policy is Int32, not String"):
        read(tmp_path)


def test_help_loads_nothing_slow() -> None:
    code = (
        "import sys, caps_fast.cli.sweep, caps_fast.cli.tune; sys.exit(bool({'numba', 'polars', 'optuna', "
        "'joblib', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
