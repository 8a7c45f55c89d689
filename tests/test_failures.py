"""Replicas that fail: the kernel beside the reference engine, laws, and what cannot be (docs/model.md, section 15)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast.arrays import ASLEEP, FAILED, IDLE, OFF
from caps_fast.bounds import bound_of
from caps_fast.bounds.demand import Promise
from caps_fast.errors import InputError
from caps_fast.failures import lives_of_pool
from caps_fast.scenario import Scenario, preset
from caps_fast.simulation import Recording, simulate, simulate_group
from cases import JUMPY, play_fast, play_slow, scaled
from failing import with_failures
from naive_cases import HW, request, setup
from naive_failures import FailingEngine
from naive_policies import Edf
from naive_scalers import Whole
from naive_world import Outcome
from plain import rows_of
from slow_engine import Case
from stopped import sound_states, stopped_and_resumed
from test_kernel_vs_naive import assert_same

SLEEPERS = {
    "gpu.sleep_w": 20.0,
    "gpu.wake_s": 2.5,
    "gpu.off_w": 5.0,
    "gpu.start_s": 20.0,
    "gpu.stop_s": 4.0,
    "gpu.replicas_per_node": 3,
}
FAILING = {"gpu.mtbf_s": 300.0, "gpu.repair_s": 60.0}
NEVER = [(math.inf, 0.0)]


def small(**changes: object) -> Scenario:
    base = {
        "days": 0.02,
        "predictor.source": "declared",
        "policy.name": "edf",
        "policy.queueing": None,
        "workload.rate_rps": 5.0,
    }
    scaling = {
        "policy.scaling": JUMPY,
        "policy.scale_every_s": 7.0,
        "policy.off_after_s": 10.0,
        "policy.placement": "prompts",
    }
    return preset("paper").replace(SLEEPERS | FAILING | base | scaling | changes)


def drawn(data: st.DataObject) -> Case:
    """A fleet that fails, grows and shrinks, under the kernel that `small` is played with."""
    case = with_failures(data.draw, data.draw(scaled("edf")))
    return replace(case, config=case.config.replace({"policy.placement": "prompts"}))


@settings(max_examples=15)
@given(data=st.data())
def test_failures_are_the_same_as_token_by_token(data: st.DataObject) -> None:
    case = drawn(data)
    assert_same(case)
    fast, slow = play_fast(case), play_slow(case)
    assert fast.strength["failures"].sum() == slow.failures
    assert fast.books.recomputed_tokens == slow.recomputed_tokens


@settings(max_examples=5)
@given(data=st.data())
def test_no_run_is_below_the_bound(data: st.DataObject) -> None:
    one = drawn(data)
    result = play_fast(one)
    met, count = (np.array([result.books.of_tier(name, t) for t in range(3)]) for name in ("met", "requests"))
    gold, silver, bronze = np.where(count, met / np.maximum(count, 1), 1.0).tolist()
    promise = Promise((gold, silver, bronze), result.books.finished / max(result.books.requests, 1))
    found = bound_of(one.config, [one.requests], [monitor.trace for monitor in one.monitors], promise)
    assert found.kg <= result.metrics["bill_kg"] * (1.0 + 1e-6) + 1e-9


def test_a_fleet_that_is_never_off_is_bound_by_what_it_draws_failed() -> None:
    config = preset("measured").replace(
        {"days": 0.01, "gpu.mtbf_s": 600.0, "gpu.repair_s": 1e6, "policy.name": "edf", "predictor.source": "declared"}
    )
    never = config.replace({"gpu.mtbf_s": None})
    bound, usual = (
        bound_of(one, [], [_flat()], Promise((1.0, 1.0, 1.0), 1.0), fixed=True).kg for one in (config, never)
    )
    assert bound == 0.0 < usual


def _flat() -> object:
    from caps_fast.carbon.trace import CarbonTrace  # noqa: PLC0415

    return CarbonTrace(
        times_s=np.zeros(1), g_per_kwh=np.full(1, 100.0), kind="average", scope="lifecycle", zone="test", source="test"
    )


@pytest.mark.parametrize("at", [5, 40])
def test_same_bits_when_killed_and_resumed(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Recording(requests=True, sample_every_s=60.0)
    (whole,) = simulate_group([small()], record, block=50)
    assert whole.metrics["failures"] > 30
    assert whole.metrics["recomputed_tokens"] > 1000
    again = stopped_and_resumed(at, small(), record, tmp_path / "run.npz", monkeypatch, (50, 30))
    np.testing.assert_equal(whole.metrics, again.metrics)
    for name in ("requests", "spent", "slices", "samples", "strength"):
        np.testing.assert_array_equal(getattr(whole.outcome, name), getattr(again.outcome, name), err_msg=name)


def test_states_of_ours_are_sound() -> None:
    config = small()
    met = set()
    for state in sound_states(config, 50):
        met |= set(state.gpus["state"].tolist())
    assert FAILED in met


def test_nothing_is_lost_and_hours_add_up() -> None:
    config = small(**{"drain_h": 10.0})
    result = simulate(config, Recording(requests=True, sample_every_s=10.0)).outcome
    assert result.unfinished == 0
    assert rows_of(result)["first_token_s"].max() <= result.end_s
    seconds, replicas = result.spent["seconds"], np.array(config.fleet.sizes)
    assert result.metrics["failed_replica_hours"] == pytest.approx(seconds[:, FAILED].sum() / 3600.0)
    resting = seconds[:, [IDLE, ASLEEP, OFF, FAILED]].sum(axis=1)
    assert (resting <= replicas * config.horizon_s).all()
    np.testing.assert_allclose(
        result.spent["energy_j"][:, FAILED], (5.0 * config.fleet.only_kind.gpus_per_replica) * seconds[:, FAILED]
    )
    seen = result.series.filter(result.series["t_s"] < config.horizon_s)["failed"].sum() * 10.0
    assert seen == pytest.approx(seconds[:, FAILED].sum(), rel=0.1)


# ---------------------------------------------------------------- when they fail


def test_lives_are_those_of_the_seed_whatever_else_is_said() -> None:
    config = small()
    lives = lives_of_pool(config, 1)
    for changes in (
        {"policy.name": "caps"},
        {"workload.rate_rps": 9.0},
        {"pools.lp.replicas": 3},
        {"pools.cp.replicas": 9},
        {"days": 0.04},
    ):
        for own, other in zip(lives, lives_of_pool(config.replace(changes), 1), strict=False):
            np.testing.assert_array_equal(own, other[: len(own)])
    assert not np.array_equal(lives[0][:1], lives[1][:1])
    assert not np.array_equal(lives[0][:1], lives_of_pool(config.replace({"seed": 7}), 1)[0][:1])


def test_lives_are_exponential_and_last() -> None:
    config = small(**{"days": 1.0, "gpu.repair_s": 90.0})
    lives = [own for p in range(3) for own in lives_of_pool(config, p)]
    until_s = config.horizon_s + config.drain_h * 3600.0
    assert all(own["up_s"][:-1].sum() <= until_s < own["up_s"].sum() for own in lives)
    every = np.concatenate(lives)
    for field, mean_s in (("up_s", 300.0), ("repair_s", 90.0)):
        assert every[field].mean() == pytest.approx(mean_s, rel=4.0 / math.sqrt(len(every)))
        assert np.quantile(every[field], 0.9) == pytest.approx(mean_s * math.log(10.0), rel=0.1)


# ---------------------------------------------------------------- by hand, on the hardware of `naive_cases.py`


def played(replicas: int, lives: list[list[tuple[float, float]]], **kind: float) -> Outcome:
    return FailingEngine(
        setup(replace(HW, **kind), pools=(replicas,)), [request(0.0, 4, 3)], Edf(), Whole(), lives
    ).run()


def test_an_answer_that_breaks_off_is_gone_on_with() -> None:
    # The prompt takes 2 s, a token 1.5 s. At 3 s one token is out. Repaired at 7 s, started at 8 s, the replica takes a
    # prompt of 4 + 1 tokens in 2.25 s, and makes one more token.
    one = played(1, [[(3.0, 4.0), *NEVER]], start_s=1.0)
    record = one.records[0]
    assert (record.first_token_s, record.finished_s) == (2.0, 11.75)
    assert record.energy_j == 400.0 * (3.0 + 3.75)
    assert one.recomputed_tokens == 4
    assert one.accounts[0, "failed"][:2] == [4.0, 0.0]
    assert one.accounts[0, "starting"][:2] == [1.0, 200.0]
    assert one.preemptions == 0


def test_another_replica_takes_over_at_once() -> None:
    one = played(2, [[(3.0, 4.0), *NEVER], NEVER], off_w=7.0)
    assert one.records[0].finished_s == 3.0 + 2.25 + 1.5
    assert one.records[0].gpu == 1
    assert one.accounts[0, "failed"][:2] == [4.0, 4.0 * 2 * 7.0]


# ---------------------------------------------------------------- the program


def test_hashes_know_of_failures_only_where_they_are_said() -> None:
    config = preset("paper")
    assert not {"mtbf_s", "repair_s"} & set(config.hashed()["gpu"])
    assert config.replace(FAILING).hash != config.hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu.repair_s": None}, r"gpu repair_s is missing: with mtbf_s 300, expected the mean time to repair"),
        ({"gpu.mtbf_s": 0.0}, r"gpu\.mtbf_s 0(\.0)?: expected a number greater than or equal to 1"),
        ({"gpu.repair_s": -1.0}, r"gpu\.repair_s -1(\.0)?: expected a number greater than or equal to 0"),
        (
            {"gpu.mtbf_s": 1.0, "days": 3660.0},
            r"mtbf_s 1: pool lp would have [\d,]+ failures: expected 20,000,000 at most",
        ),
    ],
)
def test_what_cannot_be_is_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        lives_of_pool(small(**changes), 0)
    assert "\n" not in str(refused.value)
