"""Policies of publications on cases worked out by hand, played as Python: run with NUMBA_DISABLE_JIT=1 by
test_related.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from caps_fast import preset
from caps_fast.arrays import Array
from caps_fast.carbon.forecast import ForecastGrid
from caps_fast.carbon.monitor import Monitor
from caps_fast.carbon.trace import CarbonTrace
from caps_fast.outcome import Outcome
from caps_fast.pack_kinds import Means
from caps_fast.policies.carbon_scaler import greedy_now
from caps_fast.scenario import Scenario
from caps_fast.simulation import Run, prepare
from cases import play_fast
from plain import requests as gold_requests
from slow_engine import Case

HOUR_S = 3600.0
MEANS = Means(10.0, 10.0)
KIND = {"prefill_s_per_token": 1e-4, "decode_base_s": 0.02, "decode_s_per_seq": 0.001, "max_batch": 4}


def grid(g_per_kwh: Sequence[float]) -> Monitor:
    """Intensity by the hour from t = 0, which the forecast knows; the last holds on. No gate closes."""
    times_s = np.arange(len(g_per_kwh)) * HOUR_S
    values = np.array(g_per_kwh, float)
    trace = CarbonTrace(times_s, values, "average", "lifecycle", "test", "test")
    issues = [np.append(values[i:], np.full(i, values[-1])) for i in range(len(values))]
    return Monitor(trace, ForecastGrid(times_s, HOUR_S, np.array(issues)), 86400.0, np.zeros(1), np.full(1, 1e9))


def world(
    policy: str, grids: Mapping[str, Sequence[float]], role: str = "BP", replicas: int = 1, **changes: Any
) -> tuple[Scenario, list[Monitor]]:
    """A pool of one kind in each of some regions, for a day, under a policy."""
    data = {
        "gpus": {"gpu": KIND},
        "regions": {name: {} for name in grids},
        "pools": [{"name": name, "role": role, "replicas": replicas, "gpu": "gpu", "region": name} for name in grids],
    }
    base = {"policy.name": policy, "predictor.source": "declared", "days": 1.0, "control_step_s": 10.0, "drain_h": 48.0}
    limits = {
        f"slo.{tier}.{name}": None
        for tier in ("gold", "silver", "bronze")
        for name in ("ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s")
    }
    return preset("paper").replace(data | base | limits | changes), [grid(values) for values in grids.values()]


def bronze(arrival_s: Sequence[float], output_tokens: Any = 10) -> Array:
    block = gold_requests(arrival_s, np.full(len(arrival_s), 10), np.broadcast_to(output_tokens, len(arrival_s)))
    block["tier"] = 2
    return block


def play(config: Scenario, monitors: list[Monitor], requests: Array) -> Outcome:
    return play_fast(Case(config, monitors[0], requests, MEANS, tuple(monitors[1:])))


def pools(result: Outcome) -> list[int]:
    assert result.requests is not None
    return [int(pool) for pool in result.requests["pool"]]


def admitted_h(result: Outcome) -> list[float]:
    assert result.requests is not None
    return [round(float(at) / HOUR_S, 6) for at in result.requests["admitted_s"]]


def greencourier() -> None:
    """800, 200, 500, 450 g/kWh are 0, 100, 50 and 100 - round(41.67) = 58 points."""
    grids = {"es": [800.0], "fr": [200.0], "be": [500.0], "nl": [450.0]}
    config, monitors = world("greencourier", grids)
    assert pools(play(config, monitors, bronze([1.0]))) == [1]
    full = play(config, monitors, bronze([1.0] * 13))  # of 4 slots each, the cleanest first
    assert pools(full) == [1] * 4 + [3] * 4 + [2] * 4 + [0]
    far = {"origins": {"me": {"rtt_ms": {"fr": 41.0, "be": 0.0}}}, "policy.options": {"points_per_ms": 1.0}}
    assert pools(play(*world("greencourier", grids, **far), bronze([1.0]))) == [1], "59 points"
    far["origins"]["me"]["rtt_ms"]["fr"] = 43.0  # type: ignore[index]
    assert pools(play(*world("greencourier", grids, **far), bronze([1.0]))) == [3], "57 points, one less than 58"
    changing = {"a": [100.0, 300.0], "b": [200.0, 200.0]}
    late = play(*world("greencourier", changing), bronze([1.0, HOUR_S + 100.0, HOUR_S + 302.0]))
    assert pools(late) == [0, 1, 1]
    assert pools(play(*world("greencourier", changing), bronze([HOUR_S - 5.0, HOUR_S + 5.0, HOUR_S + 296.0]))) == [
        0,
        0,
        1,
    ], "five minutes"


def follow_the_sun() -> None:
    """On the equator at the equinox the sun is overhead at 180 E at 00:00 UTC, at 90 E at 06:00, at 0 at 12:00."""
    east = {"west": -120.0, "middle": 0.0, "east": 120.0}
    where = {"regions": {name: {"longitude": degrees} for name, degrees in east.items()}}
    config, monitors = world("follow-the-sun", {name: [100.0] for name in east}, **where)
    found = play(config, monitors, bronze([5 * HOUR_S, 12 * HOUR_S, 15.9 * HOUR_S, 16.1 * HOUR_S, 23.0 * HOUR_S]))
    assert pools(found) == [2, 1, 1, 0, 0]
    june = {name: {"longitude": 0.0, "latitude": degrees} for name, degrees in (("south", -40.0), ("north", 40.0))}
    for start, pool in (("2024-06-21T12:00", 1), ("2024-12-21T12:00", 0)):
        found = play(
            *world("follow-the-sun", {name: [100.0] for name in june}, regions=june, start=start), bronze([1.0])
        )
        assert pools(found) == [pool]


def gaia() -> None:
    """Saved per time until the end, from 300: an hour later (300 - 150) / 1 = 150 a unit, two hours later (300 -
    100) / 2 = 100.
    """
    near, far = [300.0, 150.0, 100.0, 250.0], [300.0, 290.0, 100.0, 250.0]
    for values, options, hour in (
        (near, {"carbon_time": 1}, 1.0),
        (far, {"carbon_time": 1}, 2.0),
        (near, {"carbon_time": 0}, 2.0),
        (near, {"carbon_time": 0, "wait_h": 1.5}, 1.0),
        (near, {"reserved_share": 0.5}, 0.0),
        ([100.0, 150.0], {}, 0.0),
    ):
        config, monitors = world("gaia", {"here": values}, **{"policy.options": options})
        assert admitted_h(play(config, monitors, bronze([0.0]))) == [hour], (values, options)
    config, monitors = world("gaia", {"here": far}, **{"slo.bronze.e2e_s": 1.5 * HOUR_S})
    assert admitted_h(play(config, monitors, bronze([0.0]))) == [1.0], "due before the third hour"
    config, monitors = world("gaia", {"here": far}, **{"slo.bronze.ttft_s": 10.0})
    assert admitted_h(play(config, monitors, bronze([0.0]))) == [0.0], "it may not wait"
    two = play(*world("gaia", {"here": near}), bronze([0.0, 1800.0]))
    assert two.metrics["held_share"] == 1.0
    assert admitted_h(two) == [1.0, 1.5], "half past: an hour later is 150, now is 300"


def carbon_scaler() -> None:
    """Work by the greedy choice of (slot, replica) by marginal capacity / intensity, as the authors'
    `ComputeSchedule` takes them.
    """
    config, monitors = world("carbon-scaler", {"here": [50.0, 20.0, 30.0, 40.0]}, replicas=2)
    state = _state(config, monitors)
    plan = state.memory[0]

    def schedule(work_h: float, due_h: float, elasticity: float = 1.0) -> list[int]:
        now = greedy_now(state, plan, 0, 0.0, due_h * HOUR_S, work_h * HOUR_S, 2, elasticity)
        taken: list[int] = plan.taken[:4].tolist()
        assert now == taken[0]
        return taken

    # One replica after another at the same worth in an hour: the cleanest hour fills up first.
    assert schedule(1.0, 3.0) == [0, 1, 0, 0]
    assert schedule(3.0, 3.0) == [0, 2, 1, 0]
    assert schedule(5.0, 3.0) == [1, 2, 2, 0]
    assert schedule(2.5, 1.5) == [2, 2, 0, 0], "half of the second hour is left"
    assert greedy_now(state, plan, 0, 0.0, HOUR_S, 99 * HOUR_S, 2, 1.0) == 2, "never enough"
    # The second replica adds sqrt(2) - 1 = 0.414: worth .0207 at 20, .0138 at 30; the first .05, .033, .025 and .02.
    assert schedule(2.0, 4.0, 0.5) == [0, 1, 1, 0]
    assert schedule(3.0, 4.0, 0.5) == [0, 1, 1, 1]
    assert schedule(3.2, 4.0, 0.5) == [0, 2, 1, 1]
    assert schedule(3.5, 4.0, 0.5) == [1, 2, 1, 1]
    sleeping = {
        "gpus.gpu.sleep_w": 0.0,
        "gpus.gpu.wake_s": 1.0,
        "slo.bronze.e2e_s": 3.5 * HOUR_S,
        "policy.scale_every_s": 60.0,
    }
    played = play(
        *world("carbon-scaler", {"here": [50.0, 20.0, 30.0, 40.0]}, replicas=2, **sleeping), bronze([5.0, 6.0])
    )
    assert all(1.0 <= hour < 1.1 for hour in admitted_h(played)), "in the cleanest hour"
    assert played.metrics["wakes"] == 1, "one replica is enough"


def green() -> None:
    """Up to 64, 128, 256 and more predicted tokens are levels 0 to 3; with a cleaner hour ahead a small backlog
    waits for it.
    """
    config, monitors = world(
        "green", {"here": [300.0, 100.0, 200.0]}, **{"slo.bronze.e2e_s": 20 * HOUR_S, "gpus.gpu.max_batch": 1}
    )
    tokens = [300, 200, 100, 50]
    played = play(config, monitors, bronze([1.0, 2.0, 3.0, 4.0], tokens))
    hours = admitted_h(played)
    assert all(1.0 <= hour < 1.1 for hour in hours)
    assert np.argsort(hours).tolist() == [3, 2, 1, 0], "the shorter level first"
    config, monitors = world("green", {"here": [300.0, 100.0]}, replicas=3, **{"slo.bronze.e2e_s": 20 * HOUR_S})
    packed = play(config, monitors, bronze([1.0] * 6, 50))
    assert packed.requests is not None
    assert sorted(np.bincount(packed.requests["gpu"], minlength=3).tolist()) == [0, 2, 4], "four fill one replica"


def caps_geo() -> None:
    """A round trip that breaks the limit costs lambda; a clean region far away is taken where limits allow it."""
    weights = {"policy.alpha": 1.0, "policy.beta": 0.5, "policy.lambda": 2.0}
    away = {"origins": {"me": {"rtt_ms": {"far": 300.0}}}}
    same = {"near": [200.0], "far": [200.0]}
    cleaner = {"near": [200.0], "far": [50.0]}
    for grids, limit_s, pool in ((same, 10.0, 0), (cleaner, 10.0, 1), (cleaner, 0.25, 0)):
        config, monitors = world("caps-geo", grids, "LP", **weights, **away, **{"slo.bronze.ttft_s": limit_s})
        assert pools(play(config, monitors, bronze([1.0]))) == [pool], (grids, limit_s)
    dear = {"links.kwh_per_gb": 1.0, "links.bytes_per_token": 1e7, "links.gbit_per_s": 1e6, "origins.me.home": "near"}
    config, monitors = world("caps-geo", cleaner, "LP", **weights, **away, **{"slo.bronze.ttft_s": 10.0} | dear)
    assert pools(play(config, monitors, bronze([1.0]))) == [0], "moving the context emits more than it saves"
    warm = {"regions": {"near": {}, "far": {"pue": 5.0}}}
    config, monitors = world("caps-geo", cleaner, "LP", **weights, **away, **warm)
    assert pools(play(config, monitors, bronze([1.0]))) == [0], "50 g/kWh at a PUE of 5"


def _state(config: Scenario, monitors: list[Monitor]) -> Any:
    """The arrays of a run at t = 0, rows with attributes as in the kernel."""
    state = Run.start(prepare(config, MEANS, monitors)).state
    return state._replace(
        **{
            name: getattr(state, name).view(np.recarray)
            for name in ("memory", "regions", "queues", "strength", "kinds")
        }
    )


if __name__ == "__main__":
    for check in (greencourier, follow_the_sun, gaia, carbon_scaler, green, caps_geo):
        check()
