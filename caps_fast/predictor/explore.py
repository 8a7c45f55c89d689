"""Exploratory routing: requests sent to pools at random, under loads from idle to overload, to observe which of them
miss their SLO.

The requests are divided into stretches; in each the rate, the pools' shares and the gates are drawn again. Order and
pre-emption are those of CAPS. The features of the risk model are recorded at every arrival, before the request counts
in any load; the outcome, when it has finished.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from caps_fast import outcomes, records, scenario
from caps_fast._jit import inlined
from caps_fast.arrays import ANY_TIER, LP, SLACK, State
from caps_fast.carbon.forecast import ForecastGrid
from caps_fast.carbon.monitor import Monitor
from caps_fast.carbon.trace import CarbonTrace
from caps_fast.choose import compile_for
from caps_fast.engine.loop import advance
from caps_fast.errors import InputError
from caps_fast.fleet import Fleet
from caps_fast.pack import pack, with_room
from caps_fast.pack_kinds import Means
from caps_fast.policies.caps import by_role, may_enter
from caps_fast.policies.risk import load_of
from caps_fast.policy import policy, rules
from caps_fast.records import Array, Record, dtype_of, f8
from caps_fast.replica_section import Kind
from caps_fast.workload.streams import stream

FEWEST = 500  # fewest requests for training
STRETCHES = 200
SHORTEST, LONGEST = 500, 5000  # requests per stretch
REFILLS = 3  # times that a stretch could fill the cluster's slots, so that its load is reached
BLOCK = 16_384
CHANGES = 0.001  # control steps per shortest stretch, so that gates change in time
LOADS = (0.02, 1.5)  # of what the cluster can serve, log-uniform
CLOSED_SHARE = 0.3  # of stretches, for the gates of pools that may close


class Note(Record):
    """Features of the risk model for a request at its arrival."""

    tier: f8
    role: f8
    gate: f8
    input_tokens: f8
    predicted_tokens: f8
    residents: f8
    waiting: f8
    ahead_tokens: f8


RISK_FEATURES = dtype_of(Note).names or ()


class Explorer(NamedTuple):
    """Draws for every stretch."""

    shares: Array  # float64 (stretches, queues): weights of the pools
    closed: Array  # int8 (stretches, queues)
    uniforms: Array  # float64 (requests,)
    stretch: int = 1  # requests per stretch
    every: int = 1  # one request out of this many is recorded
    noted: int = 0  # recorded requests in total
    tiered: int = 1


policy(
    layout="pools", preempts=lambda explorer: bool(explorer.tiered), memory=Note, rows=lambda explorer: explorer.noted
)(Explorer)


@inlined
def _stretch(policy: Any, s: State) -> int:
    """The stretch of the next request."""
    return int(min(s.clock[0].seq // policy.stretch, policy.shares.shape[0] - 1))


@rules.route(Explorer)
def at_random(policy: Any, t_s: float, r: int, s: State) -> int:
    """A pool that the tier may enter, by this stretch's shares; records the features of the risk model."""
    request = s.live[r]
    tier = request.tier if policy.tiered else ANY_TIER
    shares = policy.shares[_stretch(policy, s)]
    total = 0.0
    for q in range(s.queues.shape[0]):
        if may_enter(s.tiers[tier].roles, r, q, s):
            total += shares[q]
    left = total * policy.uniforms[request.seq]
    chosen = -1
    for q in range(s.queues.shape[0]):
        if may_enter(s.tiers[tier].roles, r, q, s):
            if chosen < 0 or left >= 0.0:
                chosen = q
            left -= shares[q]
    load = load_of(chosen, s)
    if request.seq % policy.every != 0:
        return chosen
    note = s.memory[request.seq // policy.every]
    note.tier = tier
    note.role = s.queues[chosen].role
    note.gate = load.gate
    note.input_tokens = request.input_tokens
    note.predicted_tokens = request.predicted_tokens
    note.residents = load.residents
    note.waiting = load.waiting
    note.ahead_tokens = request.input_tokens + load.prompt_tokens
    return chosen


rules.order(Explorer)(by_role)


@rules.gate(Explorer)
def as_drawn(policy: Any, t_s: float, q: int, s: State) -> bool:
    """Low-latency pools are open, others as drawn for the stretch; all open once the last request has arrived."""
    over = s.clock[0].seq >= policy.uniforms.shape[0]
    return over or s.queues[q].role == LP or not policy.closed[_stretch(policy, s), q]


@dataclass(frozen=True)
class Outcomes:
    """Results of an exploration, in order of arrival."""

    rows: Array  # float64 (n, len(RISK_FEATURES))
    missed: Array  # bool (n,)


def explore(config: scenario.Scenario, requests: Array, means: Means, tiered: bool) -> Outcomes:
    """Send the requests (REQUEST, with predicted lengths) through the scenario's cluster at random, repeatedly until
    all loads have occurred.

    None is rejected. Their own arrival times determine only the shape of the gaps. `tiered`: tiers have their own
    limits and Gold goes first, as in CAPS; otherwise all have the mean limits. There is an outcome for every request
    that fits a GPU. Raises InputError if there are too few of these.
    """
    rng = stream(0, "exploration")
    fleet = config.fleet
    requests = _fitting(requests, fleet)
    slots = sum(replicas * kind.max_batch for kind, replicas in fleet.of_kind)
    stretch = min(max(REFILLS * slots, SHORTEST), LONGEST)
    every = -(-STRETCHES * stretch // len(requests))
    total = every * len(requests)
    stretches = -(-total // stretch)
    queues = len(fleet.pools)
    rates_rps = capacity_rps(config, means) * np.exp(rng.uniform(math.log(LOADS[0]), math.log(LOADS[1]), stretches))
    explorer = Explorer(
        shares=rng.standard_exponential((stretches, queues)),
        closed=(rng.random((stretches, queues)) < CLOSED_SHARE).astype(np.int8),
        uniforms=rng.random(total),
        stretch=stretch,
        every=every,
        noted=len(requests),
        tiered=int(tiered),
    )
    requests = np.tile(requests, every)
    gaps_s = np.maximum(
        np.diff(requests["arrival_s"], prepend=requests["arrival_s"][:1]), 0.0
    )  # days of several worlds follow one another
    requests["arrival_s"] = np.cumsum(
        gaps_s / max(float(gaps_s.mean()), 1e-12) / rates_rps[np.arange(total) // stretch]
    )
    gates_s = (
        CHANGES * stretch / float(rates_rps.max())
    )  # gates change only between stretches, so a slow cluster needs fewer control steps
    config = config.replace({"control_step_s": max(config.control_step_s, gates_s), "admission": None})
    done, notes, tiers = _play(config, requests, means, explorer)
    rows = np.stack([notes[name] for name in RISK_FEATURES], axis=1)
    return Outcomes(rows, missed(done[::every], rows, tiers))


def _fitting(requests: Array, fleet: Fleet) -> Array:
    """The requests that fit a replica of every pool."""
    limits = {
        f"gpus.{pool.gpu}": kind.kv_capacity_tokens
        for pool, kind in zip(fleet.pools, fleet.kind_of, strict=True)
        if kind.kv_capacity_tokens
    }
    if not limits:
        return requests
    name, least = min(limits.items(), key=lambda item: item[1])
    tokens = requests["input_tokens"].astype(np.int64) + requests["output_tokens"]
    fitting: Array = requests[tokens <= least]
    if len(fitting) < FEWEST:
        enough = np.sort(tokens)[min(FEWEST, len(tokens)) - 1]
        few = f"{len(fitting):,} of {len(tokens):,} requests for training the SLO risk fit a GPU"
        raise InputError(f"{name}.kv_capacity_tokens {least}: {few}; expected a capacity of at least {enough}")
    return fitting


def missed(done: Array, notes: Array, tiers: Array) -> Array:
    """Whether each finished request (DONE, in input order) broke a limit of the tier (TIER) in its note: bool (n,).

    Held work counts from its release: the hold itself is planned, known to the scheduler and handled separately.
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
    """Requests per second that the fleet serves with every slot taken."""
    return sum(_kind_rps(kind, replicas, means) for kind, replicas in config.fleet.of_kind)


def _kind_rps(kind: Kind, replicas: int, means: Means) -> float:
    step_s = kind.decode_base_s + kind.decode_s_per_seq * kind.max_batch
    return (
        replicas
        * kind.max_batch
        / (kind.prefill_s_per_token * means.input_tokens * kind.max_batch + step_s * means.output_tokens)
    )


def blocks_of(requests: Array) -> Iterator[tuple[Any, float]]:
    """The requests in blocks, with simultaneous arrivals in one block, and the next block's first arrival; inf after
    the last.
    """
    arrival_s = requests["arrival_s"]
    at = 0
    while at < len(requests):
        end = at + BLOCK
        if end < len(requests):
            first_of_end = int(np.searchsorted(arrival_s, arrival_s[end], side="left"))
            end = first_of_end if first_of_end > at else int(np.searchsorted(arrival_s, arrival_s[end], side="right"))
        yield requests[at:end], float(arrival_s[end]) if end < len(requests) else math.inf
        at = end


def _play(config: scenario.Scenario, requests: Array, means: Means, explorer: Explorer) -> tuple[Array, Array, Array]:
    """Simulate all requests to their end: DONE in input order, notes (NOTE), and their limits (TIER)."""
    flat = CarbonTrace(
        times_s=np.zeros(1), g_per_kwh=np.ones(1), kind="average", scope="lifecycle", zone="", source="exploration"
    )
    forecast = ForecastGrid(issued_s=np.zeros(1), step_s=3600.0, g_per_kwh=np.ones((1, 1)))
    monitor = Monitor(flat, forecast, 3600.0, np.zeros(1), np.ones(1))
    state = pack(config, explorer, "pools", [monitor] * len(config.fleet.regions), means, placed=False)
    state.setup["record"] = 1
    compile_for(explorer, state)
    done = []
    for block, until_s in blocks_of(requests):
        state.clock["cursor"], state.clock["done"] = 0, 0
        state = with_room(
            state._replace(block=block, done=records.zeros(outcomes.Done, len(block) + int(state.clock[0]["live"]))),
            len(block),
        )
        advance(state, explorer, until_s, until_s == math.inf)
        done.append(state.done[: int(state.clock[0]["done"])])
    finished = np.concatenate(done)
    return finished[np.argsort(finished["seq"])], state.memory, state.tiers
