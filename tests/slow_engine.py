"""The reference engine in plain Python (naive), set up for a case."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import naive
import naive_world
import waiting
from caps_fast import replica_section, scenario, sections
from caps_fast.arrays import Array
from caps_fast.carbon.monitor import Monitor
from caps_fast.clock_section import CLOCK_FIELDS
from caps_fast.fleet import Fleet
from caps_fast.origins import Origin
from caps_fast.pack_kinds import Means
from caps_fast.places import places_of
from reference import reference
from reference_policies import reference_policy
from scaler_cases import naive_limits

E = TypeVar("E", bound=naive.Engine)
ENGINE_TERMS = {
    "speed": (
        "overhead_s",
        "overlap_exponent",
        "mixed_s_per_context_token",
        "prefill_s_per_token_pair",
        "first_token_overhead_s",
    ),
    "lag": ("lag_iterations",),
    "memory": ("kv", "kv_block_tokens"),
    "power": ("prefill_w",),
}


@dataclass(frozen=True)
class Case:
    """A scenario with its grids, one per region, and its requests."""

    config: scenario.Scenario
    monitor: Monitor
    requests: Array
    means: Means
    others: tuple[Monitor, ...] = ()  # of the regions after the first

    @property
    def monitors(self) -> tuple[Monitor, ...]:
        return (self.monitor, *self.others)


def slow_reference(case: Case) -> naive.Engine:
    """The reference engine with all that the case needs, ready to play it."""
    return reference(case.config, *slow_world(case), slow_origins(case.config), case.requests)


def slow_engine(case: Case, engine: type[E]) -> E:
    """A reference engine, ready to play the case."""
    return engine(*slow_world(case))


def slow_world(case: Case) -> tuple[naive_world.Setup, list[naive_world.Request], naive.Policy]:
    """What the reference engine needs of a case."""
    config, fleet = case.config, case.config.fleet
    regions = {
        name: _naive_region(name, monitor, fleet) for name, monitor in zip(fleet.regions, case.monitors, strict=True)
    }
    origins = slow_origins(config)
    ways = (
        {(a, b): (config.links.terms(a, b), config.links.bytes_per_token) for a in fleet.regions for b in fleet.regions}
        if config.links
        else {}
    )
    kinds = {name: _naive_hardware(kind) for name, kind in fleet.kinds.items()}
    tiers = []
    for tier in config.slo.all:
        allowed = frozenset(tier.roles.split("/"))
        limits = [getattr(tier, name) or math.inf for name in ("ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s")]
        bound = frozenset(tier.regions) if tier.regions else None
        tiers.append(
            naive_world.Tier(*limits, allowed if allowed & set(fleet.roles) else frozenset(sections.ROLES), bound)
        )
    setup = naive_world.Setup(
        pools=[
            naive_world.Pool(pool.role, pool.replicas, kinds[pool.gpu], regions[pool.region], pool.clock)
            for pool in fleet.pools
        ],
        tiers=tiers,
        horizon_s=config.horizon_s,
        drain_s=config.drain_h * 3600,
        control_step_s=config.control_step_s,
        mean_input=case.means.input_tokens,
        mean_output=case.means.output_tokens,
        placement=config.policy.placement,
        tokens_per_resident=config.policy.tokens_per_resident,
        pack_below=config.policy.pack_below,
        scale_every_s=config.policy.scale_every_s,
        off_after_s=config.policy.off_after_s,
        move_s={way: size * 8 / (terms.gbit_per_s * 1e9) for way, (terms, size) in ways.items()},
        move_j={way: size * terms.kwh_per_gb * 3.6e6 / 1e9 for way, (terms, size) in ways.items()},
        limits=waiting.limits_of(config),
        fairness=waiting.fairness_of(config.policy),
    )
    told = ("arrival_s", "tier", "category", "tenant", "input_tokens", "output_tokens", "predicted_tokens")
    requests = [
        naive_world.Request(*(row[name] for name in told), origins[row["origin"]])
        for row in (
            {name: value.item() for name, value in zip(case.requests.dtype.names or (), row, strict=True)}
            for row in case.requests
        )
    ]
    return setup, requests, reference_policy(config)


def slow_origins(config: scenario.Scenario) -> list[naive_world.Origin]:
    """The reference engine's origins, row by row of the kernel's."""
    rows = places.rows if (places := places_of(config)) else [(Origin(), frozenset(config.fleet.regions))]
    return [
        naive_world.Origin({name: ms / 1000 for name, ms in one.rtt_ms.items()}, one.home, allowed)
        for one, allowed in rows
    ]


def _naive_hardware(kind: replica_section.Kind) -> naive_world.Hardware:
    return naive_world.Hardware(
        *(
            getattr(kind, name)
            for name in ("prefill_s_per_token", "decode_base_s", "decode_s_per_seq", "decode_s_per_context_token")
        ),
        kind.idle_w,
        kind.peak_w,
        kind.power_exponent,
        kind.gpus_per_replica,
        **{
            name: getattr(kind, name)
            for name in ("max_batch", "wake_s", "start_s", "stop_s", "replicas_per_node", "host_w")
        },
        **{
            name: math.nan if getattr(kind, name) is None else getattr(kind, name)
            for name in ("sleep_w", "start_w", "off_w")
        },
        chunk_tokens=kind.chunk_tokens if kind.prefill == "chunked" else 0,
        kv_capacity_tokens=kind.kv_capacity_tokens or math.inf,
        **{name: getattr(kind, name) for name in CLOCK_FIELDS[:-1]},
        **{name: getattr(kind, name) for names in ENGINE_TERMS.values() for name in names},
    )


def _naive_region(name: str, monitor: Monitor, fleet: Fleet) -> naive_world.Region:
    carbon, seen, marginal = (
        None if trace is None else naive_world.Carbon(trace.times_s.tolist(), trace.g_per_kwh.tolist())
        for trace in (monitor.trace, monitor.signal, monitor.marginal)
    )
    assert carbon is not None
    assert seen is not None
    first_s = max(seen.times_s[0], -monitor.window_s)
    return naive_world.Region(
        carbon=carbon,
        name=name,
        pue=fleet.regions[name].pue,
        **naive_limits(fleet.regions[name]),
        seen=seen,
        marginal=marginal,
        thresholds=list(zip(monitor.threshold_s.tolist(), monitor.threshold_g_per_kwh.tolist(), strict=True)),
        forecasts=[
            (t, monitor.forecast.step_s, row)
            for t, row in zip(monitor.forecast.issued_s.tolist(), monitor.forecast.g_per_kwh.tolist(), strict=True)
        ],
        gamma_mean=seen.integral(first_s, 0.0) / -first_s if first_s < 0 else seen.at(0.0),
    )
