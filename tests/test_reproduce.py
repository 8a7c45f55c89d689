"""The paper beside ours: published figures feed comparisons only, verdicts say what was measured, decompositions
are exact, bounds hold.
"""

from __future__ import annotations

import ast
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from caps_fast import scenario
from caps_fast.arrays import J_PER_KWH
from caps_fast.carbon.trace import carbon_trace
from caps_fast.errors import InputError
from caps_fast.policies import BUILT_IN, MAIN
from caps_fast.reproduce import outcome, table1
from caps_fast.reproduce.bill import bill_kg
from caps_fast.reproduce.claims import claims
from caps_fast.reproduce.decompose import decompose
from caps_fast.reproduce.evidence import Evidence
from caps_fast.reproduce.judge import Claim, judge, verdict
from caps_fast.reproduce.own_sizes import target_of
from caps_fast.reproduce.physics import bound, cleanest
from caps_fast.reproduce.plan import ONLY_BRONZE, PRESETS, SPLITS, Size, detailed, plan
from caps_fast.reproduce.published import PREDICTOR, TABLE1
from caps_fast.reproduce.statistics import Estimate, estimate
from caps_fast.simulation import simulate
from caps_fast.sweep import Workers

PACKAGE = Path(__file__).parent.parent / "caps_fast"
TINY = Size(days=0.02, curve_days=0.01, seeds=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, pl.DataFrame]]:
    """A comparison of minutes in place of days, with the workload's own estimates in place of trained models."""
    real = scenario.preset

    def untrained(name: str) -> scenario.Scenario:
        return real(name).replace({"predictor.source": "declared"})

    def fixed(preset: str) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "preset": [preset],
                "figure": ["mean absolute error"],
                "unit": ["tokens"],
                "paper": [PREDICTOR.mae_tokens],
                "ours": [40.0],
            }
        )

    folder = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scenario, "preset", untrained)
        patched.setattr(outcome, "predictor_rows", fixed)
        return folder, outcome.reproduce(("paper", "measured"), TINY, folder, Workers(1))


def evidence_of(tiny: tuple[Path, dict[str, pl.DataFrame]], preset: str = "paper") -> Evidence:
    return Evidence(preset, tiny[1]["runs"], tiny[1]["cells"])


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_no_published_figure_is_an_input() -> None:
    """Published figures are read by comparisons only, and nothing that a run depends on imports those."""
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any("reproduce.published" in name for name in imports(path))
    }
    above = {"reproduce", "report", "cli"}
    assert {"reproduce/claims.py", "reproduce/predictor.py", "reproduce/table.py"} <= users
    assert {user.split("/")[0] for user in users} <= above
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0]
        if part not in above:
            assert not any(name.startswith("caps_fast.reproduce") for name in imports(path)), path


def test_runs_are_the_same_whatever_the_paper_says(monkeypatch: pytest.MonkeyPatch) -> None:
    config = scenario.preset("paper").replace({"days": 0.01, "predictor.source": "declared", "policy.name": "caps"})
    before = simulate(config).metrics
    monkeypatch.setattr("caps_fast.reproduce.published.TABLE1", {})
    assert simulate(config).metrics == before


def test_the_published_table_agrees_with_itself() -> None:
    for row in TABLE1.values():
        assert row.carbon_g_per_1k_good_tokens == pytest.approx(
            row.carbon_g_per_1k_tokens / row.slo_attainment, abs=0.08
        )


def test_the_plan_holds_every_experiment() -> None:
    whole = plan(("paper", "measured"), Size())
    runs = [grid.changes(index) for grid in whole.grids for index in range(len(grid))]
    assert {run["policy.name"] for run in runs} == set(BUILT_IN)
    assert {run.get("cluster.split") for run in runs} == {None, *SPLITS}
    assert {run["workload.rate_rps"] for run in runs if "cluster.split" not in run} == {
        2.0,
        4.0,
        6.0,
        8.0,
        10.0,
        12.0,
        14.0,
        16.0,
    }
    assert {run.get("monitor.forecast") for run in runs} == {None, "noisy", "yesterday", "persistence"}
    assert all({run["preset"] for run in runs if run["seed"] == seed} == {"paper", "measured"} for seed in range(5))
    assert [len(group) for group in detailed("paper", Size())] == [5, 2, 2, 2, 2]
    with pytest.raises(InputError, match="1 to 10,000 seeds"):
        Size(seeds=0)
    with pytest.raises(InputError, match=r"curve days 1: expected no more than the 0\.5 days"):
        Size(days=0.5)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_intervals_are_those_of_student(values: list[float]) -> None:
    found = estimate(values)
    assert found.mean == pytest.approx(np.mean(values))
    if np.std(values) > 1e-6:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high))
    assert math.isnan(estimate(values[:1]).low)


def a_claim(kind: Any, **changes: Any) -> Claim:
    given_fields: dict[str, Any] = {"tolerance": 0.0} | changes
    return Claim(
        "key", "text", "%", given_fields.pop("paper", None), kind, lambda e: np.zeros(1), lambda e: "", **given_fields
    )


@pytest.mark.parametrize(
    ("claim", "ours", "said"),
    [
        (a_claim("above 0"), Estimate(0.5, 0.1, 0.9, 5), "holds"),
        (a_claim("above 0"), Estimate(-0.5, -0.9, -0.1, 5), "fails"),
        (a_claim("above 0"), Estimate(0.5, -0.1, 1.1, 5), "undecided"),
        (a_claim("not below 0"), Estimate(-0.1, -0.3, 0.1, 5), "holds"),
        (a_claim("not below 0"), Estimate(-0.2, -0.3, -0.1, 5), "fails"),
        (a_claim("not below 0"), Estimate(0.0, math.nan, math.nan, 1), "holds"),
        (a_claim("near", paper=0.268, tolerance=0.03), Estimate(0.240, 0.2, 0.3, 5), "holds"),
        (a_claim("near", paper=0.268, tolerance=0.03), Estimate(0.230, 0.2, 0.3, 5), "fails"),
        (a_claim("at most", paper=0.015), Estimate(0.014, 0.0, 0.1, 5), "holds"),
        (a_claim("at most", paper=0.015), Estimate(0.016, 0.0, 0.1, 5), "fails"),
        (a_claim("between", span=(0.05, 0.1)), Estimate(0.07, 0.0, 0.1, 5), "holds"),
        (a_claim("between", span=(0.05, 0.1)), Estimate(0.04, 0.0, 0.1, 5), "fails"),
        (a_claim("near", paper=1.0), Estimate(math.nan, math.nan, math.nan, 1), "not measured"),
    ],
)
def test_verdicts(claim: Claim, ours: Estimate, said: str) -> None:
    assert verdict(claim, ours) == said


def test_every_claim_is_judged_under_both_presets(tiny: tuple[Path, dict[str, pl.DataFrame]]) -> None:
    frame = tiny[1]["claims"]
    assert frame.height == 2 * len(claims()) > 50
    assert frame["claim"].unique().len() == len(claims())
    assert set(frame["verdict"]) <= {"holds", "fails", "undecided"}
    assert all(why.endswith(".") and "nan" not in why for why in frame["why"])
    ours = dict(frame.filter(pl.col("preset") == "paper").select("claim", "ours").iter_rows())
    runs = tiny[1]["runs"].filter(pl.col("preset") == "paper", pl.col("group") == "headline").sort("seed")
    by_policy = {policy: runs.filter(pl.col("policy") == policy) for policy in BUILT_IN}
    saved = 1 - by_policy["caps"]["carbon_g_per_1k_tokens"] / by_policy["round-robin"]["carbon_g_per_1k_tokens"]
    assert ours["carbon-saving"] == pytest.approx(saved.mean())
    lost = by_policy["caps"]["slo_attainment"] - by_policy["caps-no-predictor"]["slo_attainment"]
    assert ours["ablation-predictor"] == pytest.approx(lost.mean())


def test_a_claim_without_its_runs_says_so(tiny: tuple[Path, dict[str, pl.DataFrame]]) -> None:
    without = Evidence("paper", tiny[1]["runs"].filter(pl.col("policy") != "caps-no-tiers"), tiny[1]["cells"])
    row = judge(next(claim for claim in claims() if claim.key == "ablation-tiers"), without)
    assert row["verdict"] == "not measured"
    assert row["why"] == "No such run is available."


def test_savings_are_taken_apart_exactly(tiny: tuple[Path, dict[str, pl.DataFrame]]) -> None:
    evidence = evidence_of(tiny)
    parts = decompose(evidence)
    assert np.allclose(parts.total, 1 - evidence.ratio("carbon_g_per_1k_tokens", "caps", "round-robin"))
    assert np.allclose(parts.total, parts.shifting + parts.packing + parts.rest)
    assert np.allclose(parts.rest, -parts.shifting * parts.packing)
    assert np.allclose(decompose(evidence, "round-robin").total, 0)


def test_cells_add_up_to_the_whole(tiny: tuple[Path, dict[str, pl.DataFrame]]) -> None:
    cells, runs = tiny[1]["cells"], tiny[1]["runs"]
    for (preset, policy, seed), block in cells.group_by("preset", "policy", "seed"):
        row = runs.filter(
            pl.col("preset") == preset,
            pl.col("policy") == policy,
            pl.col("seed") == seed,
            pl.col("group") == "headline",
        ).row(0, named=True)
        assert block["output_tokens"].sum() == row["output_tokens"]
        assert block["carbon_g"].sum() / 1000 == pytest.approx(row["carbon_kg"])
    assert cells.select("preset", "policy", "seed").unique().height == 2 * (len(MAIN) + 2)
    saving = evidence_of(tiny).cell_saving(None, "short", "gold")
    assert len(saving) == TINY.seeds


@pytest.mark.parametrize("policy", MAIN)
@pytest.mark.parametrize("preset", ["paper", "measured"])
def test_no_run_beats_physics(preset: str, policy: str) -> None:
    config = scenario.preset(preset).replace(
        {"days": 0.03, "drain_h": 30, "predictor.source": "declared", "policy.name": policy}
    )
    limits, found = bound(config), simulate(config).metrics
    trace = carbon_trace(config.carbon, config.horizon_s)
    window_s = config.horizon_s + config.drain_h * 3600
    floor = limits.floor_g_per_1k_tokens(cleanest(trace, 0.0, window_s))
    drawn = (
        config.workload.rate_rps * config.horizon_s / found["requests"]
    )  # the bound is for the declared mean request
    mean_tokens = found["output_tokens"] / found["requests"]
    assert found["carbon_g_per_1k_tokens"] > 0.8 * floor, (drawn, mean_tokens)
    assert limits.all_wait_g_per_kwh <= limits.tiers_wait_g_per_kwh <= limits.now_g_per_kwh
    busy_w = found["energy_kwh"] * J_PER_KWH / found["end_s"]
    assert busy_w <= config.cluster.gpus * config.gpu.peak_w * config.gpu.gpus_per_replica


def test_the_absolute_bound_is_the_one_of_the_arithmetic() -> None:
    """24 GPUs at 400 W over 10 req/s of 222 tokens: 4.3 kJ per 1,000 tokens, 0.62 g at 520 g/kWh; the paper prints
    14.5.
    """
    ceiling = bound(scenario.preset("paper")).ceiling_g_per_1k_tokens
    assert ceiling == pytest.approx(24 * 400 / (10 * math.exp(4.8 + 0.605)) * 1000 * 520 / 3.6e6, rel=1e-6)
    assert ceiling == pytest.approx(0.62, abs=0.01)
    assert ceiling < TABLE1["round-robin"].carbon_g_per_1k_tokens / 20


@given(st.floats(0, 80), st.floats(0.1, 40))
def test_the_cleanest_hour_is_found(from_h: float, length_h: float) -> None:
    trace = carbon_trace(scenario.preset("paper").carbon, 7 * 86400.0)
    inside = trace.at(np.linspace(from_h * 3600, (from_h + length_h) * 3600 - 1e-3, 2000))
    assert cleanest(trace, from_h * 3600, (from_h + length_h) * 3600) <= inside.min()


def test_a_bill_counts_idle_power_up_to_the_end_of_the_arrivals(tiny: tuple[Path, dict[str, pl.DataFrame]]) -> None:
    """A run that ends early pays for the same idle hours as one that ends late, whatever other runs there are."""
    evidence = evidence_of(tiny)
    row = evidence.chosen("round-robin").row(0, named=True)
    config = evidence.base.replace({"days": row["days"]})
    trace = carbon_trace(config.carbon, config.horizon_s)
    assert bill_kg(evidence, "round-robin")[0] == pytest.approx(row["carbon_kg"] + row["idle_carbon_kg"])
    all_idle_kg = 24 * 100.0 * float(trace.integral(0.0, config.horizon_s)) / J_PER_KWH / 1000
    assert 0 < row["idle_carbon_kg"] < all_idle_kg
    alone = replace(evidence, runs=evidence.runs.filter(pl.col("policy") == "round-robin"))
    np.testing.assert_array_equal(bill_kg(alone, "round-robin"), bill_kg(evidence, "round-robin"))


def test_the_headline_has_forecasts_and_both_rules_of_holding(tiny: tuple[Path, dict[str, pl.DataFrame]]) -> None:
    frame = tiny[1]["headline"].filter(pl.col("preset") == "paper")
    assert frame["forecast"].unique().len() == 4
    assert frame["held"].to_list()[-2:] == ["only Bronze", "anyone"]
    base = frame.row(0, named=True)
    assert (base["policy"], base["saving"], base["bill_saving"]) == ("round-robin", 0.0, 0.0)
    assert evidence_of(tiny).chosen("caps", roles=ONLY_BRONZE)["cluster.roles"].unique().to_list() == ["LP/LP/BP"]


@pytest.mark.parametrize(
    "name",
    [
        "claims",
        "table1",
        "savings",
        "decomposition",
        "headline",
        "predictor",
        "own_sizes",
        "cells",
        "histograms",
        "series",
        "runs",
    ],
)
def test_everything_is_left_as_parquet(tiny: tuple[Path, dict[str, pl.DataFrame]], name: str) -> None:
    assert pl.read_parquet(tiny[0] / f"{name}.parquet").equals(tiny[1][name])
    assert (
        json.loads((tiny[0] / "manifest.json").read_text())["plan"]["scenarios"]["measured"]["gpu"]["profile"]
        == "a100-llama2-70b-tp4"
    )


def test_policies_are_compared_at_their_own_sizes(tiny: tuple[Path, dict[str, pl.DataFrame]]) -> None:
    """Round Robin on the paper's fleet meets the target, so no answer of its own is larger than that fleet."""
    found = tiny[1]["own_sizes"]
    assert found.select("preset", "policy").rows() == [(name, policy) for name in PRESETS for policy in MAIN]
    answered = found.drop_nulls("replicas")
    assert (answered["slo_attainment"] >= answered["target"]).all()
    own = answered.filter(policy="round-robin")
    assert own.height == len(PRESETS)
    assert own["replicas"].max() <= 24  # type: ignore[operator]
    others = answered.filter(pl.col("policy") != "round-robin")
    own_kg = others.join(own, on="preset").select(pl.col("bill_kg_right")).to_series()
    assert others["bill_saving"].to_list() == pytest.approx((1 - others["bill_kg"] / own_kg).to_list(), rel=1e-9)


def test_the_size_s_target_is_of_the_preset_s_own_settings(tiny: tuple[Path, dict[str, pl.DataFrame]]) -> None:
    """Over the comparison's horizon CAPS also runs with other forecasts and rules of deferral; those do not count."""
    evidence = evidence_of(tiny)
    others = (pl.col("monitor.forecast") != "perfect") | (pl.col("days") != TINY.days)
    worse = evidence.runs.with_columns(
        slo_attainment=pl.when(others).then(pl.lit(0.0)).otherwise(pl.col("slo_attainment"))
    )
    assert target_of(Evidence("paper", worse, evidence.cells), TINY.days) == target_of(evidence, TINY.days) > 0


def test_table_1_stands_beside_the_papers(tiny: tuple[Path, dict[str, pl.DataFrame]]) -> None:
    text = table1(tiny[1]["runs"])
    assert "paper: 2 seeds, 0.02 days" in text
    caps = next(line for line in text.splitlines() if line.strip().startswith("caps "))
    assert caps.split()[2] == "83.5"
    assert caps.split()[4] == "0.731"
    with pytest.raises(InputError, match="no runs at 10 req/s"):
        table1(tiny[1]["runs"].filter(pl.col("rate_rps") < 5))


def test_table_1_of_a_sweep_that_varies_other_things_compares_like_with_like(
    tiny: tuple[Path, dict[str, pl.DataFrame]],
) -> None:
    runs = tiny[1]["runs"].filter(pl.col("preset") == "paper")
    alone = runs.filter(pl.col("group") == "headline")
    assert table1(pl.concat([runs.filter(pl.col("group") == "splits"), alone])) == table1(alone)


@pytest.mark.parametrize("policy", MAIN)
def test_histograms_count_every_finished_request(tiny: tuple[Path, dict[str, pl.DataFrame]], policy: str) -> None:
    mine = pl.col("preset") == "paper", pl.col("policy") == policy, pl.col("seed") == 0
    row = tiny[1]["runs"].filter(*mine, pl.col("group") == "headline").row(0, named=True)
    e2e = tiny[1]["histograms"].filter(*mine, pl.col("latency") == "e2e")
    assert e2e["requests"].sum() == row["requests"] - row["unfinished"]
