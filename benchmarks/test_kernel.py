"""Drawing, and the kernel under every policy: requests per CPU-second, drawing included, against drawing alone."""

from __future__ import annotations

import numpy as np
import pytest

from caps_fast.carbon.monitor import monitors_of
from caps_fast.pack_kinds import Means
from caps_fast.scenario import Scenario
from caps_fast.workload import workload_of
from cases import play_fast, play_slow
from slow_engine import Case

from .measure import Work
from .scenarios import DECLARED, LEARNED, POLICIES, drawing, paper, simulating

CHECKED = 300  # requests that the reference engine plays token by token
TARGETS = {"round-robin": 4.0, LEARNED: 6.0}  # times the cost of drawing


def test_drawing(timing, sizes):
    """Eight random variates a request are the least that drawing can cost."""
    rng = np.random.default_rng(0)
    days = drawing(paper("edf", sizes.days))

    def variates() -> None:
        for _ in range(int(days.units) // 16_384):
            rng.standard_exponential(16_384)
            rng.standard_normal(16_384)
            for _ in range(5):
                rng.random(16_384)

    cost = timing.by_turns(
        {"its random variates alone": Work(variates, days.units // 16_384 * 16_384), "drawing": days}
    )
    timing.ratio("drawing / its random variates", cost["drawing"] / cost["its random variates alone"])


@pytest.mark.parametrize("policy", POLICIES)
def test_policy(timing, sizes, policy):
    config = paper(policy, sizes.days)
    if policy != LEARNED:
        assert_same_as_reference(config)
        timing.note(f"the first {CHECKED} requests agree with the reference engine")
    cost = timing.by_turns({"drawing": drawing(config), policy: simulating(config)})
    timing.ratio(f"{policy} / drawing", cost[policy] / cost["drawing"], target=TARGETS.get(policy))
    floor = {LEARNED: 2.5e6, DECLARED: 3e6}.get(policy, 4e6)
    timing.figure(
        f"{policy}: requests per CPU-second", 1e-6 / cost[policy], "million", limit=floor / 1e6, more_is_better=True
    )


def assert_same_as_reference(config: Scenario) -> None:
    """The kernel's play of the scenario's first requests is the token-by-token one."""
    source = workload_of(config)
    first, *others = monitors_of(config)
    means = Means(source.mean_input_tokens, source.mean_output_tokens)
    case = Case(config, first, next(source.blocks(CHECKED)), means, tuple(others))
    fast, slow = play_fast(case), play_slow(case)
    assert fast.requests is not None
    for name in ("admitted_s", "first_token_s", "finished_s", "energy_j", "carbon_g"):
        np.testing.assert_allclose(
            fast.requests[name], [getattr(record, name) for record in slow.records], rtol=1e-9, err_msg=name
        )
