"""Other simulators in the same run.

Before any timing, all of them agree with Erlang's formula on the queue that they share.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from . import peers
from .measure import Work
from .scenarios import LEARNED, paper, simulating

REPLICAS = 12
T_999 = 4.437  # Student's t, two-sided 99.9 %, 11 degrees of freedom


@pytest.fixture(scope="module")
def agreed(quick: bool) -> str:
    """The mean waits of all three lie within their confidence intervals around Erlang's."""
    said = []
    for name, waits_s in (("SimPy", peers.simpy_waits_s), ("Ciw", peers.ciw_waits_s), ("caps-fast", peers.our_waits_s)):
        customers = 8_000 if quick else 20_000
        means = [float(np.mean(waits_s(seed, customers)[customers // 10 :])) for seed in range(REPLICAS)]
        reach = T_999 * float(np.std(means, ddof=1)) / math.sqrt(REPLICAS)
        assert abs(np.mean(means) - peers.expected_wait_s()) <= reach, name
        said.append(f"{name} {np.mean(means):.3f} ± {reach:.3f} s")
    return f"mean wait, 99.9 % intervals: {', '.join(said)}; Erlang's C: {peers.expected_wait_s():.3f} s"


def test_same_queue(timing, sizes, agreed):
    timing.note(agreed)
    few, many = sizes.queue_customers, 10 * sizes.queue_customers
    works = {
        "Ciw, M/M/24": Work(lambda: peers.ciw_waits_s(1, few), few),
        "SimPy, M/M/24": Work(lambda: peers.simpy_waits_s(1, few), few),
        "caps-fast, M/M/24": Work(lambda: peers.our_queue(1, many), many),
    }
    cost = timing.by_turns(works)
    for peer in ("SimPy", "Ciw"):
        timing.ratio(
            f"caps-fast's M/M/24 as fast as {peer}'s, times",
            cost[f"{peer}, M/M/24"] / cost["caps-fast, M/M/24"],
            more_is_better=True,
        )


@pytest.mark.usefixtures("agreed")
@pytest.mark.parametrize("policy", ["round-robin", LEARNED])
def test_serving_against_bare_queue(timing, sizes, policy):
    """Batching, power and carbon simulated, against a queue that has none of them."""
    few = sizes.queue_customers
    cost = timing.by_turns(
        {"SimPy, M/M/24": Work(lambda: peers.simpy_waits_s(1, few), few), policy: simulating(paper(policy, sizes.days))}
    )
    timing.ratio(
        f"{policy} as fast as SimPy's bare M/M/24, times",
        cost["SimPy, M/M/24"] / cost[policy],
        target=25.0,
        more_is_better=True,
    )
