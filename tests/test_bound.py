"""The bound: no run of any policy is below it; it is what paper and pencil give where that is easy; it falls with
what it may assume.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import caps_fast
from caps_fast import arrays, preset, simulate_group
from caps_fast.bounds import Bound, bound_of, bound_of_run
from caps_fast.bounds.demand import Promise, demand
from caps_fast.bounds.points import CONTEXT, OUTPUT, PAIRS, PROMPT, WORK, operating_points
from caps_fast.clock_section import CLOCK_FIELDS
from caps_fast.errors import InputError
from caps_fast.outcome import Outcome
from caps_fast.replica_section import Kind
from caps_fast.report.plan import plan_figure
from cases import POLICIES, cases, engines, fleets, play_fast
from plain import case, cluster, grid, requests
from slow_engine import Case

BELOW = 1.0 + 1e-6


def bound_at(one: Case, result: Outcome | None = None, fixed: bool = False, slot_s: float | None = None) -> Bound:
    """The bound of a case, at what a run of it kept or else for all SLOs kept."""
    promise = Promise()
    if result is not None:
        met, count = (np.array([result.books.of_tier(name, t) for t in range(3)]) for name in ("met", "requests"))
        gold, silver, bronze = np.where(count, met / np.maximum(count, 1), 1.0).tolist()
        promise = Promise((gold, silver, bronze), result.books.finished / max(result.books.requests, 1))
    return bound_of(one.config, [one.requests], [monitor.trace for monitor in one.monitors], promise, fixed, slot_s)


def grams(result: Outcome) -> float:
    return float(result.metrics["bill_kg"]) * 1000.0


def expect_above_bounds(one: Case, slot_s: float) -> None:
    """INV: bill >= bound at what the run kept; idle replicas on or off, long slots or short ones."""
    result = play_fast(one)
    busy_g = float(result.spent["carbon_g"][:, arrays.BUSY].sum())
    for longest_s in (None, slot_s):
        assert bound_at(one, result, False, longest_s).kg * 1000.0 <= busy_g * BELOW + 1e-9
        assert bound_at(one, result, True, longest_s).kg * 1000.0 <= grams(result) * BELOW + 1e-9


@pytest.mark.parametrize("policy", ["round-robin", "edf", "carbon-aware", "caps"])
@settings(max_examples=15)
@given(data=st.data())
def test_no_run_is_below(policy: str, data: st.DataObject) -> None:
    expect_above_bounds(
        data.draw(st.one_of(cases(policy), fleets(policy))), data.draw(st.sampled_from([0.5, 3.0, 17.0]))
    )


@pytest.mark.parametrize("policy", ["caps"])
@settings(max_examples=5)
@given(data=st.data())
def test_no_run_with_all_terms_of_an_engine_is_below(policy: str, data: st.DataObject) -> None:
    expect_above_bounds(data.draw(engines(policy)), data.draw(st.sampled_from([3.0, 17.0])))


@pytest.mark.parametrize("name", ["paper", "measured"])
def test_no_run_of_a_preset_is_below(name: str) -> None:
    config = preset(name).replace(
        {"days": 0.05, "drain_h": 1.0, "predictor.source": "declared", "workload.rate_rps": 6.0}
    )
    for result in simulate_group([config.replace({"policy.name": policy}) for policy in POLICIES]):
        for slot_s in (None, 30.0):
            assert bound_of_run(result, slot_s=slot_s).kg <= result.metrics["carbon_kg"] * BELOW
            assert bound_of_run(result, fixed=True, slot_s=slot_s).kg <= result.metrics["bill_kg"] * BELOW


PLAIN = {
    "gpu.prefill_s_per_token": 1e-3,
    "gpu.decode_base_s": 0.1,
    "gpu.decode_s_per_seq": 0.01,
    "cluster.prefill": "unchunked",
}
PLAIN |= {"gpu.idle_w": 100.0, "gpu.peak_w": 300.0, "gpu.power_exponent": 1.0}
P1_W, P4_W = 150.0, 300.0  # with 1 and with 4 members of at most 4
HOUR = {"days": 1 / 24, "drain_h": 1.0}


def bronze(one: Case, e2e_s: float) -> Case:
    """The same with all requests in Bronze, whose answers are due after so long."""
    one.requests["tier"] = arrays.BRONZE
    return Case(
        one.config.replace({"slo.bronze.e2e_s": e2e_s, "slo.bronze.ttft_after_release_s": None}),
        one.monitor,
        one.requests,
        one.means,
    )


def test_by_hand_on_a_constant_grid() -> None:
    """Prompts alone and as long as the longest, answers decoded four at a time, at 360 g/kWh = 1e-4 g/J; the rest
    of the time off.
    """
    one = case(cluster(2, 4) | PLAIN | HOUR, requests([10.0, 700.0], [100, 25], [41, 1]), grid([0.0], [360.0]))
    prompt_j = 125 / 100 * (0.1 + 0.1) * P1_W
    answer_j = 40 / 4 * (0.1 + 0.04) * P4_W
    assert bound_at(one).kg * 1000.0 == pytest.approx((prompt_j + answer_j) * 1e-4, rel=1e-9)
    assert bound_at(one).kwh == pytest.approx((prompt_j + answer_j) / arrays.J_PER_KWH, rel=1e-9)
    pairs = Case(one.config.replace({"gpu.prefill_s_per_token_pair": 1e-5}), one.monitor, one.requests, one.means)
    context = Case(one.config.replace({"gpu.decode_s_per_context_token": 1e-5}), one.monitor, one.requests, one.means)
    pairs_j, context_j = (100**2 + 25**2) / 2 * 1e-5 * P1_W, sum(range(101, 141)) * 1e-5 * P1_W
    assert bound_at(pairs).kg * 1000.0 == pytest.approx((prompt_j + answer_j + pairs_j) * 1e-4, rel=1e-9)
    assert bound_at(context).kg * 1000.0 == pytest.approx((prompt_j + answer_j + context_j) * 1e-4, rel=1e-9)
    idle_j = 2 * 3600 * 100.0
    prompt_j, answer_j = (
        125 / 100 * (0.1 + 0.1) * (P1_W - 100),
        40 / 1 * (0.1 + 0.01) * (P1_W - 100),
    )  # less above idle one by one
    assert bound_at(one, fixed=True).kg * 1000.0 == pytest.approx((idle_j + prompt_j + answer_j) * 1e-4, rel=1e-9)


def test_work_goes_where_the_grid_is_clean_as_far_as_replicas_and_deadlines_let_it() -> None:
    """4,000 tokens to decode, four at a time at 28.6 tokens a second: 140 s; from 100 s on the grid is clean, for
    120 s.
    """
    one = case(
        cluster(1, 4) | PLAIN | HOUR, requests(np.zeros(4), 1, 1001), grid([0.0, 100.0, 220.0], [400.0, 100.0, 400.0])
    )
    grams_per_s = P4_W / arrays.J_PER_KWH
    prompt_s, answer_s = 4 * 0.101, 1000 * 0.14
    free = bound_at(bronze(one, 3600.0), slot_s=10.0).kg * 1000.0
    cheapest = answer_s * grams_per_s * 100.0 + (answer_s - 120.0) * grams_per_s * 300.0
    assert free == pytest.approx(cheapest + prompt_s * P1_W / arrays.J_PER_KWH * 400.0, rel=1e-3)
    two = bronze(Case(one.config.replace(cluster(2, 4)), one.monitor, one.requests, one.means), 3600.0)
    prompts_g = prompt_s * P1_W / arrays.J_PER_KWH
    assert bound_at(two, slot_s=10.0).kg * 1000.0 == pytest.approx(
        (answer_s * grams_per_s + prompts_g) * 100.0, rel=1e-9
    )
    assert bound_at(bronze(one, 200.0), slot_s=10.0).kg * 1000.0 > free * 1.05  # 100 s of it are clean then
    with pytest.raises(InputError, match=r"attainment 1 of gold, .*: more than any policy can keep"):
        bound_at(bronze(one, 130.0), slot_s=10.0)


def test_what_is_assumed_lowers_it() -> None:
    config = preset("measured").replace({"days": 0.2, "drain_h": 12.0, "slo.bronze.e2e_s": 20000.0})
    one = caps_fast.bound(config)
    assert one.plan.grams / 1000.0 == pytest.approx(one.kg, rel=1e-6)
    assert caps_fast.bound(config, slot_s=60.0).kg >= one.kg * (1 - 1e-9)
    fewer = caps_fast.bound(config, {"silver": 0.9})
    assert fewer.kg < one.kg
    assert caps_fast.bound(config, 0.9).kg < fewer.kg
    assert caps_fast.bound(config, 0.9, finished=0.95).kg < 0.98 * caps_fast.bound(config, 0.9).kg
    assert caps_fast.bound(config, fixed=True).kg > one.kg
    assert caps_fast.bound(config.replace({"regions.grid.pue": 1.5})).kg == pytest.approx(1.5 * one.kg, rel=1e-6)


@settings(max_examples=150)
@given(data=st.data())
def test_no_iteration_is_cheaper_than_its_mixture_of_points(data: st.DataObject) -> None:
    """Of any length and power that the model gives (docs/model.md, sections 2 and 3): the points do the same work
    in no more time for no more energy, also where an idle replica's energy is saved meanwhile.
    """
    number = lambda low, high: data.draw(st.floats(low, high))  # noqa: E731
    base_s = number(0.01, 0.1)
    kind = Kind(
        prefill_s_per_token=number(1e-5, 1e-3),
        decode_base_s=base_s,
        decode_s_per_seq=number(0.0, 0.02),
        decode_s_per_context_token=data.draw(st.sampled_from([0.0, 1e-6, 1e-5])),
        overhead_s=base_s * data.draw(st.sampled_from([0.0, 0.5, 1.0])),
        overlap_exponent=data.draw(st.sampled_from([1.0, 1.3, 2.0, 6.0, 1e6])),
        prefill_s_per_token_pair=data.draw(st.sampled_from([0.0, 1e-8, 1e-7])),
        idle_w=number(0.0, 200.0),
        peak_w=number(200.0, 700.0),
        power_exponent=data.draw(st.sampled_from([0.05, 0.7, 1.0, 2.0])),
        prefill_w=data.draw(st.sampled_from([None, 200.0, 400.0, 900.0])),
        max_batch=data.draw(st.integers(1, 40)),
        prefill=data.draw(st.sampled_from(["chunked", "unchunked"])),
        chunk_tokens=data.draw(st.sampled_from([8, 64, 512])),
        clocks=data.draw(st.sampled_from([(1.0,), (0.5, 1.0), (0.3, 0.7, 1.0)])),
        **{name: data.draw(st.sampled_from([0.0, 0.25, 0.7, 1.0])) for name in CLOCK_FIELDS[1:5]},
    )
    clock = data.draw(st.sampled_from(kind.clocks))
    b = data.draw(st.integers(0, kind.max_batch))
    c = 0
    if b < kind.max_batch:
        c = data.draw(st.integers(0, max(kind.chunk_tokens - b, 1) if kind.prefill == "chunked" else 3000))
    if kind.prefill == "unchunked" and c:
        b = 0
    if b + c == 0:
        return
    context, pairs = b * data.draw(st.integers(1, 4000)), c * data.draw(st.integers(1, 4000))
    decode, prefill = (1 - share + share / clock for share in (kind.clock_decode_time, kind.clock_prefill_time))
    memory_s = (kind.decode_base_s - kind.overhead_s) * decode
    compute_s = kind.decode_s_per_seq * decode * b + kind.prefill_s_per_token * prefill * c
    p = kind.overlap_exponent
    longer = max(memory_s, compute_s)
    mixed_s = longer * (1 + (min(memory_s, compute_s) / longer) ** p) ** (1 / p) if longer else 0.0
    step_s = (
        kind.overhead_s
        + mixed_s
        + kind.decode_s_per_context_token * decode * context
        + kind.prefill_s_per_token_pair * prefill * pairs
    )
    by_members_w = kind.idle_w + (kind.peak_w - kind.idle_w) * ((b + (c > 0)) / kind.max_batch) ** kind.power_exponent
    power_w = max(kind.idle_w, by_members_w * (1 - kind.clock_decode_power * (1 - clock**3)))
    prompts_w = max(
        kind.idle_w, max(by_members_w, kind.prefill_w or 0.0) * (1 - kind.clock_prefill_power * (1 - clock**3))
    )
    prompts_s = kind.prefill_s_per_token * prefill * c
    power_w += (prompts_w - power_w) * prompts_s / (kind.overhead_s + memory_s + prompts_s)
    work = np.zeros(len(WORK))
    work[[PROMPT, OUTPUT, CONTEXT, PAIRS]] = c, b, context, pairs
    for saved_w in (0.0, kind.idle_w):
        points = operating_points(kind, 3000, saved_w)
        sorts = [sort for sort in range(len(WORK)) if np.isfinite(points.per_s[:, sort]).all() and work[sort]]
        found = linprog(
            (points.power_w - saved_w) / 100.0,
            A_ub=np.vstack([-points.per_s[:, sorts].T * step_s / work[sorts][:, None], np.ones(len(points.power_w))]),
            b_ub=np.append(-np.ones(len(sorts)), 1.0 + 1e-7),
        )
        assert found.status == 0
        assert found.fun <= (power_w - saved_w) / 100.0 + 1e-6


def test_work_by_slot_and_when_it_is_due() -> None:
    block = requests([0.0, 5.0, 9.0, 12.0], [10, 20, 30, 40], [3, 1, 5, 2])
    block["tier"] = [0, 0, 1, 2]
    tiers = preset("paper").replace({"slo.gold.ttft_s": 4.0, "slo.gold.tpot_s": 2.0, "slo.silver.e2e_s": 2.0}).slo.all
    edges_s = np.array([0.0, 3.0, 6.0, 8.5, 20.0])
    found = demand(
        [block[:1], block[1:]], tiers, edges_s, Promise((0.5, 1.0, 1.0), 0.75), np.array([2.0, 1.0, 1.0, 0.0])
    )
    assert found.arrived[PROMPT].tolist() == [[10, 20, 0, 0], [0, 0, 0, 30], [0, 0, 0, 40]]
    assert found.due[PROMPT].tolist() == [[0, 10, 0, 20], [0, 0, 0, 30], [0, 0, 0, 40]]  # at 4 and 9 s
    assert found.due[OUTPUT].tolist() == [[0, 0, 2, 0], [0, 0, 0, 4], [0, 0, 0, 1]]  # at 4 + 2 * 2 s
    assert found.arrived[CONTEXT].sum(axis=1).tolist() == [11 + 12, 31 + 32 + 33 + 34, 41]
    assert found.arrived[PAIRS].sum() == 0
    assert found.weights[:3].tolist() == [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert found.excused[:3].tolist() == [[40, 0, 0], [2, 0, 0], [23, 0, 0]]
    assert found.dropped[:3].tolist() == [80, 4, 130]
    assert found.weights[5].tolist() == [2, 1, 1, 0]
    assert found.excused[5].tolist() == [20 + 2 + 23, 0, 0]  # the first request: 45, more than the second's 40
    assert found.requests.tolist() == [2, 1, 1]


@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan"), {"gold": 2.0}, {"iron": 1.0}])
def test_shares_are_shares(bad: float | dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        Promise.of(bad)


def test_the_share_of_finished_requests_is_named() -> None:
    with pytest.raises(InputError, match=r"^finished 1\.5: expected a share from 0 to 1$"):
        Promise.of(1.0, finished=1.5)


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "from caps_fast.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], check=False, capture_output=True, text=True
    )


def test_the_command(tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    told = json.loads(
        command(
            "bound", "measured", "--days", "0.1", "--attainment", "gold=0.9,bronze=1", "--picture", picture, "--json"
        ).stdout
    )
    config = preset("measured").replace({"days": 0.1})
    expected = caps_fast.bound(config, {"gold": 0.9})
    assert told["bound_kg"] == expected.kg
    assert told["attainment"] == {"gold": 0.9, "silver": 1.0, "bronze": 1.0}
    assert picture.read_bytes()[:4] == b"\x89PNG"
    shown = command("bound", "measured", "--days", "0.1", "--fixed").stdout
    assert f"{caps_fast.bound(config, fixed=True).kg:,.6g} kg: no policy emits less" in shown
    for arguments, said in (
        (("--attainment", "much"), "--attainment 'much': expected a share"),
        (("--attainment", "1.2"), "attainment 1.2 of gold: expected a share from 0 to 1"),
        (("--slot-s", "0"), "slot_s 0: expected seconds above 0"),
        (("--picture", "plan.doc"), "plan.doc: picture: expected"),
        (
            ("--set", "cluster.gpus=1", "--set", "cluster.split=1", "--set", "cluster.roles=LP"),
            "more than any policy can keep",
        ),
    ):
        refused = command("bound", "measured", "--days", "0.1", *arguments)
        assert refused.returncode == 2, refused.stdout
        assert said in refused.stderr


def test_beside_a_run() -> None:
    told = command("run", "paper", "--days", "0.02", "--policies", "round-robin,edf", "--over-bound", "--json")
    for row in json.loads(told.stdout):
        assert row["over_bound"] == pytest.approx(row["bill_kg"] / row["bound_kg"])
        assert row["over_bound"] > 1.0
    assert "bound" in command("run", "paper", "--days", "0.02", "--policies", "edf", "--over-bound").stdout


def test_a_tier_given_twice_is_refused() -> None:
    done = command("bound", "measured", "--days", "0.001", "--attainment", "gold=0.9,gold=0.8")
    assert done.returncode == 2
    assert done.stderr == "caps-fast: --attainment: gold appears twice; expected every name once\n"


def test_the_picture_shows_the_plan() -> None:
    found = caps_fast.bound(preset("measured").replace({"days": 0.2, "slo.bronze.e2e_s": 20000.0}), 0.95)
    grid_axes, busy, waiting = plan_figure(found).axes
    assert grid_axes.get_ylabel() == "g/kWh"
    top = np.max([patch.get_data().values for patch in busy.patches])
    assert top == pytest.approx(found.plan.replicas.sum(axis=0).max())
    names = [text.get_text() for text in waiting.get_legend().get_texts()]
    assert "Bronze" in names
    assert "late" in names
