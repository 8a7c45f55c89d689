"""Means over seeds with confidence intervals, paired for differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its confidence interval (t, 95 %); the interval is NaN for a single seed."""

    mean: float
    low: float
    high: float
    n: int


def estimate(values: Sequence[float] | NDArray[np.float64]) -> Estimate:
    """Mean and interval of one figure per seed.

    For a difference or ratio, pass the per-seed differences or ratios: that pairs them.
    """
    sample = np.asarray(values, np.float64)
    n, mean = len(sample), float(sample.mean()) if len(sample) else math.nan
    if n < 2:
        return Estimate(mean, math.nan, math.nan, n)
    half = float(student.ppf(0.5 + LEVEL / 2, n - 1) * sample.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def relative_deviation(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Sample standard deviation over the mean; NaN for a single value."""
    sample = np.asarray(values, np.float64)
    return float(sample.std(ddof=1) / sample.mean()) if len(sample) > 1 else math.nan
