"""Random cases over several regions: origins with round trips, requests bound to regions, links, two signals of
carbon.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from caps_fast import scenario, sections
from caps_fast.arrays import STATES
from caps_fast.carbon.trace import CarbonTrace
from caps_fast.outcome import Outcome
from caps_fast.places import places_of
from cases import fleets, play_fast
from naive_regions import marginal_g
from scaler_cases import give_scaling
from slow_engine import Case, slow_reference

CENTRAL = ("edf", "carbon-aware")
OPTIONS: dict[str, dict[str, Any]] = {
    "greencourier": {"points_per_ms": st.sampled_from([0.0, 0.3])},
    "gaia": {
        "wait_h": st.sampled_from([0.5, 1.0, 5.0]),
        "carbon_time": st.integers(0, 1),
        "reserved_share": st.sampled_from([0.0, 0.5]),
    },
    "carbon-scaler": {
        "elasticity": st.sampled_from([1.0, 0.5, 0.8]),
        "plan_every_s": st.sampled_from([1.0, 10.0, 40.0]),
        "plan_margin": st.sampled_from([0.5, 1.5, 5.0]),
    },
    "green": {
        "quantum_tokens": st.sampled_from([2.0, 8.0, 64.0]),
        "levels": st.integers(1, 5),
        "level_wait_h": st.sampled_from([0.0, 0.001, 0.01, 1.0]),
        "window_h": st.sampled_from([0.005, 0.02, 24.0]),
        "plan_margin": st.sampled_from([0.5, 1.5, 20.0]),
        "plan_every_s": st.sampled_from([1.0, 10.0, 40.0]),
        "width": st.sampled_from([0.3, 0.75, 1.0]),
    },
}


@st.composite
def regional(draw: Any, policy: str | None = None, scaling: str = "none") -> Case:
    """A fleet in one region or two whose requests come from places, may be bound, and may move with their context; it
    may grow and shrink.
    """
    case = draw(fleets(policy))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = case.config.model_dump(mode="json")
    regions = [*case.config.fleet.regions]
    central = case.config.policy.name in CENTRAL and case.config.policy.queueing != "cyclic"
    some = st.one_of(st.none(), st.permutations(regions).flatmap(lambda names: st.sampled_from([names[:1], names])))
    origins = {}
    for name in ("a", "b", "c")[: draw(st.integers(1, 3))]:
        origins[name] = {
            "rtt_ms": {
                region: draw(st.sampled_from([0.0, 12.5, 300.0, 4000.0])) for region in regions if draw(st.booleans())
            },
            "home": draw(st.one_of(st.none(), st.sampled_from(regions))),
            "regions": draw(some),
        }
    for tier in sections.TIERS:
        bound = draw(some)
        if all(set(bound or regions) & set(origin["regions"] or regions) for origin in origins.values()):
            data["slo"][tier]["regions"] = bound
    data["origins"] = origins
    if draw(st.booleans()) and not (central and len(regions) > 1):
        data["links"] = {
            "gbit_per_s": draw(st.sampled_from([1e-6, 1e-5, 1e9])),
            "bytes_per_token": draw(st.sampled_from([0.0, 4.0, 1000.0])),
            "kwh_per_gb": draw(st.sampled_from([0.0, 0.06])),
            "between": {"/".join(regions): {"gbit_per_s": 2e-6}} if len(regions) > 1 and draw(st.booleans()) else {},
        }
    for name in regions:
        data["regions"][name] |= {
            "pue": draw(st.sampled_from([1.0, 1.3])),
            "longitude": draw(st.sampled_from([-120.0, 0.0, 75.0])),
        }
    if case.config.policy.name in OPTIONS:
        data["policy"]["options"] = draw(st.fixed_dictionaries(OPTIONS[case.config.policy.name]))
    if scaling != "none" or case.config.policy.name == "carbon-scaler":
        give_scaling(draw, data, scaling)
    if case.config.policy.name == "gaia":
        data["drain_h"] = draw(st.sampled_from([0.5, 6.0]))
        data["control_step_s"] = draw(st.sampled_from([5.0, 700.0]))
    config = scenario.build(data, "regional")
    monitors = (
        [_with_marginal(draw, rng, monitor) for monitor in case.monitors] if draw(st.booleans()) else [*case.monitors]
    )
    requests = case.requests.copy()
    places = places_of(config)
    assert places
    requests["origin"] = rng.integers(0, len(places.rows), len(requests))
    return replace(case, config=config, monitor=monitors[0], others=tuple(monitors[1:]), requests=requests)


def _with_marginal(draw: Any, rng: np.random.Generator, monitor: Any) -> Any:
    """The monitor with a marginal signal beside the average one, which decisions may be made on."""
    trace = monitor.trace
    times_s = np.concatenate(
        [[-40.0], np.sort(rng.uniform(0, float(trace.times_s[-1]) + 10.0, draw(st.integers(1, 8))))]
    )
    marginal = CarbonTrace(times_s, rng.uniform(100, 900, len(times_s)), "marginal", "lifecycle", "test", "test")
    seen = marginal if draw(st.booleans()) else trace
    return replace(monitor, trace=trace.refined(marginal), marginal=marginal.refined(trace), seen=seen)


def assert_same_regions(case: Case) -> Outcome:
    """The kernel and the reference engine agree on a regional case. Returns the kernel's result."""
    fast = play_fast(case)
    engine = slow_reference(case)
    slow = engine.run()
    rows = fast.requests
    assert rows is not None
    for name in ("admitted_s", "first_token_s", "finished_s", "energy_j", "carbon_g"):
        expected = np.array([getattr(record, name) for record in slow.records])
        np.testing.assert_allclose(rows[name], expected, rtol=1e-9, atol=1e-9, err_msg=name)
    done = np.flatnonzero(np.isfinite(rows["finished_s"]))
    np.testing.assert_allclose(
        rows["released_s"][done], [slow.records[index].released_s for index in done], rtol=1e-9, atol=1e-9
    )
    for name in ("gpu", "pool"):
        assert rows[name][done].tolist() == [getattr(slow.records[index], name) for index in done], name
    assert rows["met"][done].astype(bool).tolist() == [slow.records[index].met_slo for index in done]
    assert (fast.unfinished, fast.preemptions) == (slow.unfinished, slow.preemptions)
    assert fast.end_s == pytest.approx(slow.end_s, rel=1e-9)
    for p, row in enumerate(fast.spent):
        for state, account in zip(STATES, row, strict=True):
            expected = slow.accounts.get((p, state), [0.0, 0.0, 0.0])
            np.testing.assert_allclose(
                account.tolist()[:3], expected, rtol=1e-9, atol=1e-6, err_msg=f"pool {p}, {state}"
            )
    moved_j, moved_g = (math.fsum(one[i] for one in slow.moved) for i in range(2))
    assert fast.moved.requests == len(slow.moved)
    assert (fast.moved.energy_j, fast.moved.carbon_g) == pytest.approx((moved_j, moved_g), rel=1e-9)
    if all(region.marginal for region in engine.regions) and not moved_j:
        assert fast.marginal_g == pytest.approx(marginal_g(engine), rel=1e-9)
    return fast
