"""The built-in solar and wind output: capacity factors over a year of 365 days, the same for every run
(docs/supply.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from caps_fast.records import Array
from caps_fast.supply.assumptions import Assumptions

YEAR_DAYS, DAY_S, HOUR_S = 365, 86400.0, 3600.0
SUN_STEP_S = 900.0
WEATHER_STREAM = 0x5A11
CLOUD_CORRELATION = 0.6  # of the cloudiness of neighbouring days
WIND_CORRELATION = 0.95  # an hour apart
WEIBULL_SHAPE = 2.0
CUT_IN, RATED, CUT_OUT = 3.0, 12.0, 25.0  # m/s


@dataclass(frozen=True)
class Year:
    """A curve that repeats every 365 days.

    step_s      length of a sample
    factors     float64 (n,): capacity factor by sample, from 1 January 00:00 UTC
    """

    step_s: float
    factors: Array

    def means(self, edges_s: Array) -> Array:
        """Mean factors between neighbouring edges, seconds of the year, ascending; float64 (len(edges_s) - 1,)."""
        year_s = self.step_s * len(self.factors)
        sums = np.concatenate([[0.0], np.cumsum(self.factors)]) * self.step_s
        turns, rest_s = np.divmod(edges_s, year_s)
        so_far = turns * sums[-1] + np.interp(rest_s, np.arange(len(sums)) * self.step_s, sums)
        return np.asarray(np.clip(np.diff(so_far) / np.diff(edges_s), 0.0, 1.0))


def sun(given: Assumptions) -> Year:
    """Horizontal panels under Haurwitz's clear sky, dimmed by each day's clouds (Kasten and Czeplak), at a stated
    mean.
    """
    return _sun(given.latitude_deg, given.longitude_deg, given.solar_capacity_factor, given.weather_seed)


def wind(given: Assumptions) -> Year:
    """A turbine's cubic power curve over Weibull wind speeds that are correlated from hour to hour, at a stated
    mean.
    """
    return _wind(given.wind_capacity_factor, given.weather_seed)


@lru_cache(8)
def _sun(latitude_deg: float, longitude_deg: float, mean: float, seed: int) -> Year:
    at_s = (np.arange(YEAR_DAYS * DAY_S / SUN_STEP_S) + 0.5) * SUN_STEP_S
    day = np.floor(at_s / DAY_S + longitude_deg / 360.0)
    declination = np.radians(23.45) * np.sin(2.0 * np.pi * (284.0 + day + 1.0) / YEAR_DAYS)
    hour_angle = 2.0 * np.pi * (at_s / DAY_S + longitude_deg / 360.0 - 0.5)
    latitude = np.radians(latitude_deg)
    up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    clear = np.zeros(len(up))
    clear[up > 0.0] = up[up > 0.0] * np.exp(-0.059 / up[up > 0.0])
    clouds = _uniforms(YEAR_DAYS, CLOUD_CORRELATION, seed, 0)[day.astype(int) % YEAR_DAYS]
    light = clear * (1.0 - 0.75 * clouds**3.4)
    return Year(SUN_STEP_S, _scaled(lambda scale: np.minimum(scale * light, 1.0), mean, 1e4))


@lru_cache(8)
def _wind(mean: float, seed: int) -> Year:
    uniforms = _uniforms(YEAR_DAYS * 24, WIND_CORRELATION, seed, 1)
    speed = (-np.log1p(-uniforms)) ** (1.0 / WEIBULL_SHAPE)

    def factors(scale: float) -> Array:
        at = scale * speed
        power = np.clip((at**3 - CUT_IN**3) / (RATED**3 - CUT_IN**3), 0.0, 1.0)
        return np.where(at >= CUT_OUT, 0.0, power)

    return Year(HOUR_S, _scaled(factors, mean, 15.0))


def _scaled(factors: Callable[[float], Array], mean: float, highest: float) -> Array:
    """The factors at the scale that gives the stated mean."""
    low, high = 0.0, highest
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if factors(middle).mean() < mean else (low, middle)
    return factors(high)


def _uniforms(count: int, correlation: float, seed: int, stream: int) -> Array:
    """Uniforms whose normal scores follow a stationary AR(1)."""
    normal = np.random.default_rng(np.random.SeedSequence([seed, WEATHER_STREAM, stream])).standard_normal(count)
    for at in range(1, count):
        normal[at] = correlation * normal[at - 1] + np.sqrt(1.0 - correlation**2) * normal[at]
    return np.array([NormalDist().cdf(one) for one in normal])
