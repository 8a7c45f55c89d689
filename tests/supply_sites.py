"""Sites for the tests of `supply`: a week by hand, and random ones."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from caps_fast.supply.outcome import Weather
from caps_fast.supply.site import Site

START = datetime(2024, 8, 5, tzinfo=UTC)


def site(
    load_kwh: np.ndarray,
    g_per_kwh: np.ndarray,
    price: np.ndarray,
    hours: float = 1.0,
    busy: float = 1.0,
    most_kw: float = 1e6,
) -> Site:
    """Samples of equal length."""
    edges_s = np.arange(len(load_kwh) + 1) * hours * 3600.0
    return Site("grid", START, edges_s, load_kwh, busy * load_kwh, g_per_kwh, price, most_kw)


def week() -> tuple[Site, Weather]:
    """Seven days of a day and a night of 12 h: 10 kWh each; 1 kW of sun gives 3 kWh by day; 200 g and 1 by day, 500
    g and 2 by night.
    """
    n = 14
    by_day = np.arange(n) % 2 == 0
    own = site(np.full(n, 10.0), np.where(by_day, 200.0, 500.0), np.where(by_day, 1.0, 2.0), hours=12.0, most_kw=2.0)
    return own, Weather(np.where(by_day, 3.0, 0.0), np.zeros(n), np.full(n, np.inf))


def random_site(seed: int, days: int = 4, negative: bool = False) -> tuple[Site, Weather]:
    """Loads, sun, wind and grids of all sorts."""
    rng = np.random.default_rng(seed)
    n = 24 * days
    hour = np.arange(n) % 24
    load_kwh = rng.uniform(5.0, 15.0, n)
    g_per_kwh = np.maximum(300.0 + 150.0 * np.cos(hour / 24 * 2 * np.pi) + rng.normal(0.0, 40.0, n), 0.0)
    price = g_per_kwh / 1000.0 + rng.normal(0.0, 0.02, n) - (0.2 if negative else 0.0)
    sun = np.maximum(-np.cos(hour / 24 * 2 * np.pi), 0.0) * rng.uniform(0.2, 1.0, n)
    own = site(load_kwh, g_per_kwh, price if negative else np.maximum(price, 0.0), busy=0.6, most_kw=18.0)
    return own, Weather(sun, rng.uniform(0.0, 1.0, n), np.full(n, np.inf))
