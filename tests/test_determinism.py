"""INV-5: same seed, same bits, whatever the block size, the group, the thread or the order.

INV-6: the control step changes nothing but control.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast import _jit, scenario
from caps_fast.outcome import Outcome
from caps_fast.simulation import Recording, simulate, simulate_group, workload_key
from cases import POLICIES, cases, play_fast
from plain import FIXED
from slow_engine import Case

REQUESTS = Recording(requests=True)
BLIND_TO_CARBON = ("round-robin", "edf", "slo-aware", "caps-no-carbon")
ARRAYS = ("accounts", "pools", "spent", "slices", "histograms", "samples", "requests")
NUMBERS = ("end_s", "unfinished", "preemptions", "events", "idle_energy_j", "idle_carbon_g")


def assert_same_bits(one: Outcome, other: Outcome) -> None:
    for name in NUMBERS:
        assert getattr(one, name) == getattr(other, name), name
    for name in ARRAYS:
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype
        for field in left.dtype.names or (None,):
            np.testing.assert_array_equal(
                left[field] if field else left, right[field] if field else right, err_msg=f"{name} {field}"
            )


def day(policy: str, **changes: Any) -> scenario.Scenario:
    """An hour of the paper's cluster at a rate that fills it now and then."""
    base = FIXED | {"policy.name": policy, "predictor.source": "declared", "days": 1 / 24, "seed": 3}
    base |= {
        "cluster.max_batch": 8,
        "slo.bronze.e2e_s": 1800.0,
        "monitor.forecast": "noisy",
        "policy.plan_every_s": 60.0,
    }
    return scenario.preset("paper").replace(base | {name.replace("__", "."): value for name, value in changes.items()})


@cache
def alone(policy: str) -> Outcome:
    return simulate(day(policy), REQUESTS).outcome


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=15)
@given(data=st.data(), block=st.integers(1, 50))
def test_block_size_changes_nothing(policy: str, data: st.DataObject, block: int) -> None:
    case = data.draw(cases(policy))
    assert_same_bits(play_fast(case, block), play_fast(case))


@pytest.mark.parametrize("policy", ["edf", "carbon-aware", "caps"])
@pytest.mark.parametrize("block", [1000, 12_345, 10**6])
def test_block_size_changes_nothing_in_a_whole_run(policy: str, block: int) -> None:
    assert_same_bits(simulate(day(policy), REQUESTS, block=block).outcome, alone(policy))


def test_group_and_order_change_nothing() -> None:
    for order in (POLICIES, POLICIES[::-1]):
        for policy, result in zip(order, simulate_group([day(policy) for policy in order], REQUESTS), strict=True):
            assert_same_bits(result.outcome, alone(policy))


def test_threads_change_nothing() -> None:
    with ThreadPoolExecutor(4) as pool:
        for policy, result in zip(
            POLICIES, pool.map(lambda policy: simulate(day(policy), REQUESTS), POLICIES), strict=True
        ):
            assert_same_bits(result.outcome, alone(policy))


def test_recording_changes_nothing() -> None:
    plain = simulate(day("caps"))
    series = simulate(day("caps"), Recording(requests=True, sample_every_s=7.0))
    assert plain.row() == alone("caps").row() == series.row()
    np.testing.assert_array_equal(series.outcome.requests, alone("caps").requests)


def test_the_seed_is_in_the_row_and_matters() -> None:
    other = simulate(day("caps", seed=4))
    assert other.row()["seed"] == 4
    assert other.scenario.hash != alone("caps").scenario.hash
    assert other.row()["requests"] != alone("caps").row()["requests"]


def test_a_group_must_share_its_workload() -> None:
    other = day("caps", policy__beta=2.0, cluster__split="6/10/8", gpu__decode_base_s=1.0, slo__gold__ttft_s=3.0)
    assert workload_key(day("edf")) == workload_key(other)
    assert workload_key(day("edf")) != workload_key(day("edf", seed=4))
    assert workload_key(day("edf")) != workload_key(day("edf", workload__rate_rps=3.0))
    assert workload_key(day("edf")) != workload_key(day("edf", slo__gold__share=0.2, slo__silver__share=0.5))
    with pytest.raises(ValueError, match="share"):
        simulate_group([day("edf"), day("edf", seed=4)])


def with_control_step(case: Case, step_s: float) -> Case:
    return replace(case, config=case.config.replace({"control_step_s": step_s}))


@pytest.mark.parametrize("policy", BLIND_TO_CARBON)
@settings(max_examples=15)
@given(data=st.data())
def test_control_step_changes_nothing_where_nothing_is_gated(policy: str, data: st.DataObject) -> None:
    case = data.draw(cases(policy))
    results = [play_fast(with_control_step(case, step_s)) for step_s in (1.0, 0.5, 10.0, 1e6)]
    for other in results[1:]:
        assert_same_bits(results[0], other)


@pytest.mark.parametrize("policy", BLIND_TO_CARBON)
def test_control_step_changes_nothing_in_a_whole_run(policy: str) -> None:
    for step_s in (0.5, 10.0):
        assert_same_bits(simulate(day(policy, control_step_s=step_s), REQUESTS).outcome, alone(policy))


@pytest.mark.parametrize("policy", ["carbon-aware", "caps", "caps-no-tiers"])
@settings(max_examples=15)
@given(data=st.data())
def test_control_step_is_only_when_gates_are_asked(policy: str, data: st.DataObject) -> None:
    """With a grid that changes every 12 s only, control steps of 1, 3 and 12 s find the same for a gate on
    intensity.
    """
    case = data.draw(cases(policy))
    grid, slot_s = case.monitor, 12.0
    count = len(grid.trace.times_s)
    times_s = slot_s * np.arange(-1, count - 1)
    forecast = replace(grid.forecast, issued_s=np.array([0.0]), step_s=slot_s, g_per_kwh=grid.forecast.g_per_kwh[:1])
    monitor = replace(grid, trace=replace(grid.trace, times_s=times_s), threshold_s=times_s, forecast=forecast)
    low_carbon_only = "/".join(["CP"] * len(case.config.fleet.pools))
    case = replace(
        case, monitor=monitor, config=case.config.replace({"policy.beta": 0.5, "cluster.roles": low_carbon_only})
    )
    results = [play_fast(with_control_step(case, step_s)) for step_s in (12.0, 1.0, 3.0)]
    for other in results[1:]:
        assert_same_bits(results[0], other)


@pytest.mark.parametrize(("kind", "length"), [("nbi", 0), ("nbi", 20), ("nbc", 0), ("nbc", 1000)])
def test_damaged_code_in_the_cache_is_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, length: int
) -> None:
    monkeypatch.setattr(_jit, "cache_root", lambda: tmp_path)

    def compiled_anew() -> bool:
        kernel = _jit.use_cache(_jit.kernel(twice))
        assert kernel(21.0) == 42.0
        return sum(kernel.stats.cache_misses.values()) == 1

    assert compiled_anew()
    assert not compiled_anew()
    (path,) = tmp_path.rglob(f"*.{kind}")
    path.write_bytes(path.read_bytes()[:length])
    assert compiled_anew()
    assert not compiled_anew(), "and kept again"


@settings(max_examples=20)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_code_with_a_flipped_bit_is_never_run(tmp_path_factory: pytest.TempPathFactory, at: float, bit: int) -> None:
    """Machine code that lacks a bit may run, and compute something else."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("code")
        patch.setattr(_jit, "cache_root", lambda: folder)
        assert _jit.use_cache(_jit.kernel(twice))(21.0) == 42.0
        (path,) = folder.rglob("*.nbc")
        code = bytearray(path.read_bytes())
        code[int(at * len(code))] ^= 1 << bit
        path.write_bytes(code)
        kernel = _jit.use_cache(_jit.kernel(twice))
        assert kernel(21.0) == 42.0
        assert sum(kernel.stats.cache_misses.values()) == 1


def twice(x):
    return 2.0 * x


def test_code_that_the_disk_does_not_take_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_jit, "cache_root", lambda: tmp_path)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    kernel = _jit.use_cache(_jit.kernel(twice))
    assert kernel(21.0) == 42.0
    assert not list(tmp_path.rglob("*.nbc"))
