"""Iteration time and the integral of carbon intensity."""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import State


@inlined
def leap_s(step_s: float, iterations: int, growth_s: float) -> float:
    """Length of `iterations` iterations, the first `step_s` long and each longer than the one before by `growth_s`."""
    return iterations * step_s + growth_s * (0.5 * iterations * (iterations - 1))


@inlined
def iterations_until(elapsed_s: float, step_s: float, growth_s: float) -> int:
    """Smallest number of iterations, at least 1, that take `elapsed_s` or longer."""
    if growth_s > 0.0:
        linear = step_s - 0.5 * growth_s
        count = (math.sqrt(linear * linear + 2.0 * growth_s * elapsed_s) - linear) / growth_s
    else:
        count = elapsed_s / step_s
    whole = max(int(count), 1)
    while leap_s(step_s, whole, growth_s) < elapsed_s:
        whole += 1
    while whole > 1 and leap_s(step_s, whole - 1, growth_s) >= elapsed_s:
        whole -= 1
    return whole


@inlined
def intensity_integral(s: State, from_s: float, to_s: float) -> float:
    """Integral of intensity over [from_s, to_s] in g/kWh s, where `to_s` lies in the sample in force at the clock."""
    if from_s >= s.clock[0].intensity_from_s:
        return s.clock[0].g_per_kwh * (to_s - from_s)
    last = s.clock[0].carbon_at
    first = last - 1
    while first > 0 and s.carbon_s[first] > from_s:
        first -= 1
    whole = s.carbon_integral[last] - s.carbon_integral[first]
    return whole + s.carbon_g_per_kwh[last] * (to_s - s.carbon_s[last]) - s.carbon_g_per_kwh[first] * (from_s - s.carbon_s[first])
