"""Random cases over several regions: origins with round trips, requests bound to regions, links, two signals of
carbon.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import naive
import naive_geo
import naive_regions
import naive_world
from caps_fast import scenario, sections
from caps_fast.carbon.trace import CarbonTrace
from caps_fast.places import places_of
from cases import fleets, slow_world
from slow_engine import Case

CENTRAL = ("edf", "carbon-aware")


@st.composite
def regional(draw: Any, policy: str | None = None) -> Case:
    """A fleet in one region or two whose requests come from places, may be bound, and may move with their context."""
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
    if case.config.policy.name == "greencourier":
        data["policy"]["options"] = {"points_per_ms": draw(st.sampled_from([0.0, 0.3]))}
    if case.config.policy.name == "gaia":
        data["policy"]["options"] = {
            "wait_h": draw(st.sampled_from([0.5, 1.0, 5.0])),
            "carbon_time": draw(st.integers(0, 1)),
            "reserved_share": draw(st.sampled_from([0.0, 0.5])),
        }
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


def play_regions(case: Case) -> tuple[naive_regions.RegionsEngine, naive_world.Outcome]:
    """The reference engine after its play of the case, and what came out."""
    setup, requests, policy = slow_world(case)
    engine = naive_regions.RegionsEngine(setup, requests, geo_policy(case) or policy)
    return engine, engine.run()


def geo_policy(case: Case) -> naive.Policy | None:
    """The reference engine's policy of the case, if it is one over several regions."""
    chosen = case.config.policy
    if chosen.name == "greencourier":
        return naive_geo.GreenCourier(**chosen.options)
    if chosen.name == "follow-the-sun":
        return naive_geo.FollowTheSun(
            longitudes={name: region.longitude or 0.0 for name, region in case.config.fleet.regions.items()}
        )
    if chosen.name == "gaia":
        return naive_geo.Gaia(**chosen.options)
    if chosen.name == "caps-geo":
        weights = {
            name: getattr(chosen, name)
            for name in ("alpha", "beta", "lambda_", "risk_sharpness", "plan_every_s", "plan_margin")
        }
        return naive_geo.CapsGeo(**weights)
    return None
