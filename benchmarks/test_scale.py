"""How cost and memory grow: with GPUs, pools, the horizon, the batch and the depth of queues."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from caps_fast.scenario import Scenario
from caps_fast.simulation import simulate

from .measure import Work, exponent, peak_memory_in_child
from .scenarios import DECLARED, LEARNED, capacity_rps, fleet, paper, simulating, starting

OPEN = "caps-no-carbon"  # CAPS with its gates open, so that what is compared does not depend on the hour of the day
FLEETS = (24, 240, 2_400, 20_000, 10_000)
MEMORY_LIMIT_MB = 600.0
JUMPY = str(Path(__file__).parent.parent / "tests" / "jumpy.py")
SIMULATE = """
import sys
from benchmarks.scenarios import fleet, paper
from caps_fast.simulation import simulate
policy, hours, gpus = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
simulate(paper(policy, hours / 24) if gpus == 24 else fleet(policy, gpus, 1e6))
"""


@pytest.mark.parametrize("policy", ["round-robin", "edf", "slo-aware", OPEN])
def test_fleet(timing, sizes, quick, policy):
    if quick and policy in {"edf", "slo-aware"}:
        pytest.skip("not in a quick run")
    configs = {f"{gpus:,} GPUs": fleet(policy, gpus, sizes.fleet_requests) for gpus in FLEETS}
    cost = timing.net_of_start(_works(configs, simulating), _works(configs, starting), min(sizes.rounds, 3))
    for gpus in FLEETS[1:]:
        target = 2.2 if gpus == 10_000 else None
        timing.ratio(f"{policy}: {gpus:,} GPUs / 24 GPUs", cost[f"{gpus:,} GPUs"] / cost["24 GPUs"], target=target)


def test_fleet_that_scales(timing, sizes):
    """Every minute every pool is given another size, drawn at random."""
    changes = {"policy__scaling": JUMPY, "gpu__start_s": 5.0, "gpu__stop_s": 5.0}
    configs = {f"{gpus:,} GPUs": fleet("edf", gpus, sizes.fleet_requests, **changes) for gpus in (24, 10_000)}
    cost = timing.net_of_start(_works(configs, simulating), _works(configs, starting), min(sizes.rounds, 3))
    timing.ratio("edf, scaling: 10,000 GPUs / 24 GPUs", cost["10,000 GPUs"] / cost["24 GPUs"], target=2.2)


def test_pools(timing, sizes):
    works = {f"{pools} pools": simulating(fleet(OPEN, 240, sizes.fleet_requests / 3, pools)) for pools in (3, 30)}
    cost = timing.by_turns(works)
    timing.ratio(f"{OPEN}: 240 GPUs in 30 pools / in 3 pools", cost["30 pools"] / cost["3 pools"])


@pytest.mark.parametrize("policy", ["edf", LEARNED])
def test_horizon(timing, sizes, quick, policy):
    if quick and policy == LEARNED:
        pytest.skip("not in a quick run")
    shortest_h = 24 if policy == LEARNED else 0  # hours differ under CAPS
    configs = {_span(hours): paper(policy, hours / 24) for hours in sizes.horizons_h if hours >= shortest_h}
    works = _works(configs, simulating)
    cost = timing.net_of_start(works, _works(configs, starting), min(sizes.rounds, 3), turn_s=math.inf)
    growth = exponent(
        [work.units for work in works.values()], [cost[label] * work.units for label, work in works.items()]
    )
    first, *_, last = configs
    timing.ratio(f"{policy}: exponent of cost over requests, {first} to {last}", growth, target=1.02)


def test_memory(timing, sizes):
    """Peak memory of a process that simulates one run, imports included."""
    runs = [
        (policy, hours, 24) for policy in (DECLARED, LEARNED) for hours in (sizes.horizons_h[0], sizes.horizons_h[-1])
    ] + [(OPEN, 0, 10_000)]
    simulate(paper(LEARNED, 0.01))  # the model is trained and kept, the kernels are compiled
    timing.benchmark.pedantic(lambda: None)
    for policy, hours, gpus in runs:
        peak_mb = peak_memory_in_child(SIMULATE, policy, str(hours), str(gpus)) / 1e6
        what = f"{policy}, {_span(hours)}" if gpus == 24 else f"{policy}, {gpus:,} GPUs"
        timing.figure(f"peak memory: {what}", peak_mb, "MB", limit=MEMORY_LIMIT_MB)
        timing.ratio(f"peak memory / {MEMORY_LIMIT_MB:g} MB: {what}", peak_mb / MEMORY_LIMIT_MB, target=1.0)


@pytest.mark.parametrize("policy", ["edf", OPEN])
def test_batch(timing, sizes, policy):
    """Nine tenths of what the GPUs can do, with up to 512 sequences on each."""
    works, batches = {}, (32, 128, 512)
    for batch in batches:
        rate = 0.9 * capacity_rps(fleet(policy, 24, 1, cluster__max_batch=batch))
        works[f"batch {batch}"] = simulating(
            fleet(policy, 24, sizes.fleet_requests / 3, cluster__max_batch=batch, rate=rate)
        )
    cost = timing.by_turns(works, rounds=min(sizes.rounds, 3))
    timing.ratio(f"{policy}: batches of 512 / of 32", cost["batch 512"] / cost["batch 32"])


@pytest.mark.parametrize("policy", ["edf", "slo-aware", DECLARED])
def test_overload(timing, sizes, policy):
    """Twice what the GPUs can do, without drain: queues grow all the time, and half of the work is left over."""
    rate = 2.0 * capacity_rps(fleet(policy, 24, 1))
    works, requests = {}, []
    for hours in sizes.overload_h:
        config = fleet(policy, 24, rate * hours * 3600, rate=rate, drain_h=0.0)
        works[f"{hours:g} h"] = simulating(config)
        requests.append(works[f"{hours:g} h"].units)
        left = simulate(config).metrics["unfinished"]
        assert left > 0.3 * requests[-1]
        timing.note(f"after {hours:g} h, {left:,} of {requests[-1]:,.0f} requests are unfinished")
    cost = timing.by_turns(works, rounds=min(sizes.rounds, 3))
    growth = exponent(requests, [cost[label] * work.units for label, work in works.items()])
    timing.ratio(f"{policy}: exponent of cost over requests under overload", growth)


def test_kv_limit(timing, sizes):
    """Memory for tokens, not the batch, bounds what a GPU holds, so that requests wait for one with room."""
    works = {}
    for gpus in (24, 1_200):
        rate = 0.95 * capacity_rps(fleet("edf", gpus, 1))
        config = fleet(
            "edf",
            gpus,
            max(sizes.fleet_requests / 3, 300 * rate),
            rate=rate,
            cluster__max_batch=128,
            cluster__kv_capacity_tokens=42_000,
        )
        works[f"{gpus:,} GPUs"] = simulating(config)
    cost = timing.by_turns(works, rounds=min(sizes.rounds, 3))
    timing.ratio("edf: 1,200 GPUs / 24 GPUs where KV memory binds", cost["1,200 GPUs"] / cost["24 GPUs"])


def _works(configs: dict[str, Scenario], work: Callable[[Scenario], Work]) -> dict[str, Work]:
    return {label: work(config) for label, config in configs.items()}


def _span(hours: float) -> str:
    return f"{hours:g} h" if hours < 24 else f"{hours / 24:g} d"
