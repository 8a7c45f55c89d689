"""Energy accounting: time, energy and carbon per pool and state, and per sample of the region's trace (docs/model.md,
section 3).
"""

from __future__ import annotations

from caps_fast._jit import inlined
from caps_fast.arrays import J_PER_KWH, N_STATES, State


@inlined
def spend(s: State, p: int, state: int, from_s: float, to_s: float, power_w: float) -> float:
    """Account for a replica of pool `p` that drew `power_w` over [from_s, to_s]; `to_s` is at most the current time.

    Returns the carbon, g.
    """
    pool = s.pools[p]
    elapsed_s = to_s - from_s
    intensity = pool.g_per_kwh * elapsed_s
    if from_s < pool.intensity_from_s:
        intensity = _over_samples(s, p, state, from_s, to_s, power_w)
    carbon_g = power_w * intensity * (1.0 / J_PER_KWH)
    account = s.accounts[p * N_STATES + state]
    account.seconds += elapsed_s
    account.energy_j += power_w * elapsed_s
    account.carbon_g += carbon_g
    return carbon_g


@inlined
def _over_samples(s: State, p: int, state: int, from_s: float, to_s: float, power_w: float) -> float:
    """Integral of intensity over [from_s, to_s], g/kWh s. Both ends may lie in samples before the current one, whose
    slices it fills.
    """
    region = s.regions[s.pools[p].region]
    last = region.carbon_at
    while last > region.carbon_first and s.carbon_s[last] > to_s:
        last -= 1
    first = last
    end_s = to_s
    while first > region.carbon_first and s.carbon_s[first] > from_s:
        _to_slice(s, p, first, state, end_s - s.carbon_s[first], power_w)
        end_s = s.carbon_s[first]
        first -= 1
    _to_slice(s, p, first, state, end_s - from_s, power_w)
    if first == last:
        return s.carbon_g_per_kwh[last] * (to_s - from_s)
    whole = s.carbon_integral[last] - s.carbon_integral[first]
    return (
        whole
        + s.carbon_g_per_kwh[last] * (to_s - s.carbon_s[last])
        - s.carbon_g_per_kwh[first] * (from_s - s.carbon_s[first])
    )


@inlined
def _to_slice(s: State, p: int, sample: int, state: int, elapsed_s: float, power_w: float) -> None:
    """Add an amount directly to the slice of its sample; `close_sample` then excludes it."""
    row = s.slices[(s.pools[p].slice_at + sample) * N_STATES + state]
    row.seconds += elapsed_s
    row.energy_j += power_w * elapsed_s
    account = s.accounts[p * N_STATES + state]
    account.sliced_s += elapsed_s
    account.sliced_j += power_w * elapsed_s


@inlined
def close_sample(s: State, p: int) -> None:
    """Add what pool `p` has accounted for since the last call to the slices of the current sample."""
    for state in range(N_STATES):
        account = s.accounts[p * N_STATES + state]
        row = s.slices[(s.pools[p].slice_at + s.regions[s.pools[p].region].carbon_at) * N_STATES + state]
        row.seconds += account.seconds - account.sliced_s
        row.energy_j += account.energy_j - account.sliced_j
        account.sliced_s = account.seconds
        account.sliced_j = account.energy_j
