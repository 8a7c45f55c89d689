"""From a scenario to the arrays of a simulation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from caps_fast import arrays, scenario, sections
from caps_fast.arrays import NONE, Array, State
from caps_fast.carbon.monitor import Monitor
from caps_fast.containers import agenda, tournament
from caps_fast.memory import aligned, on_own_lines
from caps_fast.policy import TRAITS, is_gated

FIRST_ROOM = 65_536  # live requests
SMALL = ("clock", "queues", "pools", "leap_end_s", "first_to_end", "tree", "room_tree", "touched", "dirty", "cells")  # and written to all the time


class Means(NamedTuple):
    """What a scheduler knows of the workload in advance."""

    input_tokens: float
    output_tokens: float


def pack(config: scenario.Scenario, policy: Any, layout: str, monitor: Monitor, means: Means) -> State:
    """Fresh arrays for one run; no block, no room for live requests and no series yet."""
    gpus = config.cluster.gpus
    ranges = queue_ranges(config, layout)
    sizes = [end - first for first, end, _ in ranges]
    tree, places = tournament.plant([np.zeros(size, np.int64) for size in sizes])
    room_tree = np.zeros(0, np.int64)
    if config.cluster.kv_capacity_tokens is not None:
        room_tree, _ = tournament.plant([np.full(size, -config.cluster.kv_capacity_tokens) for size in sizes])
    leap_end_s, first_to_end = agenda.plan(gpus)
    setup = _setup(config, policy, monitor, means)
    queues = _queues(ranges, config.cluster.max_batch)
    share_w = [_share_table(config, end - first) for first, end, _ in ranges] if layout == "pools" else []
    queues["share_at"] = np.cumsum([0, *map(len, share_w[:-1])]) if share_w else 0
    state = State(
        clock=arrays.zeros(arrays.Clock, 1),
        setup=setup,
        tiers=_tiers(config),
        queues=queues,
        gpus=_gpus(config, ranges),
        pools=arrays.zeros(arrays.Pool, len(config.cluster.pools)),
        live=arrays.zeros(arrays.Live, 0),
        free=np.zeros(0, np.uint32),
        power_w=replica_power_w(config, np.arange(config.cluster.max_batch + 1)),
        share_w=np.concatenate([*share_w, np.zeros(0)]),
        finish_at=aligned(gpus * config.cluster.max_batch, np.uint64).reshape(gpus, -1),
        leap_end_s=leap_end_s,
        first_to_end=first_to_end,
        tree=tree,
        room_tree=room_tree,
        places=places,
        touched=np.zeros(gpus, np.uint32),
        dirty=np.zeros(len(ranges), np.uint32),
        carbon_s=monitor.trace.times_s,
        carbon_g_per_kwh=monitor.trace.g_per_kwh,
        carbon_integral=monitor.trace.integral_at_samples,
        threshold_s=monitor.threshold_s,
        threshold_g_per_kwh=monitor.threshold_g_per_kwh,
        issued_s=monitor.forecast.issued_s,
        forecast_g_per_kwh=monitor.forecast.g_per_kwh,
        block=arrays.zeros(arrays.Request, 0),
        done=arrays.zeros(arrays.Done, 0),
        cells=arrays.zeros(arrays.Cell, 27),
        histograms=np.zeros((3, len(arrays.HISTOGRAMS), arrays.HISTOGRAM_BINS), np.int64),
        series=arrays.zeros(arrays.Sample, 0, len(config.cluster.pools)),
    )
    own: dict[str, Any] = {name: on_own_lines(getattr(state, name)) for name in SMALL}
    return state._replace(**own)


def with_room(state: State, incoming: int) -> State:
    """The same simulation with room for `incoming` more live requests, and for many more: memory is taken up only where it is written to."""
    clock, room = state.clock[0], len(state.live)
    missing = incoming - int(clock["free"] + room - clock["used"])
    return state if missing <= 0 else resized(state, room + max(missing, 3 * room, FIRST_ROOM))


def resized(state: State, room: int) -> State:
    """The same simulation with room for so many live requests, not fewer than have been used."""
    used, free = int(state.clock[0]["used"]), int(state.clock[0]["free"])
    live: Any = aligned(room, arrays.LIVE, np.empty)
    stack = np.empty(room, np.uint32)
    live[:used].view(np.uint8)[:] = state.live[:used].view(np.uint8)  # field by field is slow
    stack[:free] = state.free[:free]
    return state._replace(live=live, free=stack)


def queue_ranges(config: scenario.Scenario, layout: str) -> list[tuple[int, int, int]]:
    """First GPU, end GPU and role of every queue of a layout."""
    roles = [sections.ROLES.index(role) for role in config.cluster.pool_roles]
    ends = np.cumsum(config.cluster.pools).tolist()
    if layout == "pools":
        return list(zip([0, *ends[:-1]], ends, roles, strict=True))
    if layout == "central":
        return [(0, ends[-1], arrays.LP)]
    return [(gpu, gpu + 1, arrays.LP) for gpu in range(ends[-1])]


def _setup(config: scenario.Scenario, policy: Any, monitor: Monitor, means: Means) -> Any:
    setup = arrays.zeros(arrays.Setup, 1)
    gpu, cluster, trace = config.gpu, config.cluster, monitor.trace
    fields = {name: getattr(gpu, name) for name in ("prefill_s_per_token", "decode_base_s", "decode_s_per_seq", "decode_s_per_context_token")}
    fields |= {"mean_input_tokens": means.input_tokens, "mean_output_tokens": means.output_tokens}
    fields |= {"control_step_s": config.control_step_s, "sample_step_s": math.inf, "forecast_step_s": monitor.forecast.step_s}
    within = (trace.times_s < config.horizon_s) & (np.append(trace.times_s[1:], np.inf) > 0)
    fields["low_g_per_kwh"], fields["high_g_per_kwh"] = np.quantile(trace.g_per_kwh[within], [1 / 3, 2 / 3])
    fields["mean_gamma"] = _mean_before_start(monitor)
    fields["service_s"] = _average_request_s(gpu, means, cluster.max_batch)
    fields["average_request"] = fields["mean_gamma"] * float(replica_power_w(config, np.ones(1))[0]) * _average_request_s(gpu, means, 1)
    fields |= {"kv_capacity_tokens": cluster.kv_capacity_tokens or 0, "max_batch": cluster.max_batch}
    fields["chunk_tokens"] = cluster.chunk_tokens if cluster.prefill == "chunked" else 0
    fields |= {"preempts": TRAITS[type(policy)].preempts(policy), "gated": is_gated(type(policy))}
    for name, value in fields.items():
        setup[name] = value
    return setup


def _average_request_s(gpu: sections.Gpu, means: Means, batch: int) -> float:
    """How long an average request takes, its prompt alone and then decoding in a batch of so many (Eq. 1)."""
    return gpu.prefill_s_per_token * means.input_tokens + (gpu.decode_base_s + gpu.decode_s_per_seq * batch) * means.output_tokens


def _mean_before_start(monitor: Monitor) -> float:
    """Mean intensity of the rolling window at t = 0, g/kWh; the intensity at t = 0 where nothing is known from before."""
    trace = monitor.trace
    from_s = max(float(trace.times_s[0]), -monitor.window_s)
    mean = float(trace.integral(from_s, 0.0)) / -from_s if from_s < 0 else float(trace.at(0.0))
    return max(mean, 1e-9)


def _tiers(config: scenario.Scenario) -> Any:
    """Rows gold, silver, bronze, and a fourth with the mean of the finite limits, allowed everywhere."""
    tiers = arrays.zeros(arrays.Tier, 4)
    for row, tier in zip(tiers, config.slo.all, strict=False):
        for name in ("ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s"):
            row[name] = getattr(tier, name) or math.inf
        row["deadline_s"] = tier.ttft_s or tier.e2e_s or math.inf
        row["roles"] = sum(1 << sections.ROLES.index(role) for role in tier.roles.split("/"))
    for name in ("ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s", "deadline_s"):
        finite = tiers[name][:3][np.isfinite(tiers[name][:3])]
        tiers[name][3] = sum(finite.tolist()) / len(finite) if len(finite) else math.inf
    tiers["roles"][3] = 0b111
    present = sum(1 << sections.ROLES.index(role) for role in set(config.cluster.pool_roles))
    tiers["roles"] = np.where(tiers["roles"] & present, tiers["roles"], 0b111)
    return tiers


def _queues(ranges: list[tuple[int, int, int]], max_batch: int) -> Any:
    queues = arrays.zeros(arrays.Queue, len(ranges))
    for queue, (first, end, role) in zip(queues, ranges, strict=True):
        queue["first_gpu"], queue["end_gpu"], queue["role"] = first, end, role
        queue["slots"], queue["per_gpu"] = (end - first) * max_batch, 1.0 / (end - first)
    for name in ("head", "tail", "root", "flexible_tail"):
        queues[name] = NONE
    queues["open"] = 1
    queues["reopened_s"] = -math.inf
    return queues


def _gpus(config: scenario.Scenario, ranges: list[tuple[int, int, int]]) -> Any:
    gpus = aligned(config.cluster.gpus, arrays.GPU)
    gpus["pool"] = np.repeat(np.arange(len(config.cluster.pools)), config.cluster.pools)
    gpus["queue"] = np.repeat(np.arange(len(ranges)), [end - first for first, end, _ in ranges])
    for name in ("prompt_head", "prompt_tail", "joiner_head", "joiner_tail", "claim_head", "claim_tail"):
        gpus[name] = NONE
    return gpus


def replica_power_w(config: scenario.Scenario, members: Array) -> Array:
    """What a replica draws by its members (Eq. 2), in watts."""
    gpu = config.gpu
    load = members / config.cluster.max_batch
    return np.asarray(gpu.gpus_per_replica * (gpu.idle_w + (gpu.peak_w - gpu.idle_w) * load**gpu.power_exponent))


def _share_table(config: scenario.Scenario, gpus: int) -> Array:
    """What one more request would draw in a pool, by those present: float64 (slots + 1,)."""
    batch = np.minimum(1 + np.arange(gpus * config.cluster.max_batch + 1) / gpus, config.cluster.max_batch)
    return replica_power_w(config, batch) / batch
