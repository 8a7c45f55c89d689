"""Queues under demand that varies: M(t)/M/c against the numerical solution of its differential equations, GI/M/1 and
batches in closed form.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.integrate import solve_ivp

from caps_fast.arrays import Array
from caps_fast.demand import Demand, RateTable
from caps_fast.workload.arrivals import Arrivals
from caps_fast.workload.intensity import Rate
from caps_fast.workload.shapes import FLAT, shape_of
from plain import cluster
from test_queueing import CONFIDENCE, assert_within_interval, serve, waits_s

MOST = 80  # in the system, beyond which the equations are cut: never reached


def arrivals(demand: Demand, rate: Rate, end_s: float, seed: int = 1) -> Array:
    source = Arrivals(demand, rate, seed, 0, 0.0, end_s)
    parts = []
    while len(part := source.take(100_000)):
        parts.append(part)
    return np.concatenate(parts)


def periodic_states(rates: Array, step_s: float, servers: int, phases: int) -> Array:
    """Probabilities of 0..MOST in the system of M(t)/M/c with mean service 1 s at so many phases of the period, in
    its periodic regime.

    The forward equations, integrated over each piece of constant rate until the period repeats: float64 (phases, MOST +
    1).
    """
    n = np.arange(MOST + 1)
    served = np.minimum(n, servers).astype(float)
    state = (n == 0).astype(float)
    per_piece = phases // len(rates)
    for _ in range(40):
        before, found = state.copy(), []
        for rate in rates:

            def flow(_: float, p: Array, rate: float = rate) -> Array:
                up, down = rate * p * (n < MOST), served * p
                return np.concatenate([[0.0], up[:-1]]) - up + np.concatenate([down[1:], [0.0]]) - down

            at_s = np.linspace(0, step_s, per_piece + 1)
            solved = solve_ivp(flow, (0, step_s), state, t_eval=at_s, rtol=1e-9, atol=1e-12, method="LSODA")
            found.append(solved.y.T[:-1])
            state = solved.y[:, -1]
        if np.abs(state - before).max() < 1e-10:
            return np.concatenate(found)
    raise AssertionError("no periodic regime")


@pytest.mark.parametrize(("gpus", "slots"), [(3, 1), (1, 4)])
def test_m_t_m_c(gpus: int, slots: int) -> None:
    """A rate that passes the capacity for a part of each period: mean number in the system and probability of waiting,
    phase by phase.
    """
    servers, step_s, periods, phases = gpus * slots, 15.0, 3000, 24
    factors = (0.3, 0.9, 1.8, 1.0)
    table = RateTable(factors=factors, step_s=step_s, begins="start")
    mean_rps = 0.65 * servers
    period_s = step_s * len(factors)
    times_s = arrivals(Demand(), Rate(mean_rps, shape_of(Demand(), table, None)), periods * period_s)
    rng = np.random.default_rng(11)
    result = serve(times_s, rng.exponential(1.0, len(times_s)), cluster(gpus, slots))
    assert result.requests is not None
    finished_s = np.sort(result.requests["finished_s"])
    expected = periodic_states(mean_rps * np.array(factors), step_s, servers, phases)
    confident = float(stats.t.isf((1 - CONFIDENCE) / 2 / phases, 39))
    means = expected @ np.arange(MOST + 1)
    assert means.max() > 2 * means.min()
    waits = expected[:, servers:].sum(axis=1)
    for phase in range(phases):
        at_s = (np.arange(20, periods) + phase / phases) * period_s  # the first periods are warm-up
        present = np.searchsorted(times_s, at_s, side="right") - np.searchsorted(finished_s, at_s, side="right")
        for values, wanted in (
            (present.astype(float), means[phase]),
            ((present >= servers).astype(float), waits[phase]),
        ):
            parts = np.array([part.mean() for part in np.array_split(values, 40)])
            half = confident * parts.std(ddof=1) / math.sqrt(40)
            assert abs(parts.mean() - wanted) < half, (
                f"phase {phase}: {parts.mean():g} +- {half:g}, expected {wanted:g}"
            )
    assert half < 0.2 * means.max()


@pytest.mark.parametrize("cv", [0.5, 2.0, 4.0])
def test_gamma_gaps_queue_as_gi_m_1(cv: float) -> None:
    """The wait follows from the root of sigma = the gap's Laplace transform at mu (1 - sigma)."""
    load, count = 0.6, 500_000
    times_s = arrivals(Demand(gap_cv=cv), Rate(load, FLAT), count / load, seed=2)
    shape, scale = cv**-2, cv**2 / load
    sigma = optimize.brentq(lambda x: (1 + scale * (1 - x)) ** -shape - x, 1e-6, 1 - 1e-6)
    waits = waits_s(serve(times_s, np.random.default_rng(3).exponential(1.0, len(times_s)), cluster(1, 1)))
    assert_within_interval(waits, sigma / (1 - sigma), narrow=0.2)
    assert_within_interval((waits > 0).astype(float), sigma)


def test_batches_queue_as_m_x_m_1() -> None:
    """Geometric batches of mean B before one exponential server: the mean wait is (rho + B - 1) / (1 - rho)."""
    load, batch = 0.5, 3.0
    times_s = arrivals(Demand(batch_size=batch), Rate(load, FLAT), 800_000.0, seed=4)
    waits = waits_s(serve(times_s, np.random.default_rng(5).exponential(1.0, len(times_s)), cluster(1, 1)))
    assert_within_interval(waits, (load + batch - 1) / (1 - load))
