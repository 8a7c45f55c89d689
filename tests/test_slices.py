"""Time and energy by sample of the region's trace: what they sum up to; every pool's lie in rows of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast.arrays import BUSY, IDLE, J_PER_KWH, N_STATES
from caps_fast.choose import layout_of, make_policy
from caps_fast.pack import pack
from caps_fast.pack_kinds import Means
from caps_fast.scenario import preset
from cases import cases, fleets, play_fast
from plain import FIXED, case, cluster, grid, requests
from slow_engine import Case


@settings(max_examples=60)
@given(case=st.one_of(cases(), fleets()))
def test_slices_sum_up_to_the_accounts(case: Case) -> None:
    """Over a pool's samples: seconds and energy by state; weighted with the intensity, carbon."""
    result, names = play_fast(case), list(case.config.fleet.regions)
    begin = 0
    for pool, spent in zip(case.config.fleet.pools, result.spent, strict=True):
        trace = case.monitors[names.index(pool.region)].trace
        until_s = case.config.horizon_s + case.config.drain_h * 3600
        first, last = (np.searchsorted(trace.times_s, t_s, side="right") - 1 for t_s in (0.0, until_s))
        rows = result.slices[begin : begin + last - first + 1]
        begin += len(rows)
        assert (rows["seconds"] >= -1e-9).all()
        starts_s = np.maximum(trace.times_s[first : last + 1], 0.0)
        lengths_s = np.diff(starts_s, append=max(result.end_s, case.config.horizon_s, starts_s[-1]))
        assert (rows["seconds"].sum(axis=1) <= pool.replicas * lengths_s + 1e-6).all()
        np.testing.assert_allclose(rows["seconds"].sum(axis=0), spent["seconds"], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(rows["energy_j"].sum(axis=0), spent["energy_j"], rtol=1e-9, atol=1e-6)
        carbon_g = trace.g_per_kwh[first : last + 1] @ rows["energy_j"] / J_PER_KWH
        np.testing.assert_allclose(carbon_g, spent["carbon_g"], rtol=1e-9, atol=1e-9)
    assert begin == len(result.slices)


def test_slices_by_hand() -> None:
    """Busy from 5 to 25 at 300 W, idle else at 50 W until the arrivals end at 40; a sample every 10 s, most before
    0.
    """
    changes = cluster(1, 1) | {"gpu.decode_base_s": 1.0, "gpu.decode_s_per_seq": 0.0, "gpu.prefill_s_per_token": 1e-12}
    changes |= {"gpu.idle_w": 50.0, "gpu.peak_w": 300.0, "days": 40 / 86400, "drain_h": 1.0}
    times_s = [*np.arange(-5000.0, 60.0, 10.0)]
    result = play_fast(case(changes, requests(5.0, 1, 20), grid(times_s, [100.0] * len(times_s))))
    assert len(result.slices) == 6  # from 0 on, the last for ever
    np.testing.assert_allclose(result.slices["seconds"][:, BUSY], [5, 10, 5, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(result.slices["seconds"][:, IDLE], [5, 0, 5, 10, 0, 0], atol=1e-9)
    power_w = np.zeros(N_STATES)
    power_w[[IDLE, BUSY]] = 50.0, 300.0
    expected_j = result.slices["seconds"] * power_w
    np.testing.assert_allclose(result.slices["energy_j"], expected_j, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("history", [0, 1, 5000])
def test_pools_begin_with_the_sample_in_force_at_0(history: int) -> None:
    """The first control step closes the sample before it: a row before the array would be another array's memory."""
    config = preset("paper").replace(FIXED | {"predictor.source": "declared", "days": 1, "drain_h": 1.0})
    policy = make_policy(config)
    times_s = [*(3600.0 * np.arange(-history, 100))]
    state = pack(config, policy, layout_of(policy, config), [grid(times_s, [100.0] * len(times_s))], Means(60.0, 20.0))
    samples = 26  # begun in the 25 hours from 0 to the end, that at 25 h included
    at = state.pools["slice_at"] + state.regions["carbon_at"][0]
    assert at.tolist() == [0, samples, 2 * samples]
    assert len(state.slices) == 3 * samples * N_STATES
