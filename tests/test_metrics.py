"""The table of metrics: formulas against the requests of random runs, directions, what is printed, accounts by
pool, docs/schema.md.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given

from caps_fast import scenario, sections
from caps_fast.errors import InputError
from caps_fast.fleet import pool_names
from caps_fast.metrics import METRICS, POOL_METRICS, TABLE, Metric, heading, larger_is_better, metric_of
from caps_fast.outcome import Outcome
from caps_fast.records import Array
from caps_fast.schema import with_tables
from caps_fast.simulation import Recording, simulate
from caps_fast.sweep import read, sweep
from caps_fast.sweep.compare import compare
from caps_fast.sweep.pareto import pareto
from caps_fast.sweep.space import dimension
from caps_fast.sweep.tune import Search
from caps_fast.text_table import text_lines
from cases import cases, play_fast
from plain import FIXED, rows_of
from slow_engine import Case
from tiny_sweeps import SERIAL, TINY, content, grid, plan_of

ROOT = Path(__file__).parent.parent
STATED_ERROR = 0.004
LEAST_S = 2.0**-14  # what is shorter falls into the first bin


def latencies(rows: Array) -> dict[str, Array]:
    """Latencies of finished requests, s."""
    several = rows[rows["output_tokens"] > 1]
    return {
        "ttft": rows["first_token_s"] - rows["arrival_s"],
        "ttft_after_release": rows["first_token_s"] - rows["released_s"],
        "tpot": (several["finished_s"] - several["first_token_s"]) / (several["output_tokens"] - 1),
        "e2e": rows["finished_s"] - rows["arrival_s"],
    }


def expect_quantile(found_s: float, values_s: Array, q: float) -> None:
    if len(values_s):
        exact_s = float(np.quantile(values_s, q, method="inverted_cdf"))
        assert found_s == pytest.approx(exact_s, rel=STATED_ERROR, abs=LEAST_S)
    else:
        assert math.isnan(found_s)


@given(cases())
def test_means_and_quantiles_are_those_of_the_requests(case: Case) -> None:
    result = play_fast(case)
    rows = rows_of(result)
    for name, values_s in latencies(rows).items():
        mean_s = values_s.mean() if len(values_s) else math.nan
        assert result.metrics[f"{name}_mean_s"] == pytest.approx(mean_s, rel=1e-9, abs=1e-12, nan_ok=True)
        for percent in (50, 90, 95, 99):
            expect_quantile(result.metrics[f"{name}_p{percent}_s"], values_s, percent / 100)
    for number, tier in enumerate(sections.TIERS):
        own_s = latencies(rows[rows["tier"] == number])["ttft"]
        expect_quantile(result.metrics[f"ttft_p95_{tier}_s"], own_s, 0.95)


@given(cases())
def test_throughput_power_and_totals_follow_from_the_requests(case: Case) -> None:
    result = play_fast(case)
    assert result.requests is not None
    if not len(result.requests):
        assert math.isnan(result.metrics["output_tokens_per_s"])
        return
    energy_j, carbon_g = (float(result.requests[name].sum()) for name in ("energy_j", "carbon_g"))
    expected = {
        "requests_per_s": len(case.requests) / case.config.horizon_s,
        "output_tokens_per_s": rows_of(result)["output_tokens"].sum() / result.end_s,
        "mean_power_w": (energy_j + result.idle_energy_j) / max(result.end_s, case.config.horizon_s),
        "total_energy_kwh": (energy_j + result.idle_energy_j) / 3.6e6,
        "total_carbon_kg": (carbon_g + result.idle_carbon_g) / 1000,
    }
    for name, value in expected.items():
        assert result.metrics[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


@given(cases())
def test_pools_follow_from_the_requests_and_add_up(case: Case) -> None:
    result = play_fast(case)
    rows, names = result.requests, pool_names(case.config.cluster.pool_roles)
    end_s, horizon_s = result.end_s, case.config.horizon_s
    assert rows is not None
    assert list(result.by_pool) == list(names)
    for number, name in enumerate(names):
        here = rows[rows["pool"] == number]
        pool = result.by_pool[name]
        assert list(pool) == list(POOL_METRICS)
        assert pool["requests"] == np.isfinite(here["finished_s"]).sum()
        assert pool["busy_energy_kwh"] == pytest.approx(here["energy_j"].sum() / 3.6e6, rel=1e-9, abs=1e-12)
        assert pool["busy_carbon_kg"] == pytest.approx(here["carbon_g"].sum() / 1000, rel=1e-9, abs=1e-12)
        used_s = pool["utilization"] * min(end_s, horizon_s)  # busy_share is of the whole arrivals at the least
        assert math.isnan(used_s) or 0 <= used_s <= pool["busy_share"] * horizon_s * (1 + 1e-9)
        assert 0 <= pool["busy_share"] <= 1 + 1e-9
    slots = [gpus * case.config.cluster.max_batch for gpus in case.config.cluster.pools]
    parts = [result.by_pool[name]["utilization"] * share / sum(slots) for name, share in zip(names, slots, strict=True)]
    assert sum(parts) == pytest.approx(result.metrics["utilization"], rel=1e-9, abs=1e-12, nan_ok=True)


def test_a_replica_of_one_slot_is_busy_from_admission_to_the_end() -> None:
    changes = FIXED | {"policy.name": "slo-aware", "cluster.max_batch": 1, "workload.rate_rps": 3.0, "days": 0.02}
    result = simulate(scenario.preset("paper").replace(changes), Recording(requests=True)).outcome
    rows = rows_of(result)
    for number, pool in enumerate(result.by_pool.values()):
        here = rows[rows["pool"] == number]
        busy_s = (here["finished_s"] - here["admitted_s"]).sum()
        arrivals_s = result.scenario.horizon_s
        drained_s = (here["finished_s"].clip(arrivals_s) - here["admitted_s"].clip(arrivals_s)).sum()
        assert pool["busy_share"] == pytest.approx(busy_s / (8 * arrivals_s + drained_s), rel=1e-9)
        assert pool["utilization"] == pytest.approx(busy_s / (8 * result.end_s), rel=1e-9)


@pytest.mark.parametrize(
    ("roles", "names"),
    [("LP/CP/BP", ("lp", "cp", "bp")), ("LP/BP/LP", ("lp1", "bp", "lp2")), ("BP/BP/BP", ("bp1", "bp2", "bp3"))],
)
def test_pools_are_named_by_role_and_number(roles: str, names: tuple[str, ...]) -> None:
    assert pool_names(roles.split("/")) == names
    fleet = scenario.preset("paper").replace({"cluster.roles": roles}).fleet
    assert tuple(pool.name for pool in fleet.pools) == names


def result_of(**changes: Any) -> Outcome:
    return simulate(scenario.preset("paper").replace({**TINY, "policy.name": "edf", **changes}))


def test_every_metric_is_a_column_and_of_its_type() -> None:
    result = result_of()
    assert list(result.metrics) == list(METRICS)
    values = [(metric, result.metrics[name]) for name, metric in METRICS.items()]
    values += [(metric, pool[name]) for pool in result.by_pool.values() for name, metric in POOL_METRICS.items()]
    for metric, value in values:
        assert type(value) is metric.kind, metric.name
    assert set(TABLE) <= set(METRICS)


def test_headings_tell_metrics_apart() -> None:
    headings = [metric.heading for metric in METRICS.values()]
    assert len(set(headings)) == len(headings)
    assert heading("pool.lp1.busy_energy_kwh") == "lp1 busy kWh"
    assert heading("cluster.max_batch") == "cluster.max_batch"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("slo_attainment", 0.98765, "98.8%"),
        ("share_lp", 1.0, "100%"),
        ("ttft_p95_s", 0.12345, "0.123"),
        ("ttft_p95_s", 12345.678, "12,346"),
        ("requests", 1234567, "1,234,567"),
        ("total_carbon_kg", math.nan, "-"),
        ("total_carbon_kg", None, "-"),
    ],
)
def test_values_for_people(name: str, value: float | None, text: str) -> None:
    assert METRICS[name].shown(value) == text


def test_long_headings_take_two_lines() -> None:
    assert text_lines(["policy", "TTFT p95 gold s", "LP"], [["edf", "1.0", "3%"]], [False, True, True]) == [
        "        TTFT p95",
        "policy    gold s  LP",
        "edf          1.0  3%",
    ]
    assert text_lines(["a", "b"], [["x", "1"]], [False, True]) == ["a  b", "x  1"]


LARGER = {
    *("slo_attainment", *(f"slo_attainment_{tier}" for tier in sections.TIERS)),
    *("goodput_tps", "output_tokens", "output_tokens_per_s", "utilization"),
}
NEITHER = {
    "moved",
    "mean_clock",
    "requests",
    "requests_per_s",
    "held_share",
    "held_not_bronze_share",
    "share_lp",
    "share_cp",
    "share_bp",
    "end_s",
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_directions(metric: Metric[Any]) -> None:
    if metric.name in NEITHER:
        with pytest.raises(InputError, match=f"metric '{metric.name}': has no better direction"):
            larger_is_better(metric.name)
    else:
        assert larger_is_better(metric.name) == (metric.name in LARGER)


def test_no_direction_is_guessed() -> None:
    for column in ("speed", "pool.lp.speed", "pool.lp.requests", "beta"):
        with pytest.raises(InputError, match="expected one of output_tokens, "):
            larger_is_better(column)
    assert not larger_is_better("pool.lp.busy_energy_kwh")
    assert metric_of("pool.fast.one.requests") is POOL_METRICS["requests"]


@pytest.fixture(scope="module")
def by_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("by_pool")
    subprocess.run(grid(folder, "--by-pool", "--jobs", "1"), check=True, capture_output=True)
    return folder


def test_a_sweep_keeps_the_metrics_of_pools_if_asked_to(by_pool: Path, tmp_path: Path) -> None:
    runs = read(by_pool)
    pools = [f"pool.{pool}.{name}" for pool in ("bp", "cp", "lp") for name in sorted(POOL_METRICS)]
    assert [name for name in runs.columns if name.startswith("pool.")] == pools
    assert runs["pool.lp.requests"].dtype == pl.Int64
    finished = runs["requests"] - runs["unfinished"]
    assert (runs.select(pl.sum_horizontal("^pool\\..*\\.requests$")).to_series() == finished).all()
    sweep(plan_of(), tmp_path, SERIAL)
    assert read(tmp_path).equals(runs.drop(pools))
    before = content(by_pool)
    again = subprocess.run(grid(by_pool, "--by-pool", "--jobs", "1"), check=True, capture_output=True)
    assert b"lp" not in again.stdout
    assert content(by_pool) == before


def test_pools_that_differ_between_runs_are_columns_by_name(tmp_path: Path) -> None:
    plan = replace(plan_of(rates="4", seeds=1, **{"cluster.roles": ["LP/CP/BP", "LP/LP/BP"]}), by_pool=True)
    swept = sweep(plan, tmp_path / "one", SERIAL, batch_s=0.0)
    names = [name for name in swept.runs.columns if name.endswith(".requests")]
    assert names == [f"pool.{pool}.requests" for pool in ("bp", "cp", "lp", "lp1", "lp2")]
    assert swept.runs["pool.cp.requests"].null_count() == swept.runs["pool.lp1.requests"].null_count() == 2
    sweep(plan, tmp_path / "other", SERIAL)
    assert content(tmp_path / "one") == content(tmp_path / "other")


def test_a_folder_holds_metrics_by_pool_or_does_not(by_pool: Path, tmp_path: Path) -> None:
    refused = subprocess.run(grid(by_pool, "--jobs", "1"), check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "holds results with metrics by pool: expected --by-pool as before; or choose another" in refused.stderr
    sweep(plan_of(), tmp_path, SERIAL)
    refused = subprocess.run(grid(tmp_path, "--by-pool"), check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "holds results without metrics by pool: expected no --by-pool; or choose another" in refused.stderr


def test_answers_take_metrics_of_pools_and_results_of_before(by_pool: Path) -> None:
    runs = read(by_pool)
    (front, *_) = pareto(runs, ["pool.lp.busy_energy_kwh", "slo_attainment"], group=[])
    assert front.settings.height > 0
    no_direction = r"metric 'pool.lp.busy_share': has no better direction; .*pool.lp.busy_energy_kwh"
    with pytest.raises(InputError, match=no_direction):
        pareto(runs, ["pool.lp.busy_share", "slo_attainment"])
    with pytest.raises(InputError, match="metric 'held_share': has no better direction"):
        pareto(runs, ["held_share", "slo_attainment"])
    old = [
        name for name in runs.columns if "mean" in name or "p9" in name or "per_s" in name or name.startswith("pool.")
    ]
    old = [name for name in old if name not in ("ttft_after_release_p95_s", "deferral_mean_s")]
    before = runs.drop(old, "total_carbon_kg", strict=False).with_columns(pl.lit(1.0).alias("my_own"))
    assert pareto(before, ["carbon_g_per_1k_tokens", "slo_attainment"])
    assert compare(before, "round-robin", ["my_own", "held_share"])["mean"].to_list()[0] == 1.0
    with pytest.raises(
        InputError, match=r"metric 'my_own': has no better direction; expected one of output_tokens, slo_attainment, "
    ):
        pareto(before, ["my_own", "slo_attainment"])


def test_a_study_optimises_only_what_has_a_direction() -> None:
    given = {"dimensions": (dimension("beta=0..4"),), "seeds": (0,), "held_out": (1000,)}
    with pytest.raises(InputError, match="metric 'share_lp': has no better direction; expected one of output_tokens, "):
        Search(scenario.preset("paper"), objectives=("share_lp", "slo_attainment"), **given)  # type: ignore[arg-type]


def test_run_prints_pools_if_asked_to() -> None:
    words = ["run", "--policies", "edf", "--days", "0.002", "--by-pool"]
    call = [sys.executable, "-c", "from caps_fast.cli import main; main()", *words]
    lines = subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[:2] for line in lines[-3:]] == [["edf", "lp"], ["edf", "cp"], ["edf", "bp"]]
    assert max(map(len, lines)) <= 160
    (row,) = json.loads(subprocess.run([*call, "--json"], check=True, capture_output=True, text=True).stdout)
    assert {f"pool.{pool}.{name}" for pool in ("lp", "cp", "bp") for name in POOL_METRICS} <= set(row)


def test_the_schema_page_is_what_the_table_says() -> None:
    page = (ROOT / "docs/schema.md").read_text(encoding="utf-8")
    assert with_tables(page) == page, "make schema writes docs/schema.md anew"
    with pytest.raises(InputError, match="no table between"):
        with_tables("# another page\n")
