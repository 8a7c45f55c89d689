"""Clocks: the kernel beside the reference engine, laws, and what cannot be (docs/model.md, section 11)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast.arrays import BUSY
from caps_fast.bounds import bound_of
from caps_fast.bounds.demand import Promise
from caps_fast.choose import make_policy
from caps_fast.clock_levels import at_clock
from caps_fast.clock_section import CLOCK_FIELDS
from caps_fast.errors import InputError
from caps_fast.replica_section import Kind
from caps_fast.scenario import Scenario, preset
from caps_fast.simulation import Recording, simulate, simulate_group
from cases import JUMPY, play_fast, scaled
from naive import play
from naive_cases import HW, request, setup
from naive_policies import Edf
from stopped import sound_states, stopped_and_resumed
from test_kernel_vs_naive import assert_same

CLOCKS = {"gpu.clocks": [0.5, 0.7, 1.0], "gpu.clock_change_s": 0.4}
SLEEPERS = {
    "gpu.sleep_w": 20.0,
    "gpu.wake_s": 2.5,
    "gpu.off_w": 5.0,
    "gpu.start_s": 60.0,
    "gpu.stop_s": 4.0,
    "gpu.replicas_per_node": 3,
}


def small(**changes: object) -> Scenario:
    base = {
        "days": 0.02,
        "predictor.source": "declared",
        "policy.name": "edf",
        "policy.queueing": None,
        "workload.rate_rps": 5.0,
    }
    return preset("paper").replace(
        SLEEPERS | CLOCKS | base | {"policy.scaling": JUMPY, "policy.scale_every_s": 7.0} | changes
    )


@settings(max_examples=12)
@given(data=st.data())
def test_clocks_are_the_same_as_token_by_token(data: st.DataObject) -> None:
    """On fleets that grow and shrink, of kinds with clocks and without, in pools that keep a clock and others."""
    assert_same(data.draw(scaled("edf", with_clocks=True)))


@settings(max_examples=12)
@given(data=st.data())
def test_throttle_decides_the_same(data: st.DataObject) -> None:
    assert_same(data.draw(scaled("edf", "throttle", with_clocks=True)))


@settings(max_examples=5)
@given(data=st.data())
def test_no_run_is_below_the_bound(data: st.DataObject) -> None:
    one = data.draw(scaled("edf", with_clocks=True))
    result = play_fast(one)
    met, count = (np.array([result.books.of_tier(name, t) for t in range(3)]) for name in ("met", "requests"))
    gold, silver, bronze = np.where(count, met / np.maximum(count, 1), 1.0).tolist()
    promise = Promise((gold, silver, bronze), result.books.finished / max(result.books.requests, 1))
    busy_g = float(result.spent["carbon_g"][:, BUSY].sum())
    for slot_s in (None, 3.0):
        found = bound_of(
            one.config, [one.requests], [monitor.trace for monitor in one.monitors], promise, False, slot_s
        )
        assert found.kg * 1000.0 <= busy_g * (1.0 + 1e-6) + 1e-9


@pytest.mark.parametrize("at", [5, 40])
def test_same_bits_when_killed_and_resumed(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Recording(requests=True, sample_every_s=60.0)
    (whole,) = simulate_group([small()], record, block=50)
    assert whole.metrics["clock_changes"] > 100
    assert 0.5 < whole.metrics["mean_clock"] < 1.0
    again = stopped_and_resumed(at, small(), record, tmp_path / "run.npz", monkeypatch, (50, 30))
    np.testing.assert_equal(whole.metrics, again.metrics)
    for name in ("requests", "spent", "slices", "samples", "strength"):
        np.testing.assert_array_equal(getattr(whole.outcome, name), getattr(again.outcome, name), err_msg=name)


def test_states_of_ours_are_sound() -> None:
    config = small()
    rows = set()
    for state in sound_states(config, 50):
        rows |= set(state.gpus["kind"].tolist())
    assert rows == {0, 1, 2}


def test_throttle_saves_energy_and_keeps_what_was_promised() -> None:
    loose = {
        "slo.gold.tpot_s": 0.06,
        "slo.gold.ttft_s": 3.0,
        "slo.silver.ttft_after_release_s": 3.0,
        "slo.bronze.ttft_after_release_s": 3.0,
    }
    config = small(**{"policy.scaling": "throttle", "policy.scale_every_s": 1.0, "gpu.clock_change_s": 0.05}, **loose)
    fast = simulate(
        config.replace(
            {"policy.options": {"slo_share": 1e-6}, "pools.lp.clock": 1.0, "pools.cp.clock": 1.0, "pools.bp.clock": 1.0}
        )
    )
    slow = simulate(config)
    assert fast.metrics["mean_clock"] == 1.0
    assert slow.metrics["mean_clock"] < 0.9
    assert slow.metrics["energy_kwh"] < 0.9 * fast.metrics["energy_kwh"]
    assert slow.metrics["slo_attainment"] > fast.metrics["slo_attainment"] - 0.02
    assert slow.notes == ("clocks of gpu: their times and powers are assumed (clock_source; docs/clocks.md)",)


# ---------------------------------------------------------------- by hand, on the hardware of `naive_cases.py`

SLOW = replace(
    HW,
    clocks=(0.5, 1.0),
    clock_decode_time=0.5,
    clock_prefill_time=1.0,
    clock_decode_power=0.8,
    clock_prefill_power=0.4,
)


def test_an_iteration_at_half_the_clock() -> None:
    # Prompt of 4: base 1 * 1.5 + 4 * 0.25 * 2 = 3.5 s, of which the prompt is 2 / 3.5. One of 4 members draws 200 W a
    # device at the full clock: 0.3 of it decoding, but not less than 100 W idle; 0.65 of it in prompts. Then two tokens
    # of (1 + 0.5) * 1.5 s.
    one = setup(SLOW)
    one.pools[0].clock = 0.5
    record = play(one, [request(0.0, 4, 3)], Edf()).records[0]
    assert record.first_token_s == 3.5
    assert record.finished_s == 3.5 + 2 * 2.25
    assert record.energy_j == pytest.approx(2 * ((100 + 30 * 2 / 3.5) * 3.5 + 100 * 4.5))


def test_the_kind_at_a_clock() -> None:
    kind = Kind(
        prefill_s_per_token=1e-3,
        decode_base_s=0.03,
        overhead_s=0.01,
        decode_s_per_seq=1e-3,
        clocks=(0.5, 1.0),
        clock_decode_time=0.5,
    )
    slow = at_clock(kind, 0.5)
    assert (slow.prefill_s_per_token, slow.decode_base_s, slow.decode_s_per_seq) == pytest.approx((2e-3, 0.04, 1.5e-3))
    assert at_clock(kind, 1.0) == kind.model_copy(update={"clocks": (1.0,)})


# ---------------------------------------------------------------- the program


def test_hashes_know_of_clocks_only_where_they_are_said() -> None:
    config = preset("paper")
    gpu = config.hashed()["gpu"]
    assert not set(CLOCK_FIELDS) & set(gpu)
    assert "idle_w" in gpu
    named = config.replace({"gpu.clocks": [0.5, 1.0]})
    assert named.hash != config.hash
    assert set(named.hashed()["gpu"]) == {*gpu, "clocks"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu.clocks": [0.5, 0.9]}, r"gpu clocks \(0\.5, 0\.9\): expected levels that rise to 1"),
        ({"gpu.clocks": [0.7, 0.5, 1.0]}, "expected levels that rise to 1"),
        ({"gpu.clocks": [0.0, 1.0]}, r"gpu\.clocks\.0 0\.0: expected a number greater than 0"),
        ({"gpu.clocks": []}, r"gpu\.clocks .*: expected a list of 1 or more"),
        ({"gpu.clock_decode_power": 1.5}, r"clock_decode_power 1\.5"),
        ({"pools.lp.clock": 0.6}, r"pools\.lp\.clock 0\.6: expected one of the clocks of gpu: 0\.5, 0\.7, 1"),
        (
            {"gpu.clocks": [1.0], "policy.scaling": "throttle"},
            r"policy\.scaling throttle: no kind of replica has clocks: expected some, like",
        ),
        ({"policy.scaling": "autoscale+lcp"}, r"policy\.scaling autoscale\+lcp: lcp conflicts with another part"),
        ({"policy.scaling": "none+throttle"}, r"scaling 'none\+throttle'.*: expected one of none"),
    ],
)
def test_what_cannot_be_is_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        make_policy(small(**changes))
    assert "\n" not in str(refused.value)


def test_parts_of_scaling() -> None:
    joined = make_policy(small(**{"policy.scaling": "autoscale+throttle", "policy.options": {"slo_share": 0.5}}))
    assert joined.slo_share == 0.5
    assert joined.utilization == 0.7
    chosen = preset("paper").replace({"policy.scaling": "a+b.py:Mine+throttle"}).policy
    assert chosen.scalings == ("a+b.py:Mine", "throttle")
    assert chosen.own_scaling == ("a+b.py", "Mine")
