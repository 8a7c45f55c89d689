"""What a run reports: histograms against exact quantiles, accounts that add up, metrics recomputed from the
requests, columns by name.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caps_fast import arrays, scenario, sections
from caps_fast._jit import kernel
from caps_fast.arrays import BUSY, SLACK
from caps_fast.books import bin_edges_s, histogram_quantiles
from caps_fast.carbon.monitor import monitors_of
from caps_fast.engine.ledger import bin_of
from caps_fast.errors import InputError
from caps_fast.outcome import Outcome
from caps_fast.records import Array
from caps_fast.simulation import Recording, Run, prepare, simulate, simulate_group
from plain import FIXED, rows_of

STATED_ERROR = 0.004
TPOT_S = (pl.col("finished_s") - pl.col("first_token_s")) / (pl.col("output_tokens") - 1)
REQUEST_COLUMNS = [
    *("request", "arrival_s", "tier", "category", "tenant", "input_tokens", "output_tokens", "pool", "role", "gpu"),
    *("released_s", "admitted_s", "first_token_s", "finished_s", "outcome", "met_slo", "energy_j", "carbon_g"),
]
PARAMETERS = [
    "policy",
    "rate_rps",
    "seed",
    "split",
    "alpha",
    "beta",
    "lambda",
    "days",
    "preset",
    "scenario_hash",
    "version",
]
METRICS = [
    *(
        "requests",
        "output_tokens",
        "slo_attainment",
        "slo_attainment_gold",
        "slo_attainment_silver",
        "slo_attainment_bronze",
        "goodput_tps",
    ),
    *(
        "carbon_g_per_1k_tokens",
        "total_carbon_g_per_1k_tokens",
        "carbon_g_per_1k_good_tokens",
        "energy_kwh",
        "idle_energy_kwh",
    ),
    *("ttft_p50_s", "ttft_p95_s", "ttft_after_release_p95_s", "tpot_p95_s", "e2e_p95_s", "deferral_mean_s"),
    *("share_lp", "share_cp", "share_bp", "preemptions", "unfinished", "utilization"),
]


@kernel
def count(values_s, counts):
    for i in range(values_s.shape[0]):
        counts[bin_of(values_s[i])] += 1


def histogram(values_s: Array) -> Array:
    counts = np.zeros(arrays.HISTOGRAM_BINS, np.int64)
    count(values_s, counts)
    return counts


def exact_quantile(values_s: Array, q: float) -> float:
    return float(np.quantile(values_s, q, method="inverted_cdf"))


LATENCIES = st.floats(2.0**arrays.FIRST_EXPONENT, 1e7)


@given(value_s=LATENCIES)
def test_a_value_lies_in_its_bin(value_s: float) -> None:
    edges = bin_edges_s()
    (at,) = np.flatnonzero(histogram(np.array([value_s])))
    assert edges[at] <= value_s < edges[at + 1]


def test_bins_are_narrow_and_join_up() -> None:
    edges = bin_edges_s()
    assert len(edges) == arrays.HISTOGRAM_BINS + 1
    assert edges[0] == 2.0**arrays.FIRST_EXPONENT
    assert (np.diff(edges) > 0).all()
    assert (np.diff(edges) / edges[:-1]).max() <= STATED_ERROR


@pytest.mark.parametrize("value_s", [0.0, 5e-324, 1e-9, 2.0**arrays.FIRST_EXPONENT])
def test_the_least_values_fall_into_the_first_bin(value_s: float) -> None:
    assert histogram(np.array([value_s]))[0] == 1


def test_the_largest_values_fall_into_the_last_bin() -> None:
    assert histogram(np.array([1e12, 1e300]))[-1] == 2


@given(
    values_s=st.one_of(
        st.lists(LATENCIES, min_size=1, max_size=50),
        st.tuples(LATENCIES, st.integers(1, 100)).map(lambda pair: [pair[0]] * pair[1]),  # all alike, as without load
    ),
    q=st.one_of(st.sampled_from([0.5, 0.95, 0.99]), st.floats(0.01, 1.0)),
)
def test_quantiles_err_by_less_than_stated(values_s: list[float], q: float) -> None:
    values = np.array(values_s)
    assert histogram_quantiles(histogram(values), q) == pytest.approx([exact_quantile(values, q)], rel=STATED_ERROR)


def test_no_quantile_of_nothing() -> None:
    assert np.isnan(histogram_quantiles(np.zeros(arrays.HISTOGRAM_BINS, np.int64), 0.5, 0.95)).all()


@cache
def run_of(policy: str, drain_h: float = 48.0) -> Outcome:
    """A quarter of a loaded day."""
    changes = FIXED | {"policy.name": policy, "predictor.source": "declared", "days": 0.25, "drain_h": drain_h}
    changes |= {"cluster.max_batch": 8, "slo.silver.tpot_s": 0.034, "slo.bronze.e2e_s": 14400}
    return simulate(scenario.preset("paper").replace(changes), Recording(requests=True)).outcome


RUNS = [("round-robin", 48.0), ("carbon-aware", 48.0), ("caps", 48.0), ("carbon-aware", 0.0)]


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_accounts_add_up(run: tuple[str, float]) -> None:
    result = run_of(*run)
    cells, rows = result.accounts, rows_of(result)
    assert cells["requests"].sum() == cells["finished"].sum() + result.unfinished
    assert cells["finished"].sum() == len(rows) == result.pools["requests"].sum()
    assert cells["met"].sum() == rows["met"].sum()
    assert cells["output_tokens"].sum() == rows["output_tokens"].sum()
    assert cells["good_tokens"].sum() == rows["output_tokens"][rows["met"] == 1].sum()
    assert (cells["met"] <= cells["finished"]).all()
    assert (cells["good_tokens"] <= cells["output_tokens"]).all()
    assert (cells["held_tokens"] <= cells["output_tokens"]).all()
    for name in ("energy_j", "carbon_g"):
        assert cells[name].sum() == pytest.approx(rows[name].sum(), rel=1e-12)
        by_kind = np.zeros(9)
        np.add.at(by_kind, rows["category"] * 3 + rows["tier"], rows[name])
        np.testing.assert_allclose(cells[name].reshape(3, 9).sum(0), by_kind, rtol=1e-9)
        assert rows[name].sum() <= result.spent[name][:, BUSY].sum() * (1 + 1e-12)
    assert cells["deferral_s"].sum() == pytest.approx(
        (rows["released_s"] - rows["arrival_s"]).sum(), rel=1e-9, abs=1e-6
    )
    assert (
        result.histograms[:, (arrays.TTFT, arrays.TTFT_AFTER_RELEASE, arrays.E2E)].sum(axis=(0, 2)) == len(rows)
    ).all()
    assert result.histograms[:, arrays.TPOT].sum() == (rows["output_tokens"] > 1).sum()


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_slices_add_up_to_the_accounts(run: tuple[str, float]) -> None:
    result = run_of(*run)
    parts = result.slices.reshape(len(result.pools), -1, arrays.N_STATES)  # all pools are in one region
    for name in ("seconds", "energy_j"):
        np.testing.assert_allclose(parts[name].sum(axis=1), result.spent[name], rtol=1e-9)


def test_a_run_begins_in_the_first_slice_of_its_pools() -> None:
    """However much of the trace lies before t = 0: what is outside of the slices is memory of others."""
    config = scenario.preset("paper").replace({"policy.name": "edf", "days": 0.002})
    ready = prepare(config)
    state = Run.start(ready).state
    assert ready.monitors[0].trace.times_s[24] < 0, "the trace should begin long before the run"
    first = state.pools["slice_at"] + state.regions["carbon_at"][state.pools["region"]]
    assert first[0] == 0
    assert (first + 1 <= len(state.slices) // arrays.N_STATES).all()
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_metrics_follow_from_the_requests(run: tuple[str, float]) -> None:
    result = run_of(*run)
    row, busy = result.row(), result.spent[:, BUSY]
    arrived = len(result.request_table)
    table = result.request_table.filter(pl.col("finished_s").is_not_null())
    assert len(table) + result.unfinished == arrived
    tokens, good = int(table["output_tokens"].sum()), int(table.filter("met_slo")["output_tokens"].sum())
    carbon_g = float(busy["carbon_g"].sum())
    busy_s = (table["finished_s"] - table["admitted_s"]).sum()
    expected = {
        "requests": arrived,
        "output_tokens": tokens,
        "slo_attainment": table["met_slo"].sum() / arrived,
        "goodput_tps": good / 21600,
        "carbon_g_per_1k_tokens": carbon_g / tokens * 1000,
        "total_carbon_g_per_1k_tokens": (carbon_g + result.idle_carbon_g) / tokens * 1000,
        "carbon_g_per_1k_good_tokens": carbon_g / good * 1000,
        "energy_kwh": busy["energy_j"].sum() / 3.6e6,
        "idle_energy_kwh": result.idle_energy_j / 3.6e6,
        "deferral_mean_s": (table["released_s"] - table["arrival_s"]).mean(),
        "unfinished": result.unfinished,
        "preemptions": result.preemptions,
    }
    for role in sections.ROLES:
        expected[f"share_{role.lower()}"] = (table["role"] == role).mean()
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    if not result.unfinished and not result.preemptions:
        utilization = busy_s / (result.end_s * 24 * 8)
        assert utilization * 0.97 < row["utilization"] <= utilization  # members join at the next iteration
    latencies = {
        "ttft": table["first_token_s"] - table["arrival_s"],
        "ttft_after_release": table["first_token_s"] - table["released_s"],
        "e2e": table["finished_s"] - table["arrival_s"],
        "tpot": table.filter(pl.col("output_tokens") > 1).select(TPOT_S).to_series(),
    }
    for name, values in latencies.items():
        for q in (0.5, 0.95):
            assert row[f"{name}_p{q * 100:.0f}_s"] == pytest.approx(
                exact_quantile(values.to_numpy(), q), rel=STATED_ERROR
            ), (name, q)


@pytest.mark.parametrize("policy", ["round-robin", "caps"])
def test_slo_is_met_as_defined_and_attainments_follow(policy: str) -> None:
    result = run_of(policy)
    table = result.request_table
    ttft_s = pl.col("first_token_s") - pl.col("arrival_s")
    e2e_s, released_s = pl.col("finished_s") - pl.col("arrival_s"), pl.col("first_token_s") - pl.col("released_s")
    kept = (
        pl.when(pl.col("tier") == "gold")
        .then(ttft_s <= 0.5 * SLACK)
        .when(pl.col("tier") == "silver")
        .then((ttft_s <= SLACK) & ((pl.col("output_tokens") == 1) | (TPOT_S <= 0.034 * SLACK)))
        .otherwise((e2e_s <= 14400 * SLACK) & (released_s <= 2.0 * SLACK))
    )
    assert table.select((kept == pl.col("met_slo")).all()).item()
    for tier in sections.TIERS:
        met = table.filter(pl.col("tier") == tier)["met_slo"]
        assert result.metrics[f"slo_attainment_{tier}"] == pytest.approx(met.mean())
        assert 0 < met.mean() < 1, "the scenario should keep some and miss some"  # type: ignore[operator]


def test_a_limit_that_the_physics_meets_exactly_is_kept() -> None:
    """Every iteration takes 25 ms, and TPOT may be that; the difference of two rounded times is now more, now less."""
    step = {
        "gpu.decode_base_s": 0.02,
        "gpu.decode_s_per_seq": 0.005,
        "cluster.max_batch": 1,
        "cluster.prefill": "unchunked",
    }
    tiers = {
        f"slo.{tier}.{limit}": None for tier in sections.TIERS for limit in ("ttft_s", "e2e_s", "ttft_after_release_s")
    }
    changes = (
        step
        | tiers
        | {f"slo.{tier}.tpot_s": 0.025 for tier in sections.TIERS}
        | {"workload.rate_rps": 0.5, "days": 0.02}
    )
    result = simulate(
        scenario.preset("paper").replace(changes | {"policy.name": "round-robin"}), Recording(requests=True)
    )
    tpot_s = result.requests.filter(pl.col("output_tokens") > 1).select(TPOT_S).to_series()
    assert (tpot_s > 0.025).any(), "the scenario should have ties that rounding decides"
    assert result.metrics["slo_attainment"] == 1.0


def test_the_table_where_the_first_request_found_no_place() -> None:
    changes = {"policy.name": "carbon-aware", "drain_h": 0, "days": 0.001, "monitor.gate_g_per_kwh": 0.0}
    table = simulate(scenario.preset("paper").replace(changes), Recording(requests=True)).requests
    assert table["pool"].to_list() == table["gpu"].to_list() == [None] * len(table)
    held = {
        "policy.name": "caps",
        "predictor.source": "declared",
        "drain_h": 0,
        "days": 0.02,
        "workload.rate_rps": 0.5,
        "seed": 3,
    }
    table = simulate(scenario.preset("paper").replace(held), Recording(requests=True)).requests
    assert table["pool"][0] is None, "the scenario should leave the first request waiting"
    assert set(table["role"]) > {None, "LP"}
    assert ((table["pool"].is_null()) == table["gpu"].is_null()).all()


def test_unfinished_work_misses_its_slo() -> None:
    result = run_of("carbon-aware", 0.0)
    assert result.unfinished > 0
    assert result.end_s == result.scenario.horizon_s
    assert result.metrics["slo_attainment"] == result.accounts["met"].sum() / result.accounts["requests"].sum()


def test_request_table_columns() -> None:
    table = run_of("caps").request_table
    assert table.columns == REQUEST_COLUMNS
    assert table["request"].is_sorted()
    assert set(table["tier"]) == set(sections.TIERS)
    assert set(table["category"]) == set(sections.CATEGORIES)
    assert set(zip(table["pool"], table["role"], strict=True)) <= {("lp", "LP"), ("cp", "CP"), ("bp", "BP")}
    assert table.null_count().sum_horizontal().item() == 0
    assert table["met_slo"].dtype == pl.Boolean


def test_row_has_the_promised_columns() -> None:
    row = run_of("caps").row()
    assert [name for name in row if name in PARAMETERS] == PARAMETERS
    assert set(METRICS) <= set(row)
    for name in METRICS:
        assert math.isfinite(row[name]), name
        if name.startswith(("slo_", "share_", "utilization")):
            assert 0 <= row[name] <= 1


def test_cells_frame() -> None:
    result = run_of("caps")
    cells = result.cells
    assert len(cells) == 27
    assert cells.select("level", "category", "tier").n_unique() == 27
    table = result.request_table
    for tier in sections.TIERS:
        for category in sections.CATEGORIES:
            here, there = (
                frame.filter((pl.col("tier") == tier) & (pl.col("category") == category)) for frame in (cells, table)
            )
            assert here["finished"].sum() == len(there)
            assert here["met"].sum() == there["met_slo"].sum()


def test_series_tells_mean_power_and_counts() -> None:
    config = run_of("caps").scenario
    result = simulate(config, Recording(sample_every_s=60.0)).outcome
    assert result.row() == run_of("caps").row(), "recording must not change a run"
    series = result.series
    assert len(series) == (config.horizon_s / 60 + 1) * 3
    assert series["t_s"].unique().sort().to_list() == [60.0 * i for i in range(361)]
    for pool in range(3):
        power_w = series.filter(pl.col("pool") == pool)["power_w"].to_numpy()[1:]
        assert (power_w >= 8 * 100 - 1e-6).all()
        assert (power_w <= 8 * 400 + 1e-6).all()
    energy_j = (series["power_w"].fill_nan(0).sum()) * 60
    drained_j = (result.end_s - config.horizon_s) * 24 * 400
    total_j = result.spent["energy_j"][:, BUSY].sum() + result.idle_energy_j
    assert total_j - drained_j - 1 <= energy_j <= total_j * (1 + 1e-3)


@pytest.mark.parametrize("queueing", ["cyclic", "central"])
def test_series_counts_the_waiting_and_tells_the_gates_whatever_the_queues(queueing: str) -> None:
    config = run_of("carbon-aware").scenario.replace({"policy.queueing": queueing, "days": 0.5})
    result = simulate(config, Recording(requests=True, sample_every_s=600.0)).outcome
    arrived_s, admitted_s = (
        result.request_table[name].fill_null(math.inf).to_numpy() for name in ("arrival_s", "admitted_s")
    )
    (watched,) = monitors_of(config)
    closed = 0
    for (t_s,), pools in result.series.group_by("t_s", maintain_order=True):
        assert pools["waiting"].sum() == np.count_nonzero((arrived_s < t_s) & (admitted_s >= t_s))
        is_open = watched.intensity(t_s) <= watched.threshold(t_s)
        assert pools["open"].to_list() == [is_open] * 3
        closed += not is_open
    assert closed > 0


def test_the_least_latency_is_the_quantile_0() -> None:
    result = run_of("caps")
    assert 0 < result.quantile("ttft", 0.0) <= result.quantile("ttft", 1e-9) < result.quantile("ttft", 0.5)


def test_what_a_run_cannot_be_told() -> None:
    config = run_of("round-robin").scenario.replace({"days": 0.001})
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="sample_every_s"):
            Recording(sample_every_s=wrong)
    with pytest.raises(InputError, match="block 0"):
        simulate(config, block=0)
    with pytest.raises(InputError, match="a group of 0 scenarios"):
        simulate_group([])


def test_no_table_unless_recorded() -> None:
    with pytest.raises(ValueError, match="record"):
        _ = simulate(run_of("round-robin").scenario.replace({"days": 0.01})).requests


def test_a_run_without_requests() -> None:
    result = simulate(
        run_of("caps").scenario.replace({"days": 1e-9, "workload.rate_rps": 1e-6}), Recording(requests=True)
    )
    assert result.requests.columns == REQUEST_COLUMNS
    row = result.row()
    assert row["requests"] == row["unfinished"] == 0
    assert math.isnan(row["slo_attainment"])
