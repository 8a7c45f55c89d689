"""Random cases played by both engines: the kernel and the slow reference of `naive.py`."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import naive_world
from caps_fast import arrays, scenario, sections
from caps_fast.arrays import Array
from caps_fast.carbon.forecast import ForecastGrid
from caps_fast.carbon.monitor import Monitor
from caps_fast.carbon.trace import CarbonTrace
from caps_fast.outcome import Outcome
from caps_fast.pack_kinds import Means
from caps_fast.simulation import Recording, Run, prepare
from clocked import give_clocks
from scaler_cases import JUMPY, give_scaling
from slow_engine import ENGINE_TERMS, Case, slow_reference

POLICIES = (
    "round-robin",
    "edf",
    "slo-aware",
    "carbon-aware",
    "caps",
    "caps-no-predictor",
    "caps-no-carbon",
    "caps-no-tiers",
)
LONGEST_TOKENS = 384  # of a request of `engines`, in blocks of 64: exp(5.5) + exp(4.9) = 379


@st.composite
def cases(draw: Any, policy: str | None = None) -> Case:
    """Small clusters under light to crushing load, with and without KV limits, tight and loose SLOs, gates that
    open and close.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pools = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    roles = draw(st.permutations(["LP", "CP", "BP"]))[: len(pools)]
    name = policy or draw(st.sampled_from(POLICIES))
    if name == "slo-aware":
        pools, roles = (
            draw(st.lists(st.integers(1, 3), min_size=3, max_size=3)),
            draw(st.permutations(["LP", "CP", "BP"])),
        )
    horizon_s = float(draw(st.sampled_from([40.0, 120.0])))
    limit = st.one_of(st.none(), st.floats(0.05, 60.0))
    tiers = {}
    for tier, share in zip(sections.TIERS, (0.3, 0.4, 0.3), strict=True):
        allowed = draw(st.sampled_from(["LP/CP/BP", "LP/CP", "LP", "BP"]))
        tiers[tier] = {
            "share": share,
            "roles": allowed,
            "ttft_s": draw(limit),
            "tpot_s": draw(limit),
            "e2e_s": draw(limit),
            "ttft_after_release_s": draw(limit),
        }
    kv = draw(st.sampled_from([None, 300, 900]))
    config = scenario.build(
        {
            "days": horizon_s / 86400.0,
            "drain_h": draw(st.sampled_from([0.0, 0.01, 1.0])),
            "control_step_s": draw(st.sampled_from([0.7, 1.0, 5.0])),
            "cluster": {
                "gpus": sum(pools),
                "split": "/".join(map(str, pools)),
                "roles": "/".join(roles),
                "max_batch": draw(st.integers(1, 4)),
                "prefill": draw(st.sampled_from(["chunked", "unchunked"])),
                "chunk_tokens": draw(st.sampled_from([1, 7, 64, 512])) if kv is None else 64,
                "kv_capacity_tokens": kv,
            },
            "gpu": {
                "prefill_s_per_token": float(rng.uniform(1e-4, 5e-3)),
                "decode_base_s": float(rng.uniform(0.01, 0.1)),
                "decode_s_per_seq": float(rng.uniform(0, 0.02)),
                "decode_s_per_context_token": draw(st.sampled_from([0.0, 1e-5, 1e-4])),
                "gpus_per_replica": draw(st.integers(1, 2)),
            },
            "slo": tiers,
            "workload": {},
            "carbon": {},
            "monitor": {},
            "policy": {
                "name": name,
                "alpha": draw(st.sampled_from([0.0, 1.0])),
                "beta": draw(st.sampled_from([0.0, 0.5, 3.0])),
                "lambda": draw(st.sampled_from([0.0, 2.0])),
                "queueing": draw(st.sampled_from([None, "cyclic"])),
                "plan_every_s": draw(st.sampled_from([1.0, 10.0])),
                "plan_margin": draw(st.floats(0.5, 20.0)),
            },
            "predictor": {},
        },
        "case",
    )
    return Case(config, _grid(draw, rng, horizon_s), _requests(draw, rng, horizon_s), Means(60.0, 20.0))


@st.composite
def fleets(draw: Any, policy: str | None = None) -> Case:
    """A case whose pools are of several kinds in several regions, under any placement."""
    case = draw(cases(policy))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    config, short = case.config, case.config.fleet.only_kind
    kinds = {"a": short.model_dump(mode="json")}
    for name in ("b", "c")[: draw(st.integers(0, 2))]:
        kinds[name] = kinds["a"] | {
            "max_batch": draw(st.integers(1, 6)),
            "decode_base_s": float(rng.uniform(0.01, 0.1)),
            "prefill_s_per_token": float(rng.uniform(1e-4, 5e-3)),
            "chunk_tokens": draw(st.sampled_from([short.chunk_tokens, 16])),
            "prefill": draw(st.sampled_from([short.prefill, "chunked"])),
            "kv_capacity_tokens": draw(st.sampled_from([short.kv_capacity_tokens, 900])),
            "idle_w": draw(st.sampled_from([0.0, 70.0, 100.0])),
            "gpus_per_replica": draw(st.integers(1, 2)),
        }
    regions = ["here", "there"][: draw(st.integers(1, 2))]
    pools = [{"name": pool.name, "role": pool.role, "replicas": pool.replicas} for pool in config.fleet.pools]
    for extra in range(draw(st.integers(0, 2))):
        pools.append(
            {
                "name": f"more{extra}",
                "role": draw(st.sampled_from(["LP", "CP", "BP"])),
                "replicas": draw(st.integers(1, 2)),
            }
        )
    for at, pool in enumerate(pools):
        pool["gpu"] = [*kinds][at % len(kinds)] if at < len(kinds) else draw(st.sampled_from([*kinds]))
        pool["region"] = regions[at % len(regions)] if at < len(regions) else draw(st.sampled_from(regions))
    kinds = {name: kind for name, kind in kinds.items() if name in {pool["gpu"] for pool in pools}}
    regions = [name for name in regions if name in {pool["region"] for pool in pools}]
    data = config.model_dump(mode="json") | dict.fromkeys(("cluster", "gpu", "carbon", "monitor"))
    data |= {"gpus": kinds, "regions": {name: {} for name in regions}, "pools": pools}
    data["policy"] = data["policy"] | {
        "placement": draw(st.sampled_from(["residents", "prompts", "pack", "fastest"])),
        "pack_below": draw(st.sampled_from([0.0, 0.5, 1.0])),
    }
    others = tuple(_grid(draw, rng, config.horizon_s) for _ in regions[1:])
    return Case(scenario.build(data, "fleet"), case.monitor, case.requests, case.means, others)


@st.composite
def engines(draw: Any, policy: str | None = None, groups: Collection[str] = tuple(ENGINE_TERMS)) -> Case:
    """A fleet whose kinds have any terms of these ENGINE_TERMS, and little memory for requests that are long and
    come at once.
    """
    case = draw(fleets(policy))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = case.config.model_dump(mode="json")
    for kind in data["gpus"].values():
        terms = {
            "overhead_s": kind["decode_base_s"] * draw(st.sampled_from([0.0, 0.3, 1.0])),
            "overlap_exponent": draw(st.sampled_from([1.0, 2.0, 4.5, 1e6])),
            "mixed_s_per_context_token": draw(st.sampled_from([0.0, 1e-4])),
            "prefill_s_per_token_pair": draw(st.sampled_from([0.0, 2e-6])),
            "first_token_overhead_s": draw(st.sampled_from([0.0, 0.01, 2.0])),
            "lag_iterations": draw(st.integers(0, 1)),
            "kv": draw(st.sampled_from(["grow", "grow", "reserve"])),
            "kv_block_tokens": draw(st.sampled_from([1, 16, 64])),
            "prefill_w": draw(st.sampled_from([None, 200.0, 700.0])),
        }
        limits = {
            "max_batch": draw(st.sampled_from([8, 5, 2])),
            "prefill": draw(st.sampled_from(["chunked", "chunked", "unchunked"])),
            "chunk_tokens": draw(st.sampled_from([7, 32, 100, 512])),
            "kv_capacity_tokens": draw(st.sampled_from([LONGEST_TOKENS, 400, 700])),
        }
        kind.update(limits | {name: terms[name] for group in groups for name in ENGINE_TERMS[group]})
    if (
        len(data["gpus"]) > 1
        and case.config.policy.name in ("edf", "carbon-aware")
        and case.config.policy.queueing is None
        and draw(st.booleans())
    ):
        data["gpus"][min(data["gpus"])]["kv_capacity_tokens"] = 130  # in one queue with kinds that hold what it cannot
    for pool in data["pools"]:
        pool["replicas"] = min(pool["replicas"], 2)
    count = int(rng.integers(10, 60))
    requests = np.zeros(count, arrays.REQUEST)
    requests["arrival_s"] = np.sort(
        rng.uniform(0, case.config.horizon_s * draw(st.sampled_from([0.02, 0.1, 1.0])), count)
    )
    requests["input_tokens"] = np.exp(rng.uniform(1.0, 5.5, count)).astype(int)
    requests["output_tokens"] = np.exp(rng.uniform(0.0, 1.0, count) ** 0.5 * 4.9).astype(int)
    requests["predicted_tokens"] = requests["output_tokens"] * np.exp(rng.normal(0, 0.3, count))
    requests["tier"] = rng.integers(0, 3, count)
    requests["category"] = rng.integers(0, 3, count)
    return replace(case, config=scenario.build(data, "engine"), requests=requests)


@st.composite
def scaled(
    draw: Any, policy: str | None = None, scaling: str = JUMPY, with_terms: bool = False, with_clocks: bool = False
) -> Case:
    """A fleet that grows and shrinks, with replicas that sleep, nodes that may be off, and delays from none to
    long; of `engines`, if wanted.
    """
    case = draw(engines(policy) if with_terms else fleets(policy))
    data = case.config.model_dump(mode="json")
    give_scaling(draw, data, scaling)
    if with_clocks:
        give_clocks(draw, data)
    return replace(case, config=scenario.build(data, "scaled"))


def _grid(draw: Any, rng: np.random.Generator, horizon_s: float) -> Monitor:
    samples = draw(st.integers(1, 12))
    times_s = np.concatenate([[-50.0], np.sort(rng.uniform(0, 2 * horizon_s, samples))])
    levels = rng.choice([50.0, 100.0, 200.0, 400.0], samples + 1) + rng.uniform(0, 1, samples + 1)
    issued_s = np.array([-20.0, 0.0, horizon_s / 3, horizon_s / 2])
    leads = draw(st.integers(1, 20))
    forecast = ForecastGrid(
        issued_s=issued_s, step_s=draw(st.sampled_from([3.0, 11.0])), g_per_kwh=rng.uniform(50, 400, (4, leads))
    )
    trace = CarbonTrace(
        times_s=times_s, g_per_kwh=levels, kind="average", scope="lifecycle", zone="test", source="test"
    )
    thresholds = rng.choice([0.0, 120.0, 300.0, 1000.0], len(times_s), p=[0.1, 0.3, 0.3, 0.3])
    return Monitor(
        trace=trace, forecast=forecast, threshold_s=times_s, threshold_g_per_kwh=thresholds, window_s=86400.0
    )


def _requests(draw: Any, rng: np.random.Generator, horizon_s: float) -> Array:
    count = draw(st.integers(0, 80))
    block = np.zeros(count, arrays.REQUEST)
    block["arrival_s"] = np.sort(rng.uniform(0, horizon_s, count))
    if draw(st.booleans()):
        block["arrival_s"][1::3] = block["arrival_s"][::3][: len(block["arrival_s"][1::3])]
    block["input_tokens"] = np.exp(rng.uniform(0, 5.2, count)).astype(int)
    block["output_tokens"] = np.maximum(1, np.exp(rng.uniform(-0.7, 4.2, count))).astype(int)
    block["predicted_tokens"] = block["output_tokens"] * np.exp(rng.normal(0, 0.3, count))
    block["tier"] = rng.integers(0, 3, count)
    block["category"] = rng.integers(0, 3, count)
    return block


def play_fast(case: Case, block: int = 10**9) -> Outcome:
    """The kernel's play, fed in blocks of so many requests (requests that arrive together stay together)."""
    declared = case.config.replace({"predictor.source": "declared"})
    run = Run.start(prepare(declared, case.means, case.monitors), Recording(requests=True))
    run.config = case.config
    at = 0
    while at < len(case.requests):
        end = min(at + block, len(case.requests))
        while end < len(case.requests) and case.requests["arrival_s"][end] == case.requests["arrival_s"][end - 1]:
            end += 1
        until_s = (
            case.requests["arrival_s"][end]
            if end < len(case.requests)
            else math.nextafter(case.requests["arrival_s"][-1], math.inf)
        )
        run.feed(case.requests[at:end].copy(), float(until_s))
        at = end
    return run.finish()


def play_slow(case: Case) -> naive_world.Outcome:
    """The reference engine's play of the same case."""
    return slow_reference(case).run()
