"""Queueing theory: waits, sojourns and carbon that are known in closed form, each within its 99.9 % confidence
interval.

A kernel that leaps makes tokens cheap, so a service time of a second is played as a million tokens of a microsecond
each. Rounding up to whole tokens adds at most TOKEN_S = 1e-6 s to a service, and so about 1e-6 / (1 - load)^2 to a
wait: far below what an interval can see. Every interval comes from batch means with fixed seeds, and must be narrow
enough that the test could fail: its half width is checked too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from caps_fast.arrays import BUSY, J_PER_KWH, Array
from caps_fast.outcome import Outcome
from cases import play_fast
from plain import case, cluster, grid, requests

TOKEN_S = 1e-6
BATCHES = 40
CONFIDENCE = 0.999
NARROW = 0.1  # half widths, relative to the value expected

ONE_AT_A_TIME = {"gpu.decode_base_s": TOKEN_S, "gpu.decode_s_per_seq": 0.0, "gpu.prefill_s_per_token": 1e-12}


def assert_within_interval(values: Array, expected: float, narrow: float = NARROW) -> None:
    """Is `expected` in the confidence interval of the mean of a stationary sequence (batch means; the first batch
    is warm-up)?
    """
    means = np.array([part.mean() for part in np.array_split(values, BATCHES + 1)[1:]])
    half = float(stats.t.isf((1 - CONFIDENCE) / 2, BATCHES - 1) * means.std(ddof=1) / math.sqrt(BATCHES))
    assert half < narrow * expected, f"interval of {half:g} about {means.mean():g} is too wide to tell"
    assert abs(means.mean() - expected) < half, f"{means.mean():g} +- {half:g}, expected {expected:g}"


def poisson(rng: np.random.Generator, rate: float, count: int) -> Array:
    return np.cumsum(rng.exponential(1 / rate, count))


def tokens_of(service_s: Array) -> Array:
    return np.maximum(1, np.ceil(service_s / TOKEN_S)).astype(np.int64)


def serve(arrival_s: Array, service_s: Array, changes: dict[str, Any]) -> Outcome:
    """Requests of a one-token prompt that take so long alone."""
    result = play_fast(case(ONE_AT_A_TIME | changes, requests(arrival_s, 1, tokens_of(service_s))))
    assert result.unfinished == 0
    return result


def waits_s(result: Outcome) -> Array:
    assert result.requests is not None
    return result.requests["admitted_s"] - result.requests["arrival_s"]


def sojourns_s(result: Outcome) -> Array:
    assert result.requests is not None
    return result.requests["finished_s"] - result.requests["arrival_s"]


def erlang_c(servers: int, offered: float) -> float:
    """Probability of waiting in M/M/c."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered * blocked / (n + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


@pytest.mark.parametrize(("gpus", "slots", "load"), [(1, 1, 0.5), (3, 1, 0.7), (8, 1, 0.6), (2, 4, 0.65)])
def test_m_m_c_waits(gpus: int, slots: int, load: float) -> None:
    """Exponential service of mean 1 s.

    GPUs whose step does not grow with the batch are as many servers as they have slots.
    """
    rng, count, servers = np.random.default_rng(1), 600_000, gpus * slots
    result = serve(poisson(rng, servers * load, count), rng.exponential(1.0, count), cluster(gpus, slots))
    waits = waits_s(result)
    probability = erlang_c(servers, servers * load)
    assert_within_interval((waits > 0).astype(float), probability)
    assert_within_interval(waits, probability / (servers * (1 - load)))
    assert_within_interval((waits > 0.5).astype(float), probability * math.exp(-servers * (1 - load) * 0.5), narrow=0.2)
    assert result.metrics["utilization"] == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize("load", [0.4, 0.75])
def test_m_d_1_waits(load: float) -> None:
    rng, count = np.random.default_rng(2), 200_000
    waits = waits_s(serve(poisson(rng, load, count), np.ones(count), cluster(1, 1)))
    assert_within_interval(waits, load / (2 * (1 - load)))
    assert_within_interval((waits == 0).astype(float), 1 - load)


def test_m_g_1_waits() -> None:
    """Pollaczek-Khinchine, for services of 0.2 s (nine in ten) or 8.2 s: a coefficient of variation of 2.4."""
    rng, count, load = np.random.default_rng(3), 400_000, 0.5
    service_s = np.where(rng.random(count) < 0.9, 0.2, 8.2)
    waits = waits_s(serve(poisson(rng, load, count), service_s, cluster(1, 1)))
    second_moment = 0.9 * 0.2**2 + 0.1 * 8.2**2
    assert_within_interval(waits, load * second_moment / (2 * (1 - load)))


def test_round_robin_is_one_queue_with_erlang_arrivals_a_gpu() -> None:
    """Dealt to two GPUs in turn, Poisson arrivals become Erlang-2 at each: GI/M/1, whose wait follows from the root
    sigma of its equation.
    """
    rng, count, load = np.random.default_rng(4), 200_000, 0.7
    changes = cluster(2, 1) | {"policy.name": "round-robin"}
    result = serve(poisson(rng, 2 * load, count), rng.exponential(1.0, count), changes)
    sigma = 0.5
    for _ in range(200):
        sigma = (2 * load / (2 * load + 1 - sigma)) ** 2
    waits = waits_s(result)
    assert_within_interval(waits, sigma / (1 - sigma))
    assert_within_interval((waits > 0).astype(float), sigma)
    assert result.requests is not None
    np.testing.assert_array_equal(result.requests["gpu"], np.arange(count) % 2)


SERVICES = {
    "deterministic": lambda rng, count: np.ones(count),
    "exponential": lambda rng, count: np.maximum(rng.exponential(1.0, count), 1e-3),
    "two-point": lambda rng, count: np.where(rng.random(count) < 0.8, 0.25, 4.0),
}
SHARING = {"gpu.decode_base_s": 1e-12, "gpu.decode_s_per_seq": 1e-5, "gpu.prefill_s_per_token": 1e-12}


@pytest.mark.parametrize("service", SERVICES)
def test_m_g_1_processor_sharing(service: str) -> None:
    """A step that grows in proportion to the batch shares one GPU equally: a request of size x stays x / (1 - load)
    on average, and all of them E[x] / (1 - load), whatever the distribution of x.

    With b sharing, joining and the prompt's iteration delay a request by at most 2 b steps of 1e-5 s: under 1e-3 of any
    mean below.
    """
    rng, count, load = np.random.default_rng(5), 150_000, 0.6
    size_s = SERVICES[service](rng, count)
    tokens = 1 + np.ceil(size_s / 1e-5).astype(np.int64)
    size_s = (tokens - 1) * 1e-5
    mean_s = 0.8 * 0.25 + 0.2 * 4.0 if service == "two-point" else 1.0
    result = play_fast(case(SHARING | cluster(1, 4096), requests(poisson(rng, load / mean_s, count), 1, tokens)))
    assert (waits_s(result) == 0).all(), "the batch should never be full"
    stays_s = sojourns_s(result)
    assert_within_interval(stays_s, mean_s / (1 - load))
    for x in np.unique(size_s) if service == "two-point" else []:
        assert_within_interval(stays_s[size_s == x], float(x) / (1 - load))
    if service == "exponential":
        for low, high in ((0.2, 0.4), (1.0, 1.5), (2.0, 4.0)):
            within = (low <= size_s) & (size_s < high)
            assert_within_interval(stays_s[within] / size_s[within], 1 / (1 - load))
    assert result.spent["seconds"][:, BUSY].sum() / result.end_s == pytest.approx(load, rel=0.03)


def test_littles_law() -> None:
    """Mean number in the system, seen by Poisson arrivals (PASTA), is the arrival rate times the mean stay; in
    service, the load.
    """
    rng, count, rate = np.random.default_rng(6), 200_000, 2.4
    result = serve(poisson(rng, rate, count), rng.exponential(1.0, count), cluster(3, 1))
    rows = result.requests
    assert rows is not None
    before = np.searchsorted(np.sort(rows["finished_s"]), rows["arrival_s"], side="right")
    present = np.arange(count) - before
    expected = rate * (erlang_c(3, rate) / (3 - rate) + 1.0)
    assert_within_interval(present.astype(float), expected)
    assert_within_interval(rate * sojourns_s(result), expected)
    assert result.pools["member_s"].sum() == pytest.approx((rows["finished_s"] - rows["admitted_s"]).sum(), rel=1e-9)


@pytest.mark.parametrize("horizon_s", [500.0, 2500.0])
def test_carbon_of_one_request_across_samples(horizon_s: float) -> None:
    """One request for 1,000 s under an intensity with a sample every 7 s: its carbon is power times the sum of
    samples, by hand.

    The arrivals end while it runs, or long after: idle power counts until then.
    """
    times_s = np.arange(-70.0, 3000.0, 7.0)
    gamma = 200 + 150 * np.sin(times_s / 90)
    changes = cluster(2, 1) | {
        "gpu.decode_base_s": 0.1,
        "gpu.decode_s_per_seq": 0.0,
        "gpu.idle_w": 50.0,
        "gpu.peak_w": 300.0,
    }
    changes |= {"days": horizon_s / 86400}
    result = play_fast(case(changes, requests(123.4, 1, 10_000), grid(times_s, gamma)))  # type: ignore[arg-type]
    rows = result.requests
    assert rows is not None
    end_s = 123.4 + 10_000 * 0.1 + 2e-4
    assert rows["finished_s"][0] == pytest.approx(end_s, abs=1e-6)

    def integral(from_s: float, to_s: float) -> float:
        cut = np.clip(np.append(times_s, math.inf), from_s, to_s)
        return float((gamma * np.diff(cut)).sum())

    attributed_g = 300.0 * integral(123.4, end_s) / J_PER_KWH
    assert rows["carbon_g"][0] == pytest.approx(attributed_g, rel=1e-9)
    after_s = max(horizon_s - end_s, 0.0)
    idle = integral(0, 123.4) + integral(end_s, end_s + after_s) + integral(0, horizon_s)
    assert result.idle_carbon_g == pytest.approx(50.0 * idle / J_PER_KWH, rel=1e-9)
    assert result.idle_energy_j == pytest.approx(50.0 * (123.4 + after_s + horizon_s), rel=1e-9)


def test_carbon_of_two_requests_that_overlap() -> None:
    """On one GPU of four slots: alone a request pays P(1/4), together each pays half of P(2/4), across a change of
    intensity at 10 s.
    """
    changes = cluster(1, 4) | {"gpu.decode_base_s": 1.0, "gpu.decode_s_per_seq": 0.0, "gpu.prefill_s_per_token": 1e-12}
    changes |= {"gpu.idle_w": 100.0, "gpu.peak_w": 400.0, "gpu.power_exponent": 0.5, "days": 10 / 86400}
    result = play_fast(case(changes, requests([0.0, 7.5], 1, [16, 4]), grid([0.0, 10.0], [100.0, 500.0])))
    rows = result.requests
    assert rows is not None
    alone_w, together_w = 100 + 300 * 0.5, 100 + 300 * math.sqrt(0.5)
    np.testing.assert_allclose(rows["finished_s"], [16.0, 12.0], rtol=1e-9)  # the second joins at 8 s
    np.testing.assert_allclose(rows["energy_j"], [12 * alone_w + 4 * together_w / 2, 4 * together_w / 2], rtol=1e-9)
    shared = together_w / 2 * (2 * 100 + 2 * 500)
    np.testing.assert_allclose(
        rows["carbon_g"] * J_PER_KWH, [alone_w * (8 * 100 + 4 * 500) + shared, shared], rtol=1e-9
    )
    assert result.idle_carbon_g == pytest.approx(0, abs=1e-12)


def test_mean_carbon_of_poisson_work_under_a_swinging_grid() -> None:
    """With servers to spare (M/G/infinity), the mean carbon of requests is the rate times power times the double
    integral of intensity over arrival and stay: gamma = 300 + 200 sin(w t), services exponential of mean 1 / mu, in
    closed form.
    """
    rng, rate, mean_s, day_s = np.random.default_rng(7), 2.0, 20.0, 400.0
    days, step_s = 400, 1.0
    w = 2 * math.pi / day_s
    arrival_s = poisson(rng, rate, round(rate * days * day_s * 1.05))
    arrival_s = arrival_s[arrival_s < days * day_s]
    times_s = np.arange(0, (days + 2) * day_s, step_s)
    gamma = 300 + 200 * np.sin(w * (times_s + step_s / 2)) * math.sin(w * step_s / 2) / (
        w * step_s / 2
    )  # the mean over each sample
    changes = ONE_AT_A_TIME | cluster(128, 1) | {"gpu.decode_base_s": 1e-5}
    service_s = rng.exponential(mean_s, len(arrival_s))
    block = requests(arrival_s, 1, np.maximum(1, np.ceil(service_s / 1e-5)).astype(np.int64))
    rows = play_fast(case(changes, block, grid(times_s, gamma))).requests  # type: ignore[arg-type]
    assert rows is not None
    assert (rows["admitted_s"] == rows["arrival_s"]).all(), "there should be servers to spare"
    # Day by day: arrivals of the first half see a dirtier grid than those of the second. E over the exponential stay of
    # sin(w (a + u)) is (sin(w a) + w m cos(w a)) m / (1 + (w m)^2), integrated over half a day of arrivals a.
    phase = rows["arrival_s"] % day_s
    mean_of_sin = mean_s / (1 + (w * mean_s) ** 2)
    for half, sign in ((phase < day_s / 2, 1), (phase >= day_s / 2, -1)):
        carbon = (
            np.bincount((rows["arrival_s"] // day_s).astype(int), np.where(half, rows["carbon_g"], 0.0), days)
            * J_PER_KWH
            / 400.0
        )
        expected = rate * (300 * mean_s * day_s / 2 + 200 * mean_of_sin * sign * 2 / w)
        assert_within_interval(carbon, expected, narrow=0.02)
