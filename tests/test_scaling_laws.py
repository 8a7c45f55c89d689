"""Laws of fleets that grow and shrink (docs/model.md, section 9), beside the parity of tests/test_scaling.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caps_fast.arrays import ASLEEP, BUSY, FAILED, IDLE, N_STATES, OFF, STARTING, STATES, STOPPING, WAKING
from caps_fast.books import SEEN_STATES
from caps_fast.errors import InputError
from caps_fast.outcome import Outcome
from caps_fast.scenario import Scenario, preset
from caps_fast.simulation import Recording, simulate, simulate_group
from cases import JUMPY, fleets, play_fast, scaled
from jumpy import jump
from plain import rows_of
from slow_engine import Case
from stopped import sound_states, stopped_and_resumed

PLANNED = str(Path(__file__).with_name("planned.py"))
POLICIES = ("edf", "caps")
SLEEPERS = {
    "gpu.sleep_w": 20.0,
    "gpu.wake_s": 2.5,
    "gpu.off_w": 5.0,
    "gpu.start_s": 60.0,
    "gpu.start_w": 150.0,
    "gpu.stop_s": 4.0,
}
jump = getattr(jump, "py_func", jump)
every_policy = pytest.mark.parametrize("policy", POLICIES)


def with_rule(case: Case, scaling: str, **options: float) -> Case:
    return replace(case, config=case.config.replace({"policy.scaling": scaling, "policy.options": options}))


@every_policy
@settings(max_examples=20)
@given(data=st.data())
def test_the_whole_fleet_is_a_fixed_one_to_the_bit(policy: str, data: st.DataObject) -> None:
    case = data.draw(fleets(policy))
    assume(case.config.policy.queueing != "cyclic")
    expect_same_bits(play_fast(case), play_fast(with_rule(case, PLANNED)))


@settings(max_examples=10)
@given(data=st.data())
def test_the_whole_fleet_at_the_highest_clock_is_a_fixed_one_to_the_bit(data: st.DataObject) -> None:
    case = data.draw(fleets("edf"))
    assume(case.config.policy.queueing != "cyclic")
    whole = with_rule(case, PLANNED)
    clocks = {f"gpus.{name}.clocks": [0.5, 0.8, 1.0] for name in case.config.fleet.kinds}
    expect_same_bits(play_fast(case), play_fast(replace(whole, config=whole.config.replace(clocks))))


def expect_same_bits(fixed: Outcome, whole: Outcome) -> None:
    np.testing.assert_equal(fixed.metrics, whole.metrics)
    np.testing.assert_array_equal(rows_of(fixed), rows_of(whole))
    np.testing.assert_array_equal(fixed.spent, whole.spent)


@every_policy
@settings(max_examples=15)
@given(data=st.data())
def test_time_and_energy_by_state(policy: str, data: st.DataObject) -> None:
    """Without a drain every replica is in one state all the time; what is not busy draws a known power."""
    case = data.draw(scaled(policy))
    case = replace(case, config=case.config.replace({"drain_h": 0.0}))
    fleet, result = case.config.fleet, play_fast(case)
    replicas = np.array(fleet.sizes)
    np.testing.assert_allclose(result.spent["seconds"].sum(axis=1), replicas * case.config.horizon_s, rtol=1e-9)
    for kind, row in zip(fleet.kind_of, result.spent, strict=True):
        host_w = kind.host_w / kind.replicas_per_node
        idle_w = kind.gpus_per_replica * kind.idle_w + host_w
        watts = dict.fromkeys((IDLE, WAKING, STOPPING), idle_w)
        watts[ASLEEP] = kind.gpus_per_replica * (kind.sleep_w or 0.0) + host_w
        watts[OFF] = kind.gpus_per_replica * (kind.off_w or 0.0)
        watts[STARTING] = idle_w if kind.start_w is None else kind.gpus_per_replica * kind.start_w + host_w
        for state, power_w in watts.items():
            assert row["energy_j"][state] == pytest.approx(power_w * row["seconds"][state], rel=1e-9, abs=1e-9), STATES[
                state
            ]
        assert row["energy_j"][BUSY] >= idle_w * row["seconds"][BUSY] * (1 - 1e-9)


@pytest.mark.parametrize("policy", ["edf"])
@settings(max_examples=15)
@given(data=st.data())
def test_no_more_replicas_admit_than_are_wanted(policy: str, data: st.DataObject) -> None:
    """Between two decisions a pool's requests are admitted on so many of its replicas at most.

    Not under CAPS: a place that a pre-empting request has claimed may be on a replica that drains by then.
    """
    case = data.draw(scaled(policy))
    rows = rows_of(play_fast(case))
    rows = rows[rows["gpu"] >= 0]
    every_s, control_s = case.config.policy.scale_every_s, case.config.control_step_s
    steps = np.arange(0.0, case.config.horizon_s + case.config.drain_h * 3600 + control_s, control_s)[: 1 << 16]
    asked, number = [], 0
    for at_s in steps:
        if at_s >= number * every_s:
            asked.append(at_s)
            number += 1
    decision = np.searchsorted(asked, rows["admitted_s"], side="right")
    for p, replicas in enumerate(case.config.fleet.sizes):
        for number in np.unique(decision):
            here = rows[(decision == number) & (rows["pool"] == p)]
            wanted = jump(int(case.config.policy.options["jump_seed"]), int(number), p, replicas)
            assert len(np.unique(here["gpu"])) <= min(max(wanted, 0), replicas)


@pytest.mark.parametrize(("off_after_s", "delay_s"), [(1e6, 2.5), (10.0, 60.0)])
def test_a_delay_is_never_shorter_than_stated(off_after_s: float, delay_s: float) -> None:
    config = preset("paper").replace(
        SLEEPERS
        | {
            "policy.name": "edf",
            "policy.queueing": None,
            "days": 0.01,
            "predictor.source": "declared",
            "policy.scaling": PLANNED,
        }
        | {
            "policy.options": {"first": 0, "until_s": 300.0},
            "policy.scale_every_s": 1.0,
            "policy.off_after_s": off_after_s,
        }
    )
    result = simulate(config, Recording(requests=True)).outcome
    assert result.unfinished == 0
    assert rows_of(result)["admitted_s"].min() == 300.0 + delay_s


@settings(max_examples=20)
@given(data=st.data(), at=st.floats(0.05, 1.0), scaling=st.sampled_from(["autoscale", "lcp"]))
def test_later_arrivals_change_no_earlier_decision(data: st.DataObject, at: float, scaling: str) -> None:
    case = data.draw(scaled("edf", scaling))
    t_s = at * case.config.horizon_s
    fewer = replace(case, requests=case.requests[case.requests["arrival_s"] < t_s])
    one, other = (rows_of(play_fast(each)) for each in (case, fewer))
    np.testing.assert_array_equal(one[one["finished_s"] < t_s], other[other["finished_s"] < t_s])


@settings(max_examples=20)
@given(data=st.data())
def test_nothing_is_lost(data: st.DataObject) -> None:
    """A fleet that comes back in the end finishes all that it was sent."""
    case = data.draw(scaled("edf"))
    case = with_rule(case, PLANNED, first=0, until_s=case.config.horizon_s / 2)
    case = replace(case, config=case.config.replace({"drain_h": 10.0}))
    assert play_fast(case).unfinished == 0


# ---------------------------------------------------------------- the program


def small(policy: str, **changes: object) -> Scenario:
    base = {
        "days": 0.05,
        "predictor.source": "declared",
        "policy.name": policy,
        "policy.queueing": None,
        "workload.rate_rps": 5.0,
    }
    return preset("paper").replace(SLEEPERS | base | {"gpu.replicas_per_node": 3} | changes)


@pytest.mark.parametrize("policy", ["edf", "caps"])
@pytest.mark.parametrize("scaling", [JUMPY, "autoscale"])
def test_same_bits_when_killed_and_resumed_while_scaling(
    policy: str, scaling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(policy, **{"policy.scaling": scaling, "policy.scale_every_s": 20.0, "policy.off_after_s": 30.0})
    record = Recording(requests=True, sample_every_s=60.0)
    (whole,) = simulate_group([config], record, block=300)
    assert whole.metrics["wakes"] > 0
    if scaling == JUMPY:
        assert (whole.outcome.spent["seconds"].sum(axis=0) > 0)[:FAILED].all(), "all states but failed are met"
    again = stopped_and_resumed(40, config, record, tmp_path / "run.npz", monkeypatch, (300, 200))
    np.testing.assert_equal(whole.metrics, again.metrics)
    for name in ("requests", "spent", "slices", "samples", "histograms"):
        np.testing.assert_array_equal(getattr(whole.outcome, name), getattr(again.outcome, name), err_msg=name)


@pytest.mark.parametrize("policy", ["edf", "caps"])
def test_states_of_ours_are_sound(policy: str) -> None:
    config = small(policy, **{"policy.scaling": JUMPY, "policy.scale_every_s": 7.0, "policy.off_after_s": 10.0})
    met = set()
    for state in sound_states(config, 300):
        met |= set(state.gpus["state"].tolist())
    assert met == set(range(len(STATES))) - {FAILED}


def test_the_series_knows_what_states_draw() -> None:
    config = small(
        "edf", **{"policy.scaling": JUMPY, "policy.scale_every_s": 20.0, "policy.off_after_s": 30.0, "drain_h": 0.0}
    )
    result = simulate(config, Recording(sample_every_s=60.0)).outcome
    last = result.samples[-1]
    assert (last["t_s"] == config.horizon_s).all()
    np.testing.assert_allclose(last["energy_j"], result.spent["energy_j"].sum(axis=1), rtol=1e-9)


@pytest.mark.parametrize(
    ("first", "then", "seen"),
    [
        (4, 8, ((300.0, "asleep"), (1000.0, "off"), (1830.0, "starting"))),
        (8, 4, ((1800.0, "draining"), (2300.0, "asleep"), (3000.0, "off"))),
    ],
)
def test_the_series_counts_replicas_by_state(first: int, then: int, seen: tuple[tuple[float, str], ...]) -> None:
    """Of a plan under which half of each pool is not wanted, at first or from half an hour on."""
    plan = {
        "policy.scaling": PLANNED,
        "policy.scale_every_s": 1.0,
        "policy.off_after_s": 600.0,
        "gpu.replicas_per_node": 1,
    }
    options = {"first": first, "then": then, "until_s": 1800.0}
    result = simulate(small("edf", **plan, **{"policy.options": options}), Recording(sample_every_s=1.0))
    for pool in range(3):
        own = result.series.filter(pl.col("pool") == pool)
        counts = own.select(SEEN_STATES).to_numpy()
        assert (counts.sum(axis=1) == 8).all()
        seconds = result.outcome.spent["seconds"][pool]
        on = counts[:-1, [IDLE, BUSY, N_STATES]].sum()  # of a sample a second
        assert on == pytest.approx(seconds[[IDLE, BUSY]].sum(), rel=0.01)
        np.testing.assert_allclose(counts[:-1].sum(axis=0)[BUSY + 1 : N_STATES], seconds[BUSY + 1 :], atol=16)
        assert (own.filter(pl.col("draining") > 0)["t_s"] >= 1800.0).all()
    for t_s, state in seen:
        assert 0 < result.series.filter(pl.col("t_s") == t_s)[state].sum() <= 12, state


def test_hosts_are_a_part_of_the_bill() -> None:
    """What hosts cost is what is saved without them, where no decision depends on power."""
    rule = {"policy.scaling": JUMPY, "policy.scale_every_s": 20.0, "policy.off_after_s": 30.0}
    found, without = (simulate(small("edf", **rule, **{"gpu.host_w": host_w})).metrics for host_w in (900.0, 0.0))
    assert without["host_energy_kwh"] == without["host_carbon_kg"] == 0.0
    for part, total in (("host_energy_kwh", "total_energy_kwh"), ("host_carbon_kg", "total_carbon_kg")):
        assert found[part] == pytest.approx(found[total] - without[total], rel=1e-9)
        assert found[part] > 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy.scaling": "more"}, r"scaling 'more': expected one of none, autoscale, power-down, lcp"),
        (
            {"policy.scaling": "autoscale", "policy.queueing": "cyclic"},
            r"policy\.scaling autoscale: policy edf has one queue per replica \(cyclic\)",
        ),
        ({"policy.scale_every_s": 0}, "scale_every_s"),
        ({"gpu.sleep_w": -1}, "sleep_w -1"),
        ({"gpu.replicas_per_node": 0}, "replicas_per_node"),
    ],
)
def test_what_cannot_be_scaled_is_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        simulate(small("edf", **changes))
    assert "\n" not in str(refused.value)
