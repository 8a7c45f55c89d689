"""From a scenario to the arrays of a simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from caps_fast import arrays, outcomes, records, scenario, sections
from caps_fast.arrays import N_STATES, NONE, State
from caps_fast.carbon.monitor import Monitor
from caps_fast.containers import agenda, tournament
from caps_fast.failures import fail, failure_rows
from caps_fast.fleet import Fleet
from caps_fast.memory import aligned, on_own_lines
from caps_fast.pack_kinds import (
    Means,
    average_request_s,
    decode_table_s,
    has_terms,
    kind_rows,
    kv_capacity_tokens,
    phase_rows,
    replica_power_w,
    replica_prompt_w,
    share_tables_w,
)
from caps_fast.pack_origins import bits, origin_rows, set_regions
from caps_fast.pack_scaling import Levels, levels_of, scaling_rows
from caps_fast.pack_sessions import session_rows
from caps_fast.pack_waiting import waiting_rows
from caps_fast.places import places_of
from caps_fast.policy import DECISIONS, TRAITS, is_gated, scales
from caps_fast.policy_choice import PLACEMENTS
from caps_fast.records import Array
from caps_fast.served import Region, Tier
from caps_fast.traits import sessions as has_sessions
from caps_fast.traits import traits

FIRST_ROOM = 65_536  # live requests
SMALL = (  # and written often
    *("clock", "queues", "spans", "regions", "pools", "accounts", "leap_end_s", "first_to_end", "tree", "room_tree"),
    *("touched", "dirty", "cells", "memory", "run_memory", "phases", "transit"),
)


def pack(
    config: scenario.Scenario, policy: Any, layout: str, monitors: Sequence[Monitor], means: Means, placed: bool = True
) -> State:
    """Fresh arrays for one run, `monitors` by region; no block, no room for live requests and no series yet.

    Unless `placed`, the origins of requests are ignored.
    """
    fleet = config.fleet
    levels = levels_of(config, policy)
    spans, queues = _spans_and_queues(fleet, layout, levels)
    sizes = (spans["end_gpu"] - spans["first_gpu"]).tolist()
    tree, spans["tree_at"], spans["width"] = tournament.build_trees(sizes)
    setup = _setup(config, policy, monitors, means)
    leap_end_s, first_to_end = agenda.plan(fleet.replicas)
    gpus = _gpus(fleet, queues, levels)
    regions = _regions(monitors)
    set_regions(regions, config)
    pools, slices = _pools(config, regions, monitors)
    pools["span"] = np.searchsorted(spans["first_gpu"], np.cumsum(fleet.sizes) - 1, side="right") - 1
    kinds = kind_rows(config, levels, means)
    free = kinds["kv_capacity_tokens"][gpus["kind"]]
    free[free == 0] = tournament.FULL
    share_w = [share_tables_w(levels.of(pool.gpu), pool.replicas) for pool in fleet.pools] if layout == "pools" else []
    queues["share_at"] = np.cumsum([0, *map(len, share_w[:-1])]) if share_w else 0
    most = max(kind.max_batch for kind in fleet.kinds.values())
    places = places_of(config) if placed else None
    plain = len(levels.rows) == len(fleet.regions) == 1 and setup[0]["by_residents"]
    state = State(
        traits=traits(
            fleet=not plain,
            terms=any(map(has_terms, fleet.kinds.values())),
            growth=bool(kinds["kv_block_tokens"].any()),
            scales=scales(type(policy)) or fail(config),
            origins=places is not None,
            timed=TRAITS[type(policy)].timed,
            clocks=levels.in_play,
            limits=bool(config.admission and config.admission.limits),
            sessions=config.workload.has_sessions,
            fair=config.policy.fairness != "none",
            fails=fail(config),
        ),
        **waiting_rows(config, len(queues), TRAITS[type(policy)].timed),
        **session_rows(config),
        **failure_rows(config, scaling_rows(config, levels)),
        **origin_rows(config, places, sum(len(monitor.trace.times_s) for monitor in monitors), layout),
        clock=records.zeros(arrays.Clock, 1),
        setup=setup,
        tiers=_tiers(config),
        queues=queues,
        spans=spans,
        gpus=gpus,
        kinds=kinds,
        regions=regions,
        pools=pools,
        accounts=records.zeros(arrays.Account, len(fleet.pools) * N_STATES),
        slices=slices,
        live=records.zeros(arrays.Live, 0),
        free=np.zeros(0, np.uint32),
        power_w=np.concatenate([replica_power_w(kind, np.arange(kind.max_batch + 1)) for kind in levels.rows]),
        prompt_w=np.concatenate(
            [
                np.zeros(0),
                *(replica_prompt_w(kind, np.arange(kind.max_batch + 1)) for kind in levels.rows if levels.in_play),
            ]
        ),
        share_w=np.concatenate([*share_w, np.zeros(0)]),
        finish_at=aligned(fleet.replicas * most, np.uint64).reshape(fleet.replicas, -1),
        decode_s=np.concatenate([decode_table_s(kind) for kind in levels.rows]),
        phases=phase_rows(fleet),
        leap_end_s=leap_end_s,
        first_to_end=first_to_end,
        tree=tree,
        room_tree=tournament.build_trees(sizes, -free)[0] if setup[0]["limits_kv"] else np.zeros(0, np.int64),
        touched=np.zeros(fleet.replicas, np.uint32),
        dirty=np.zeros(len(queues), np.uint32),
        carbon_s=_joined([monitor.trace.times_s for monitor in monitors]),
        carbon_g_per_kwh=_joined([monitor.trace.g_per_kwh for monitor in monitors]),
        seen_g_per_kwh=_joined([monitor.seen_at_samples for monitor in monitors]),
        carbon_integral=_joined([monitor.trace.integral_at_samples for monitor in monitors]),
        threshold_s=_joined([monitor.threshold_s for monitor in monitors]),
        threshold_g_per_kwh=_joined([monitor.threshold_g_per_kwh for monitor in monitors]),
        issued_s=_joined([monitor.forecast.issued_s for monitor in monitors]),
        forecast_g_per_kwh=_joined([monitor.forecast.g_per_kwh.ravel() for monitor in monitors]),
        block=records.zeros(arrays.Request, 0),
        done=records.zeros(outcomes.Done, 0),
        cells=records.zeros(arrays.Cell, arrays.N_CELLS),
        histograms=np.zeros((3, len(arrays.HISTOGRAMS), arrays.HISTOGRAM_BINS), np.int64),
        series=records.zeros(arrays.Sample, 0, len(fleet.pools)),
        memory=np.zeros(_memory_rows(config, policy, len(queues)), TRAITS[type(policy)].memory),
        run_memory=np.zeros(1, TRAITS[type(policy)].memory),
    )
    own: dict[str, Any] = {name: on_own_lines(getattr(state, name)) for name in SMALL}
    return state._replace(**own)


def with_room(state: State, incoming: int) -> State:
    """The same simulation with room for at least `incoming` more live requests; unwritten memory costs nothing."""
    clock, room = state.clock[0], len(state.live)
    missing = incoming - int(clock["free"] + room - clock["used"])
    return state if missing <= 0 else resized(state, room + max(missing, 3 * room, FIRST_ROOM))


def resized(state: State, room: int) -> State:
    """The same simulation with room for `room` live requests, at least as many as have been used."""
    used, free = int(state.clock[0]["used"]), int(state.clock[0]["free"])
    live: Any = aligned(room, arrays.LIVE, np.empty)
    stack = np.empty(room, np.uint32)
    live[:used].view(np.uint8)[:] = state.live[:used].view(np.uint8)  # field by field is slow
    stack[:free] = state.free[:free]
    if not has_sessions(state):
        return state._replace(live=live, free=stack)
    session_of = np.zeros(room, np.int32)
    session_of[:used] = state.session_of[:used]
    return state._replace(live=live, free=stack, session_of=session_of)


def _spans_and_queues(fleet: Fleet, layout: str, levels: Levels) -> tuple[Any, Any]:
    """The queues of a layout and their spans: neighbouring pools in one region."""
    names = list(fleet.regions)
    sizes, ends = np.array(fleet.sizes), np.cumsum(fleet.sizes)
    regions = np.array([names.index(pool.region) for pool in fleet.pools])
    batches = np.array([kind.max_batch for kind in fleet.kind_of])
    capacities = np.array([kv_capacity_tokens(kind) for kind in fleet.kind_of])
    if layout == "central":
        starts = np.flatnonzero(np.diff(regions, prepend=-1))
        spans = records.zeros(arrays.Span, len(starts))
        spans["first_gpu"], spans["end_gpu"] = (ends - sizes)[starts], ends[np.append(starts[1:], len(ends)) - 1]
        spans["region"] = regions[starts]
        of_spans = [capacities[first:end] for first, end in pairwise([*starts.tolist(), len(sizes)])]
        spans["kv_capacity_tokens"] = [own.max() if own.all() else 0 for own in of_spans]
        queues = records.zeros(arrays.Queue, 1)
        queues["end_gpu"], queues["end_span"], queues["slots"] = ends[-1], len(spans), (sizes * batches).sum()
        queues["kv_capacity_tokens"] = capacities.max() if capacities.all() else 0
        pool_of = np.zeros(1, int)
    else:
        pool_of = np.arange(len(sizes)) if layout == "pools" else np.repeat(np.arange(len(sizes)), sizes)
        queues = records.zeros(arrays.Queue, len(pool_of))
        queues["end_gpu"] = ends if layout == "pools" else np.arange(1, len(pool_of) + 1)
        queues["first_gpu"] = np.append(0, queues["end_gpu"][:-1])
        queues["first_span"], queues["end_span"] = np.arange(len(queues)), np.arange(1, len(queues) + 1)
        queues["slots"] = (queues["end_gpu"] - queues["first_gpu"]) * batches[pool_of]
        queues["kv_capacity_tokens"] = capacities[pool_of]
        spans = records.zeros(arrays.Span, len(queues))
        spans["first_gpu"], spans["end_gpu"], spans["region"] = queues["first_gpu"], queues["end_gpu"], regions[pool_of]
        spans["kv_capacity_tokens"] = queues["kv_capacity_tokens"]
    queues["per_gpu"] = 1.0 / (queues["end_gpu"] - queues["first_gpu"])
    queues["region"], queues["kind"] = regions[pool_of], np.array(levels.start)[pool_of]
    if layout == "pools":
        queues["role"] = [sections.ROLES.index(role) for role in fleet.roles]
    for name in ("head", "tail", "root", "flexible_tail"):
        queues[name] = NONE
    spans["open"], queues["open"], queues["reopened_s"] = 1, 1, -math.inf
    return spans, queues


def _regions(monitors: Sequence[Monitor]) -> Any:
    """Positions of each region's samples, thresholds and forecasts in the arrays of all regions."""
    rows = records.zeros(Region, len(monitors))
    samples = thresholds = issues = forecasts = 0
    for row, monitor in zip(rows, monitors, strict=True):
        row["carbon_first"] = samples
        row["carbon_at"] = samples + _in_force(monitor, 0.0)  # `slices` begin with it
        row["threshold_at"], row["issue_first"], row["issue_at"] = thresholds, issues, issues
        row["forecast_at"], row["leads"] = forecasts, monitor.forecast.g_per_kwh.shape[1]
        row["forecast_step_s"] = monitor.forecast.step_s
        samples += len(monitor.trace.times_s)
        thresholds += len(monitor.threshold_s)
        issues += len(monitor.forecast.issued_s)
        forecasts += monitor.forecast.g_per_kwh.size
        row["carbon_last"], row["threshold_last"], row["issue_last"] = samples - 1, thresholds - 1, issues - 1
    return rows


def _in_force(monitor: Monitor, t_s: float) -> int:
    """Index of the carbon sample in force at a time."""
    return max(int(np.searchsorted(monitor.trace.times_s, t_s, side="right")) - 1, 0)


def _pools(config: scenario.Scenario, regions: Any, monitors: Sequence[Monitor]) -> tuple[Any, Any]:
    """Pools, and room for the accounts of each in every sample of its region that a run may meet."""
    names, until_s = list(config.fleet.regions), config.horizon_s + config.drain_h * 3600
    rows = records.zeros(arrays.Pool, len(config.fleet.pools))
    at = 0
    for row, pool in zip(rows, config.fleet.pools, strict=True):
        z = row["region"] = names.index(pool.region)
        row["max_batch"] = config.fleet.kinds[pool.gpu].max_batch
        first, last = _in_force(monitors[z], 0.0), _in_force(monitors[z], until_s)
        row["slice_at"] = at - first - regions[z]["carbon_first"]
        at += last - first + 1
    return rows, records.zeros(arrays.Slice, at * N_STATES)


def _setup(config: scenario.Scenario, policy: Any, monitors: Sequence[Monitor], means: Means) -> Any:
    setup = records.zeros(arrays.Setup, 1)
    fleet, trace, kind = config.fleet, monitors[0].trace, type(policy)
    names = list(fleet.regions)
    own_place = kind in DECISIONS["place"].rules
    within = (trace.times_s < config.horizon_s) & (np.append(trace.times_s[1:], np.inf) > 0)
    low, high = np.quantile(trace.g_per_kwh[within], [1 / 3, 2 / 3])
    fields = {
        "control_step_s": config.control_step_s,
        "sample_step_s": math.inf,
        "horizon_s": config.horizon_s,
        "mean_input_tokens": means.input_tokens,
        "mean_output_tokens": means.output_tokens,
        "average_request": min(
            mean_before_start(monitors[names.index(pool.region)])
            * float(replica_power_w(own, np.ones(1))[0])
            * average_request_s(own, means, 1)
            for pool, own in zip(fleet.pools, fleet.kind_of, strict=True)
        ),
        "least_chunk_tokens": min(
            (own.chunk_tokens for own in fleet.kinds.values() if own.kv == "grow" and own.prefill == "chunked"),
            default=2**31,
        ),
        "low_g_per_kwh": low,
        "high_g_per_kwh": high,
        "tokens_per_resident": config.policy.tokens_per_resident,
        "placement": PLACEMENTS.index(config.policy.placement) if config.policy.placement in PLACEMENTS else 0,
        "by_residents": config.policy.placement == "residents" and not own_place,
        "limits_kv": any(own.kv_capacity_tokens for own in fleet.kinds.values()),
        "preempts": TRAITS[kind].preempts(policy),
        "gated": is_gated(kind),
        "watches_prompts": own_place or config.policy.placement == "prompts",
    }
    for name, value in fields.items():
        setup[name] = value
    return setup


def mean_before_start(monitor: Monitor) -> float:
    """Mean intensity of the rolling window at t = 0, g/kWh; without history, the intensity at t = 0."""
    trace = monitor.signal
    from_s = max(float(trace.times_s[0]), -monitor.window_s)
    mean = float(trace.integral(from_s, 0.0)) / -from_s if from_s < 0 else float(trace.at(0.0))
    return max(mean, 1e-9)


def _tiers(config: scenario.Scenario) -> Any:
    """Rows gold, silver, bronze, and a fourth with the mean of the finite limits, allowed everywhere."""
    limits = ("ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s")
    tiers = records.zeros(Tier, arrays.N_TIERS + 1)
    for row, tier in zip(tiers, config.slo.all, strict=False):
        for name in limits:
            row[name] = getattr(tier, name) or math.inf
        row["deadline_s"] = tier.ttft_s or tier.e2e_s or math.inf
        row["roles"] = sum(1 << sections.ROLES.index(role) for role in tier.roles.split("/"))
    for name in (*limits, "deadline_s"):
        finite = tiers[name][: arrays.N_TIERS][np.isfinite(tiers[name][: arrays.N_TIERS])]
        tiers[name][arrays.ANY_TIER] = sum(finite.tolist()) / len(finite) if len(finite) else math.inf
    everywhere = (1 << arrays.N_ROLES) - 1
    tiers["roles"][arrays.ANY_TIER] = everywhere
    present = sum(1 << sections.ROLES.index(role) for role in set(config.fleet.roles))
    tiers["roles"] = np.where(tiers["roles"] & present, tiers["roles"], everywhere)
    tiers["regions"] = [
        bits(regions, list(config.fleet.regions)) for regions in (*(tier.regions for tier in config.slo.all), None)
    ]
    return tiers


def _gpus(fleet: Fleet, queues: Any, levels: Levels) -> Any:
    gpus = aligned(fleet.replicas, arrays.GPU)
    gpus["pool"] = np.repeat(np.arange(len(fleet.pools)), fleet.sizes)
    gpus["kind"] = np.repeat(levels.start, fleet.sizes)
    gpus["queue"] = np.repeat(np.arange(len(queues)), queues["end_gpu"] - queues["first_gpu"])
    for name in ("prompt_head", "prompt_tail", "joiner_head", "joiner_tail", "waited_tail", "claim_head", "claim_tail"):
        gpus[name] = NONE
    return gpus


def _memory_rows(config: scenario.Scenario, policy: Any, queues: int) -> int:
    """Rows of the policy's memory."""
    named = {
        "queue": queues,
        "tenant": config.workload.tenants,
        "replica": config.fleet.replicas,
        "pool": len(config.fleet.pools),
    }
    return max(rows(policy) if callable(rows) else named[rows] for rows in TRAITS[type(policy)].rows)


def _joined(parts: list[Array]) -> Array:
    """Concatenated arrays; a single one unchanged."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
