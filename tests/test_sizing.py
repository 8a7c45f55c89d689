"""Fleet sizes: the search against exhaustive search, fleets and their order, verdicts, what is said."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caps_fast import scenario, simulate, size
from caps_fast.errors import InputError
from caps_fast.report.sizes import size_picture
from caps_fast.sections import TIERS
from caps_fast.sizing import OBJECTIVES
from caps_fast.sizing.fleets import MOST_FLEETS, Fleets, fleets, with_sizes
from caps_fast.sizing.measure import Measured
from caps_fast.sizing.search import Problem, Tried
from caps_fast.sizing.targets import SLO, Target, interval, judged, misses, targets
from caps_fast.sweep import Workers

MEASURED = scenario.preset("measured").replace({"days": 0.01, "predictor.source": "declared"})
SERIAL = Workers(1)
Figures = Callable[[Sequence[int], int, float], tuple[float, float]]  # of sizes, seed and days: attainment and bill


Asked = list[tuple[int, int, float]]  # fleet, seed and days of each run


def played(problem: Problem, figures: Figures, monkeypatch: pytest.MonkeyPatch) -> tuple[Tried, Asked]:
    """The outcome of a search whose runs are made up, and the runs that it asked for."""
    monkeypatch.setattr(Tried, "_run", lambda tried, fleet, seed: (fleet, seed, tried.days))
    asked: list[Any] = []
    found = problem.search()
    ask: Any = next(found)
    while True:
        asked += ask
        rows = [figures(problem.fleets.sizes[fleet].tolist(), seed, days) for fleet, seed, days in ask]
        try:
            ask = found.send([Measured({SLO: attainment, "bill_kg": bill}) for attainment, bill in rows])
        except StopIteration as end:
            return end.value, asked


def problem_over(sizes: Sequence[Sequence[int]], objective: str = "bill_kg", seeds: int = 4) -> Problem:
    fleet = Fleets(MEASURED, np.array(sizes, np.int64), ({},) * len(sizes), ())
    return Problem(fleet, (Target(SLO, 0.9),), objective, tuple(range(seeds)), 0.95)


World = tuple[list[tuple[int, ...]], Figures]


@st.composite
def worlds(draw: Any) -> World:
    """Grids of one to three pools whose attainment and bill rise with every replica, with noise that fleets share."""
    pools = draw(st.integers(1, 3))
    ranges = [range(draw(st.integers(0, 2)), draw(st.integers(3, (30, 9, 5)[pools - 1]))) for _ in range(pools)]
    helps = [draw(st.floats(0.05, 1.0)) for _ in range(pools)]
    costs = [draw(st.floats(0.1, 3.0)) for _ in range(pools)]
    misled = draw(st.floats(-0.2, 0.2))

    def figures(sizes: Sequence[int], seed: int, days: float) -> tuple[float, float]:
        work = sum(map(math.prod, zip(sizes, helps, strict=True)))
        short = misled if days < MEASURED.days else 0.0  # what shorter runs say may be wrong
        attainment = 1 - math.exp(-work) + 0.002 * math.sin(seed + 1) + short
        return attainment, sum(map(math.prod, zip(sizes, costs, strict=True)))

    return [sizes for sizes in itertools.product(*ranges) if sum(sizes)], figures


@pytest.mark.parametrize("objective", ["bill_kg", "replicas"])
@given(world=worlds())
def test_the_search_finds_what_exhaustive_search_finds(objective: str, world: World) -> None:
    sizes, figures = world
    problem = problem_over(sizes, objective)
    with pytest.MonkeyPatch.context() as patched:
        tried, asked = played(problem, figures, patched)
    means = [np.mean([figures(one, seed, MEASURED.days) for seed in range(4)], axis=0) for one in sizes]
    prices = [sum(one) if objective == "replicas" else mean[1] for one, mean in zip(sizes, means, strict=True)]
    keeping = [at for at, mean in enumerate(means) if mean[0] >= 0.9]
    assert tried.best() == min(keeping, key=lambda at: (prices[at], at), default=None)
    assert len(asked) == len(set(asked)), "a run is made once"


def test_one_dimension_takes_few_long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_over([(n,) for n in range(1, 200)])
    tried, asked = played(problem, lambda n, seed, days: (1 - math.exp(-n[0] / 20), n[0]), monkeypatch)
    assert tried.problem.fleets.sizes[tried.best() or 0] == [47]
    assert sorted(tried.runs) == [45, 46, 47], "the answer and its neighbours"
    assert len([days for _, _, days in asked if days < MEASURED.days]) <= 2 * 2 * 9, "two bisections with two seeds"


def test_neighbours_verify_what_was_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """More replicas that are cheaper (an overloaded fleet that drains for long, say) are found beside the answer."""
    bills = {5: 9.0, 6: 7.0, 7: 6.5, 8: 8.0}
    problem = problem_over([(n,) for n in range(1, 10)])
    tried, _ = played(problem, lambda n, seed, days: (float(n[0] >= 5), bills.get(n[0], 10.0)), monkeypatch)
    assert problem.fleets.sizes[tried.best() or 0] == [7]


def test_a_fleet_in_doubt_is_looked_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the next smaller fleet misses by less than its interval, the one below is tried too."""

    def figures(n: Sequence[int], seed: int, days: float) -> tuple[float, float]:
        noise = 0.05 * (-1) ** seed if n[0] == 5 else 0.0
        return {4: 0.91, 5: 0.899}.get(n[0], 0.99 if n[0] > 5 else 0.1) + noise, float(n[0])

    problem = problem_over([(n,) for n in range(1, 9)])
    tried, _ = played(problem, figures, monkeypatch)
    assert problem.fleets.sizes[tried.best() or 0] == [4]


def test_seeds_are_added_until_the_intervals_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(n: Sequence[int], seed: int, days: float) -> tuple[float, float]:
        close = n[0] == 4
        return (0.905 if close else 0.99 if n[0] > 4 else 0.5) + (0.02 if close else 0.001) * (-1) ** seed, float(n[0])

    tried, _ = played(problem_over([(n,) for n in range(1, 9)], seeds=12), figures, monkeypatch)
    sizes = {int(tried.problem.fleets.sizes[fleet][0]): len(runs) for fleet, runs in tried.runs.items()}
    assert sizes == {3: 3, 4: 12, 5: 3}
    assert not tried.verdict(tried.best() or 0).decided


@pytest.mark.parametrize(
    ("figures", "keeps", "decided"),
    [
        ([0.96, 0.97, 0.98], True, True),
        ([0.9, 0.91, 0.9], False, True),
        ([0.90, 1.0, 0.97], True, False),
        ([0.96], True, False),
    ],
)
def test_verdicts(figures: list[float], keeps: bool, decided: bool) -> None:
    found = judged([Target(SLO, 0.95)], {SLO: figures}, 0.9)
    assert (found.keeps, found.decided) == (keeps, decided)


def test_a_verdict_names_the_target_that_is_missed() -> None:
    gold = f"{SLO}_gold"
    found = judged([Target(SLO, 0.9), Target(gold, 0.9)], {SLO: [0.95, 0.95], gold: [0.7, 0.7]}, 0.9)
    assert (found.keeps, found.decided, found.missed.metric) == (False, True, gold)
    assert found.margin == pytest.approx(-0.2)


def test_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0], 0.95)
    assert (found.mean, found.half) == (2.0, pytest.approx(4.302653 / math.sqrt(3), rel=1e-6))
    assert math.isnan(interval([1.0], 0.95).low)


@pytest.mark.parametrize("objective", ["carbon", "replicas"])
@pytest.mark.parametrize("policy", ["slo-aware", "edf"])
def test_small_grids_against_simulating_all(policy: str, objective: str) -> None:
    over = {"pools.lp.replicas": "1..3", "pools.cp.replicas": "1..3", "pools.bp.replicas": "1..2"}
    base = MEASURED.replace({"workload.rate_rps": 7, "days": 0.02})
    wanted: dict[str, Any] = {"slo": 0.8, "tiers": {"silver": 0.9}, "objective": objective}
    found = size(base, [policy], over=over, seeds=range(3), workers=SERIAL, **wanted)
    rows = []
    for sizes in itertools.product((1, 2, 3), (1, 2, 3), (1, 2)):
        config = with_sizes(base.replace({"policy.name": policy}), sizes)
        runs = [simulate(config.replace({"seed": seed})).metrics for seed in range(3)]
        means = {name: float(np.mean([run[name] for run in runs])) for name in (SLO, f"{SLO}_silver", "bill_kg")}
        rows.append((sum(sizes), "/".join(map(str, sizes)), means))
    rows.sort(key=lambda row: row[0])
    keeping = [row for row in rows if row[2][SLO] >= 0.8 and row[2][f"{SLO}_silver"] >= 0.9]
    best = keeping[0] if objective == "replicas" else min(keeping, key=lambda row: row[2]["bill_kg"])
    answer = found.answers.row(0, named=True)
    assert answer["replicas"] == best[0]
    if objective == "carbon":
        assert (answer["split"], answer["bill_kg"]) == (best[1], pytest.approx(best[2]["bill_kg"], rel=1e-12))
    assert answer["bill_kg_low"] < answer["bill_kg"] < answer["bill_kg_high"]
    assert len(keeping) not in (0, len(rows)), "the question has an edge"


def test_same_answers_whatever_the_workers() -> None:
    asked = [size(MEASURED, ["edf", "caps"], slo=0.85, seeds=range(4), workers=Workers(jobs)) for jobs in (1, 3)]
    assert asked[0].tried.equals(asked[1].tried)
    assert asked[0].savings.equals(asked[1].savings)


def test_every_policy_is_compared_at_its_own_size(tmp_path: Path) -> None:
    found = size(MEASURED, ["edf", "caps"], slo=0.85, rates=[6, 12], seeds=range(3), workers=SERIAL)
    assert found.answers.select("policy", "rate_rps").rows() == [
        ("edf", 6.0),
        ("caps", 6.0),
        ("edf", 12.0),
        ("caps", 12.0),
    ]
    small, large = (found.answers.filter(policy="edf", rate_rps=rate)["replicas"][0] for rate in (6.0, 12.0))
    assert small < large
    bills = dict(zip(found.answers.select("policy", "rate_rps").rows(), found.answers["bill_kg"], strict=True))
    for row in found.savings.filter(metric="bill_kg").iter_rows(named=True):
        assert row["difference"] == pytest.approx(bills[row["policy"], row["rate_rps"]] - bills["edf", row["rate_rps"]])
        assert row["low"] < row["difference"] < row["high"]
    for row in found.too_small.iter_rows(named=True):
        assert row["slo_attainment"] < 0.85
        assert "of 85%; most in Gold: " in row["why"]
    row = json.loads(json.dumps(found.rows()))[0]
    assert {"policy", "replicas", "split", "slo_attainment", "bill_kg", "cost"} <= set(row)
    assert {"tried", "too_small", "savings"} <= set(row)
    for name, one in (
        ("load", found),
        ("size", size(MEASURED, ["edf"], slo=0.85, tiers={"gold": 0.5}, seeds=range(2), workers=SERIAL)),
    ):
        size_picture(one, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_placement_is_an_axis() -> None:
    found = size(
        MEASURED,
        ["edf"],
        slo=0.93,
        over={"policy.placement": "residents,prompts", "replicas": "4..16"},
        seeds=range(3),
        workers=SERIAL,
    )
    alone = size(
        MEASURED.replace({"policy.placement": "prompts"}),
        ["edf"],
        slo=0.93,
        over={"replicas": "4..16"},
        seeds=range(3),
        workers=SERIAL,
    )
    assert found.answers["policy.placement"].to_list() == ["prompts"]
    assert found.answers["replicas"].equals(alone.answers["replicas"])
    assert set(found.tried["policy.placement"]) == {"residents", "prompts"}


def test_what_is_missed_adds_up() -> None:
    result = simulate(MEASURED.replace({"policy.name": "edf", "cluster.gpus": 4, "cluster.split": "2/1/1"}))
    found = misses(result)
    assert set(found) == {
        *(f"{tier} unfinished" for tier in TIERS),
        "gold ttft_s",
        "gold tpot_s",
        "silver ttft_s",
        "silver tpot_s",
        "bronze e2e_s",
    } | {"bronze ttft_after_release_s"}
    for tier in ("gold", "silver"):
        missed = 1 - result.metrics[f"slo_attainment_{tier}"]
        own = [share for name, share in found.items() if name.startswith(tier)]
        assert max(own) <= missed + 1e-3
        assert missed <= sum(own) + 1e-3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"slo": 1.5}, "--slo 1.5: expected a share above 0, at most 1"),
        ({"slo": None}, "no target: expected --slo or --tier"),
        ({"tiers": {"iron": 0.9}}, "--tier iron (did you mean bronze?): expected one of gold, silver, bronze"),
        ({"objective": "love"}, f"objective 'love': expected one of {', '.join(OBJECTIVES)}"),
        ({"over": {"pools.x.replicas": "1..3"}}, "--over pools.x.replicas: no pool 'x'; expected one of lp, cp, bp"),
        (
            {"over": {"pools.lp.replicas": "1..3", "replicas": "3..9"}},
            "--over replicas: together with replicas of pools; expected only one of them",
        ),
        (
            {"over": {"replicas": "2..9"}},
            "--over replicas: 2: expected whole numbers from 3 (policy caps needs one in each of 3 pools) to 100,000",
        ),
        (
            {"over": {"split": "1/1"}},
            "--over split: '1/1': expected whole numbers from 1, one for each of 3 pools, like 1/1/1",
        ),
        (
            {"over": {"rate": "1..3"}},
            "--over rate: fleets are compared under one policy and load; expected --rates, --seeds, --days or --set",
        ),
        (
            {"over": {"policy.placment": "prompts"}},
            "policy.placment (did you mean policy.placement?): unknown field of a scenario",
        ),
        (
            {"over": {"replicas": "3..9000"}},
            f"--over: 8,998 fleets; expected at most {MOST_FLEETS:,}: wider steps, or narrower ranges",
        ),
        ({"confidence": 1.0}, "confidence 1: expected a number between 0 and 1"),
        ({"baseline": "edf"}, "baseline 'edf': expected one of caps"),
        ({"policies": ["nobody"]}, "policy 'nobody': expected some of"),
    ],
)
def test_bad_questions(more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        size(MEASURED, workers=SERIAL, **({"seeds": range(1)} | more))
    assert said in str(raised.value)


def test_money_is_offered_where_metrics_know_a_cost() -> None:
    from caps_fast.metrics import METRICS  # noqa: PLC0415

    assert ("money" in OBJECTIVES) == ("cost" in METRICS)


def test_money_needs_prices() -> None:
    tried = Tried(problem_over([(1,), (2,)], "cost"), 1.0, (0,), [1], {0: [Measured({SLO: 1.0, "cost": 0.0})]})
    with pytest.raises(InputError, match="money: the cost of every fleet is 0; expected a scenario with prices"):
        tried.expect_prices()
    tried.runs[1] = [Measured({SLO: 1.0, "cost": 2.0})]
    tried.expect_prices()


def test_targets_that_no_fleet_keeps_say_how_close_it_comes() -> None:
    with pytest.raises(InputError) as raised:
        size(MEASURED, ["edf"], slo=0.99999, over={"replicas": "3..6"}, seeds=range(3), workers=SERIAL)
    found = str(raised.value)
    assert found.startswith("--slo 0.99999: no fleet of 3 to 6 replicas meets it with edf at 10 req/s: ")
    assert ": the closest, 6 replicas in 2/2/2, has " in found
    assert "\n" not in found
    tier = size(MEASURED, ["edf", "caps"], slo=0.85, over={"replicas": "3..9"}, seeds=range(2), workers=SERIAL)
    assert tier.answers.height == 2


def test_one_policy_without_an_answer_is_a_note() -> None:
    found = size(MEASURED, ["slo-aware", "edf"], slo=0.9, over={"replicas": "3..7"}, seeds=range(2), workers=SERIAL)
    assert [row["replicas"] is None for row in found.rows()] == [True, False]
    assert found.baseline == "edf"
    assert any("no fleet of 3 to 7 replicas meets it with slo-aware" in note for note in found.notes)


def test_targets_of_a_scenario() -> None:
    assert targets(MEASURED, 0.9, {"gold": 0.8}) == (Target(SLO, 0.9), Target(f"{SLO}_gold", 0.8))
    without = MEASURED.replace({"slo.gold.share": 0.0, "slo.silver.share": 0.7})
    with pytest.raises(InputError, match=r"slo\.gold\.share is 0"):
        targets(without, None, {"gold": 0.8})


def test_shorter_runs_are_left_out_where_they_would_change_the_rate(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,10\n1,10,10\n")
    stretch = {"workload.trace": str(trace), "workload.trace_fit": "stretch", "workload.rate_rps": None}
    stretched = MEASURED.replace(stretch)
    found = Problem(fleets(stretched, {}, 4), (Target(SLO, 0.9),), "bill_kg", (0,), 0.95)
    assert found.screening == ()


def test_shorter_runs_are_whole_days_where_the_rate_changes_with_them() -> None:
    def lengths(days: float, profile: str) -> tuple[float, ...]:
        base = MEASURED.replace({"days": days, "workload.rate_profile": profile})
        return Problem(fleets(base, {}, 4), (Target(SLO, 0.9),), "bill_kg", (0,), 0.95).screening

    assert lengths(16, "flat") == (1.0, 4.0)
    assert lengths(8, "flat") == (0.5, 2.0)
    assert lengths(8, "office") == (1.0, 2.0)
    assert lengths(4, "office") == (1.0,)
    assert lengths(1, "office") == ()
