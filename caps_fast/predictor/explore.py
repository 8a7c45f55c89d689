"""Exploratory routing: requests sent to pools at random, under loads from idle to overload, to see which of them miss their SLO.

The requests are cut into stretches; in each the rate, the pools' shares and the gates are drawn anew. Order and pre-emption are those of CAPS.
What the risk model may know is noted at every arrival, before the request counts in any load; what became of it, when it has finished.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from caps_fast import arrays, scenario
from caps_fast._jit import inlined
from caps_fast.arrays import LP, SLACK, Array, State
from caps_fast.carbon.forecast import ForecastGrid
from caps_fast.carbon.monitor import Monitor
from caps_fast.carbon.trace import CarbonTrace
from caps_fast.choose import compile_for
from caps_fast.engine.loop import advance
from caps_fast.errors import InputError
from caps_fast.pack import Means, pack, with_room
from caps_fast.policies.caps import by_role
from caps_fast.policies.risk import load_of
from caps_fast.policy import policy, rules
from caps_fast.workload.streams import stream

RISK_FEATURES = ("tier", "role", "gate", "input_tokens", "predicted_tokens", "residents", "waiting", "ahead_tokens")
FEWEST = 500  # requests that are worth learning from
STRETCHES = 200
SHORTEST, LONGEST = 500, 5000  # requests in a stretch
REFILLS = 3  # times that a stretch could fill the cluster's slots, so that its load sets in
BLOCK = 16_384
CHANGES = 0.001  # of the shortest stretch, in which a gate that is to change does
LOADS = (0.02, 1.5)  # of what the cluster can serve, log-uniform
CLOSED_SHARE = 0.3  # of stretches, for the gates of pools that may close


class Explorer(NamedTuple):
    """Draws for every stretch, and the notes."""

    shares: Array  # float64 (stretches, queues): weights of the pools
    closed: Array  # int8 (stretches, queues)
    uniforms: Array  # float64 (requests,)
    notes: Array  # float64 (noted requests, len(RISK_FEATURES)), written at arrival
    stretch: int = 1  # requests a stretch
    every: int = 1  # one request out of so many is noted
    tiered: int = 1


policy(layout="pools", preempts=lambda explorer: bool(explorer.tiered))(Explorer)


@inlined
def _stretch(policy: Any, s: State) -> int:
    """The stretch of the request that comes next."""
    return int(min(s.clock[0].seq // policy.stretch, policy.shares.shape[0] - 1))


@rules.route(Explorer)
def at_random(policy: Any, t_s: float, r: int, s: State) -> int:
    """A pool that the tier may enter, by this stretch's shares; notes what the risk model may know."""
    request = s.live[r]
    tier = request.tier if policy.tiered else 3
    shares = policy.shares[_stretch(policy, s)]
    total = 0.0
    for q in range(s.queues.shape[0]):
        if s.tiers[tier].roles >> s.queues[q].role & 1:
            total += shares[q]
    left = total * policy.uniforms[request.seq]
    chosen = -1
    for q in range(s.queues.shape[0]):
        if s.tiers[tier].roles >> s.queues[q].role & 1:
            if chosen < 0 or left >= 0.0:
                chosen = q
            left -= shares[q]
    load = load_of(chosen, s)
    if request.seq % policy.every != 0:
        return chosen
    note = policy.notes[request.seq // policy.every]
    note[0] = tier
    note[1] = s.queues[chosen].role
    note[2] = load.gate
    note[3] = request.input_tokens
    note[4] = request.predicted_tokens
    note[5] = load.residents
    note[6] = load.waiting
    note[7] = request.input_tokens + load.prompt_tokens
    return chosen


rules.order(Explorer)(by_role)


@rules.gate(Explorer)
def as_drawn(policy: Any, t_s: float, q: int, s: State) -> bool:
    """Low-latency pools are open, others as drawn for the stretch; all open once the last request has come."""
    over = s.clock[0].seq >= policy.uniforms.shape[0]
    return over or s.queues[q].role == LP or not policy.closed[_stretch(policy, s), q]


@dataclass(frozen=True)
class Outcomes:
    """What exploration saw, in order of arrival."""

    rows: Array  # float64 (n, len(RISK_FEATURES))
    missed: Array  # bool (n,)


def explore(config: scenario.Scenario, requests: Array, means: Means, tiered: bool) -> Outcomes:
    """Send the requests (REQUEST, with predicted lengths) through the scenario's cluster at random, again and again until all loads have been met.

    Their own arrival times set only the gaps' shape. `tiered`: tiers are judged by their own limits and Gold goes first, as in CAPS; else all by the
    mean limits. There is an outcome for every request that fits a GPU. Raises InputError where too few do to learn from.
    """
    rng = stream(0, "exploration")
    requests = _fitting(requests, config.cluster.kv_capacity_tokens)
    stretch = min(max(REFILLS * config.cluster.gpus * config.cluster.max_batch, SHORTEST), LONGEST)
    every = -(-STRETCHES * stretch // len(requests))
    total = every * len(requests)
    stretches = -(-total // stretch)
    queues = len(config.cluster.pools)
    rates_rps = capacity_rps(config, means) * np.exp(rng.uniform(math.log(LOADS[0]), math.log(LOADS[1]), stretches))
    explorer = Explorer(
        shares=rng.standard_exponential((stretches, queues)),
        closed=(rng.random((stretches, queues)) < CLOSED_SHARE).astype(np.int8),
        uniforms=rng.random(total),
        notes=np.zeros((len(requests), len(RISK_FEATURES))),
        stretch=stretch,
        every=every,
        tiered=int(tiered),
    )
    requests = np.tile(requests, every)
    gaps_s = np.maximum(np.diff(requests["arrival_s"], prepend=requests["arrival_s"][:1]), 0.0)  # days follow days of other worlds
    requests["arrival_s"] = np.cumsum(gaps_s / max(float(gaps_s.mean()), 1e-12) / rates_rps[np.arange(total) // stretch])
    gates_s = CHANGES * stretch / float(rates_rps.max())  # gates change from stretch to stretch only: a slow cluster need not be asked by the second
    config = config.replace({"control_step_s": max(config.control_step_s, gates_s)})
    done, tiers = _play(config, requests, means, explorer)
    return Outcomes(explorer.notes, missed(done[::every], explorer.notes, tiers))


def _fitting(requests: Array, kv_capacity_tokens: int | None) -> Array:
    """The requests that a GPU has room for."""
    if kv_capacity_tokens is None:
        return requests
    tokens = requests["input_tokens"].astype(np.int64) + requests["output_tokens"]
    fitting: Array = requests[tokens <= kv_capacity_tokens]
    if len(fitting) < FEWEST:
        enough = np.sort(tokens)[min(FEWEST, len(tokens)) - 1]
        few = f"{len(fitting):,} of {len(tokens):,} requests to learn the SLO risk from fit a GPU"
        raise InputError(f"cluster.kv_capacity_tokens {kv_capacity_tokens}: {few}; expected a capacity of at least {enough}")
    return fitting


def missed(done: Array, notes: Array, tiers: Array) -> Array:
    """Which finished requests (DONE, in input order) broke a limit of the tier (TIER) that their note names: bool (n,).

    Held work is judged from its release: the hold itself is planned, known to the scheduler and handled apart.
    """
    limits = tiers[notes[:, 0].astype(int)]
    since_s = done["released_s"]
    decoded = np.maximum(done["output_tokens"] - 1, 1)
    tpot_s = np.where(done["output_tokens"] > 1, (done["finished_s"] - done["first_token_s"]) / decoded, 0.0)
    return np.asarray(
        (done["first_token_s"] - since_s > limits["ttft_s"] * SLACK)
        | (tpot_s > limits["tpot_s"] * SLACK)
        | (done["finished_s"] - since_s > limits["e2e_s"] * SLACK)
        | (done["first_token_s"] - done["released_s"] > limits["ttft_after_release_s"] * SLACK)
    )


def capacity_rps(config: scenario.Scenario, means: Means) -> float:
    """Requests a second that the cluster serves with every slot taken."""
    gpu, cluster = config.gpu, config.cluster
    step_s = gpu.decode_base_s + gpu.decode_s_per_seq * cluster.max_batch
    return cluster.gpus * cluster.max_batch / (gpu.prefill_s_per_token * means.input_tokens * cluster.max_batch + step_s * means.output_tokens)


def blocks_of(requests: Array) -> Iterator[tuple[Any, float]]:
    """The requests in blocks, those that arrive together in one, and the next block's first arrival; inf after the last."""
    arrival_s = requests["arrival_s"]
    at = 0
    while at < len(requests):
        end = at + BLOCK
        if end < len(requests):
            first_of_end = int(np.searchsorted(arrival_s, arrival_s[end], side="left"))
            end = first_of_end if first_of_end > at else int(np.searchsorted(arrival_s, arrival_s[end], side="right"))
        yield requests[at:end], float(arrival_s[end]) if end < len(requests) else math.inf
        at = end


def _play(config: scenario.Scenario, requests: Array, means: Means, explorer: Explorer) -> tuple[Array, Array]:
    """Simulate all requests to their end: DONE in input order, and the limits (TIER) they are judged by."""
    flat = CarbonTrace(times_s=np.zeros(1), g_per_kwh=np.ones(1), kind="average", scope="lifecycle", zone="", source="exploration")
    forecast = ForecastGrid(issued_s=np.zeros(1), step_s=3600.0, g_per_kwh=np.ones((1, 1)))
    state = pack(config, explorer, "pools", Monitor(flat, forecast, 3600.0, np.zeros(1), np.ones(1)), means)
    state.setup["record"] = 1
    compile_for(explorer, state)
    done = []
    for block, until_s in blocks_of(requests):
        state.clock["cursor"], state.clock["done"] = 0, 0
        state = with_room(state._replace(block=block, done=arrays.zeros(arrays.Done, len(block) + int(state.clock[0]["live"]))), len(block))
        advance(state, explorer, until_s, until_s == math.inf)
        done.append(state.done[: int(state.clock[0]["done"])])
    finished = np.concatenate(done)
    return finished[np.argsort(finished["seq"])], state.tiers
