"""Laws that every run obeys, whatever the policy and the scenario.

INV-1  every request ends exactly once or is counted unfinished INV-2  attributed + idle = the integral of power, for
energy and for carbon, idle power after the arrivals left out INV-3  causality: nothing happens before its cause, and
nothing starts while its gate is closed (tests/test_laws_of_time.py) INV-4  no idle GPU beside startable work (there
too) INV-5  same seed, same bits (tests/test_determinism.py) INV-6  the control step changes nothing but control (there
too) INV-7  what comes later changes nothing that happened before (tests/test_laws_of_time.py) INV-8  the invariants of
scoring (tests/test_scoring.py)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caps_fast.arrays import BUSY, IDLE, J_PER_KWH
from caps_fast.outcome import Outcome
from caps_fast.records import Array
from cases import POLICIES, cases, play_fast
from plain import rows_of, with_changes
from slow_engine import Case

CLOSE = {"rtol": 1e-9, "atol": 1e-9}

every_policy = pytest.mark.parametrize("policy", POLICIES)


# ---------------------------------------------------------------- INV-1


@every_policy
@settings(max_examples=25)
@given(data=st.data())
def test_every_request_ends_once_or_is_unfinished(policy: str, data: st.DataObject) -> None:
    case = data.draw(cases(policy))
    result = play_fast(case)
    rows = rows_of(result)
    assert len(rows) + result.unfinished == len(case.requests)
    assert (np.diff(rows["seq"]) > 0).all()
    for field in ("arrival_s", "input_tokens", "output_tokens", "tier", "category", "tenant"):
        np.testing.assert_array_equal(rows[field], case.requests[field][rows["seq"]], err_msg=field)
    tiers, categories = (result.accounts["requests"].reshape(3, 3, 3).sum(axis) for axis in ((0, 1), (0, 2)))
    assert tiers.tolist() == np.bincount(case.requests["tier"], minlength=3).tolist()
    assert categories.tolist() == np.bincount(case.requests["category"], minlength=3).tolist()
    if result.unfinished:
        assert result.end_s == case.config.horizon_s + case.config.drain_h * 3600
    elif len(rows):
        assert result.end_s == rows["finished_s"].max()
    assert (rows["finished_s"] <= result.end_s).all()


@every_policy
@settings(max_examples=10)
@given(data=st.data())
def test_open_gates_let_all_work_finish(policy: str, data: st.DataObject) -> None:
    """Without a gate in the way nothing is lost in the system, however long the queues."""
    case = with_changes(
        data.draw(cases(policy)), drain_h=48.0, **({} if policy == "carbon-aware" else {"policy__beta": 0.0})
    )
    if policy == "carbon-aware":
        case = replace(
            case, monitor=replace(case.monitor, threshold_g_per_kwh=np.full_like(case.monitor.threshold_s, 1e9))
        )
    assert play_fast(case).unfinished == 0


# ---------------------------------------------------------------- INV-2


@every_policy
@settings(max_examples=18)
@given(data=st.data())
def test_attributed_energy_is_the_pools_energy(policy: str, data: st.DataObject) -> None:
    case = data.draw(cases(policy))
    result = play_fast(case)
    rows = rows_of(result)
    for name in ("energy_j", "carbon_g"):
        assert (rows[name] > 0).all()
        attributed, pools = rows[name].sum(), result.spent[name][:, BUSY].sum()
        assert attributed <= pools * (1 + 1e-9)
        if result.unfinished == 0:
            assert attributed == pytest.approx(pools, rel=1e-9)
            if result.preemptions == 0:
                by_pool = np.bincount(rows["pool"], rows[name], len(result.pools))
                np.testing.assert_allclose(by_pool, result.spent[name][:, BUSY], **CLOSE)


def busy_after_arrivals(case: Case, result: Outcome) -> Array:
    """Stretches after the arrivals with residents on a GPU, (n, 2) in s, as the requests of a run without
    pre-emption say.
    """
    assert result.requests is not None
    placed = np.sort(result.requests[result.requests["gpu"] >= 0], order=["gpu", "admitted_s"])
    stretches, gpu, until_s = [], -1, 0.0
    for row in placed:
        if row["gpu"] != gpu:
            gpu, until_s = row["gpu"], case.config.horizon_s
        end_s = row["finished_s"] if np.isfinite(row["finished_s"]) else result.end_s
        if end_s > until_s:
            stretches.append((max(until_s, row["admitted_s"]), end_s))
            until_s = end_s
    return np.array(stretches).reshape(-1, 2)


@every_policy
@settings(max_examples=12)
@given(data=st.data())
def test_flat_power_makes_the_total_known(policy: str, data: st.DataObject) -> None:
    """With P_peak = P_idle every GPU draws the same all the time: the bill is power times time, and power times the
    integral of intensity.
    """
    case = with_changes(data.draw(cases(policy)), gpu__idle_w=250.0, gpu__peak_w=250.0)
    result = play_fast(case)
    gpus, horizon_s, trace = case.config.cluster.gpus, case.config.horizon_s, case.monitor.trace
    power_w = 250.0 * case.config.gpu.gpus_per_replica
    energy_j = result.spent["energy_j"][:, BUSY].sum() + result.idle_energy_j
    carbon_g = result.spent["carbon_g"][:, BUSY].sum() + result.idle_carbon_g
    intensity = gpus * float(trace.integral(0.0, horizon_s))
    if result.preemptions == 0:
        drained = busy_after_arrivals(case, result)
        served_s = gpus * horizon_s + (drained[:, 1] - drained[:, 0]).sum()
        intensity += trace.integral(drained[:, 0], drained[:, 1]).sum() if len(drained) else 0.0
        assert energy_j == pytest.approx(power_w * served_s, rel=1e-9)
        assert carbon_g == pytest.approx(power_w * intensity / J_PER_KWH, rel=1e-9, abs=1e-12)
    elif result.end_s <= horizon_s:
        assert energy_j == pytest.approx(power_w * gpus * horizon_s, rel=1e-9)
        assert carbon_g == pytest.approx(power_w * intensity / J_PER_KWH, rel=1e-9, abs=1e-12)
    else:
        longest = intensity + gpus * float(trace.integral(horizon_s, result.end_s))
        assert gpus * horizon_s * (1 - 1e-9) <= energy_j / power_w <= gpus * result.end_s * (1 + 1e-9)
        assert intensity * (1 - 1e-9) <= carbon_g / power_w * J_PER_KWH <= longest * (1 + 1e-9)


@every_policy
@settings(max_examples=12)
@given(data=st.data())
def test_without_a_drain_the_total_of_flat_power_is_that_of_the_arrivals(policy: str, data: st.DataObject) -> None:
    """The same where the run ends with the arrivals, pre-emption or not."""
    case = with_changes(data.draw(cases(policy)), gpu__idle_w=250.0, gpu__peak_w=250.0, drain_h=0.0)
    result = play_fast(case)
    power_w = 250.0 * case.config.gpu.gpus_per_replica * case.config.cluster.gpus
    assert result.spent["energy_j"].sum() == pytest.approx(power_w * case.config.horizon_s, rel=1e-9)
    intensity = float(case.monitor.trace.integral(0.0, case.config.horizon_s))
    assert result.spent["carbon_g"].sum() == pytest.approx(power_w * intensity / J_PER_KWH, rel=1e-9, abs=1e-12)


@every_policy
@settings(max_examples=12)
@given(data=st.data())
def test_linear_power_is_idle_power_plus_member_time(policy: str, data: st.DataObject) -> None:
    case = with_changes(data.draw(cases(policy)), gpu__power_exponent=1.0)
    result = play_fast(case)
    gpu, gpus, horizon_s = case.config.gpu, case.config.cluster.gpus, case.config.horizon_s
    per_member_w = (gpu.peak_w - gpu.idle_w) / case.config.cluster.max_batch * gpu.gpus_per_replica
    idle_w = gpu.idle_w * gpu.gpus_per_replica
    seconds = result.spent["seconds"]
    expected = idle_w * seconds[:, BUSY] + per_member_w * result.pools["member_s"]
    np.testing.assert_allclose(result.spent["energy_j"][:, BUSY], expected, **CLOSE)
    busy_s = seconds[:, BUSY].sum()
    assert busy_s <= gpus * result.end_s * (1 + 1e-9)
    assert result.idle_energy_j == pytest.approx(idle_w * seconds[:, IDLE].sum(), rel=1e-9, abs=1e-6)
    if result.preemptions == 0:
        drained = busy_after_arrivals(case, result)
        in_arrivals_s = busy_s - (drained[:, 1] - drained[:, 0]).sum()
        assert result.idle_energy_j == pytest.approx(idle_w * (gpus * horizon_s - in_arrivals_s), rel=1e-9, abs=1e-6)
    else:
        longest_s = gpus * max(result.end_s, horizon_s)
        assert gpus * horizon_s * (1 - 1e-9) <= seconds.sum() <= longest_s * (1 + 1e-9)


@every_policy
@settings(max_examples=12)
@given(data=st.data())
def test_flat_intensity_makes_carbon_proportional_to_energy(policy: str, data: st.DataObject) -> None:
    case = data.draw(cases(policy))
    flat = replace(case.monitor.trace, g_per_kwh=np.full_like(case.monitor.trace.times_s, 360.0))
    result = play_fast(replace(case, monitor=replace(case.monitor, trace=flat)))
    rows = rows_of(result)
    np.testing.assert_allclose(rows["carbon_g"], rows["energy_j"] * 1e-4, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(result.spent["carbon_g"], result.spent["energy_j"] * 1e-4, rtol=1e-9, atol=1e-12)
    assert result.idle_carbon_g == pytest.approx(result.idle_energy_j * 1e-4, rel=1e-9, abs=1e-9)


@every_policy
@settings(max_examples=18)
@given(data=st.data())
def test_alone_on_its_gpu_a_request_pays_for_its_stay(policy: str, data: st.DataObject) -> None:
    """With one slot a GPU, energy is P_peak times the stay, and carbon P_peak times the trace's integral over it."""
    case = with_changes(data.draw(cases(policy)), cluster__max_batch=1)
    result = play_fast(case)
    assume(result.preemptions == 0)
    rows = rows_of(result)
    peak_w = case.config.gpu.peak_w * case.config.gpu.gpus_per_replica
    np.testing.assert_allclose(rows["energy_j"], peak_w * (rows["finished_s"] - rows["admitted_s"]), **CLOSE)
    if len(rows):
        intensity = case.monitor.trace.integral(rows["admitted_s"], rows["finished_s"])
        np.testing.assert_allclose(rows["carbon_g"], peak_w * intensity / J_PER_KWH, **CLOSE)
