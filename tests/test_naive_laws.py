"""Invariants of the reference engine on random cases."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naive import Policy, play
from naive_cases import column, idle, setup
from naive_policies import Caps, CarbonAware, Edf, RoundRobin, SloAware
from naive_world import Carbon, Hardware, Request, Setup, Tier

POLICIES: list[Policy] = [
    *(RoundRobin(), Edf(), Edf(cyclic=True), SloAware(), CarbonAware(), CarbonAware(cyclic=True)),
    *(Caps(plan_every_s=20.0), Caps(beta=0.0), Caps(no_predictor=True), Caps(no_tiers=True, plan_every_s=7.0)),
]
REQUESTS = st.lists(
    st.builds(
        Request,
        *(
            st.floats(0, 100),
            st.integers(0, 2),
            st.just(0),
            st.just(0),
            st.integers(1, 40),
            st.integers(1, 12),
            st.floats(1, 20),
        ),
    ),
    max_size=25,
)
SETUPS = st.builds(
    setup,
    hardware=st.builds(
        Hardware,
        *(
            st.floats(0.001, 0.3),
            st.floats(0.1, 1),
            st.floats(0, 0.5),
            st.floats(0, 0.01),
            st.just(100.0),
            st.just(500.0),
        ),
        *(
            st.floats(0.5, 2),
            st.integers(1, 8),
            st.integers(1, 4),
            st.sampled_from([0, 1, 8]),
            st.sampled_from([60, 90, math.inf]),
        ),
    ),
    pools=st.lists(st.integers(1, 2), min_size=3, max_size=3),
    roles=st.just(["LP", "CP", "BP"]),
    tiers=st.just(
        [Tier(5.0, 2.0, roles=frozenset({"LP"})), Tier(e2e_s=50.0, ttft_after_release_s=20.0), Tier(e2e_s=120.0)]
    ),
    carbon=st.builds(Carbon, st.just([0.0, 30.0, 60.0, 90.0]), st.lists(st.floats(1, 900), min_size=4, max_size=4)),
    thresholds=st.just([(0.0, 400.0), (50.0, 300.0)]),
    forecasts=st.builds(
        lambda values: [(0.0, 30.0, values), (45.0, 30.0, values)], st.lists(st.floats(1, 900), min_size=3, max_size=3)
    ),
    horizon_s=st.just(100.0),
    drain_s=st.floats(0, 200),
    control_step_s=st.floats(1, 30),
)


@settings(deadline=None, max_examples=200)
@given(setup=SETUPS, requests=REQUESTS, policy=st.sampled_from(POLICIES))
def test_conservation_and_causality(setup: Setup, requests: list[Request], policy: Policy) -> None:
    out, hw = play(setup, requests, policy), setup.pools[0].hardware
    replicas = sum(pool.replicas for pool in setup.pools)
    idle_s, idle_j, idle_g = idle(out)
    busy_s = math.fsum(row[0] for (_, state), row in out.accounts.items() if state == "busy")
    assert math.fsum(column(out, "energy_j")) + idle_j == pytest.approx(out.energy_j, rel=1e-9)
    assert math.fsum(column(out, "carbon_g")) + idle_g == pytest.approx(out.carbon_g, rel=1e-9)
    for at, total in enumerate((idle_s + busy_s, out.energy_j, out.carbon_g)):
        assert math.fsum(row[at] for row in out.accounts.values()) == pytest.approx(total, rel=1e-9)
    assert idle_j == pytest.approx(hw.replica_watts(0) * idle_s, rel=1e-9)
    assert out.energy_j >= replicas * hw.replica_watts(0) * setup.horizon_s * (1 - 1e-9)
    longest_s = max(setup.horizon_s, out.end_s)
    assert replicas * setup.horizon_s * (1 - 1e-9) <= idle_s + busy_s <= replicas * longest_s * (1 + 1e-9)
    assert out.member_seconds <= replicas * hw.max_batch * out.end_s * (1 + 1e-9)
    assert out.preemptions == sum(column(out, "preempted"))
    assert out.unfinished == sum(math.isnan(t) for t in column(out, "finished_s"))
    for job, record in zip(requests, out.records, strict=True):
        times = [
            job.arrival_s,
            record.released_s,
            record.admitted_s,
            record.first_token_s,
            record.finished_s,
            out.end_s,
        ]
        known = [t for t in times if not math.isnan(t)]
        assert known == sorted(known)
        assert record.released_s in (job.arrival_s, record.admitted_s) or math.isnan(record.released_s)
        assert record.met_slo <= (not math.isnan(record.finished_s))
        assert (record.energy_j > 0) <= (not math.isnan(record.admitted_s))
        if not math.isnan(record.finished_s):
            fastest = (job.output_tokens - 1) * (hw.decode_base_s + hw.decode_s_per_seq)
            assert record.finished_s - record.first_token_s >= fastest - 1e-9
            assert (
                record.first_token_s - record.admitted_s
                >= hw.decode_base_s + hw.prefill_s_per_token * job.input_tokens - 1e-9
            )
            assert record.energy_j > 0 < record.carbon_g
