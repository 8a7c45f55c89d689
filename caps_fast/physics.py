"""Iteration time."""

from __future__ import annotations

import math

from caps_fast._jit import inlined


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
