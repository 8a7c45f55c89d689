"""Run scenarios: draw the workload once, advance every policy's simulation over its blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from caps_fast import arrays, outcomes, records, scenario
from caps_fast.arrays import State
from caps_fast.carbon.monitor import Monitor, monitors_of
from caps_fast.checkpoint import Keeper
from caps_fast.choose import compile_for, layout_of, make_policy
from caps_fast.clock import told_start
from caps_fast.engine.loop import advance, settle
from caps_fast.errors import InputError
from caps_fast.outcome import Outcome, collect, unfinished_rows
from caps_fast.pack import pack, with_room
from caps_fast.pack_kinds import Means
from caps_fast.pack_sessions import with_seats
from caps_fast.predictor import LengthModel, Lengths, warmup_requests, with_predictions
from caps_fast.prices import prices_of
from caps_fast.records import Array
from caps_fast.results import Result
from caps_fast.traits import has_origins
from caps_fast.traits import sessions as has_sessions
from caps_fast.workload import workload_of
from caps_fast.workload.played import rate_notes

BLOCK = 16_384  # requests: large enough to make calls cheap, small enough for the cache


@dataclass(frozen=True)
class Recording:
    """What to record of a run in addition to its metrics. Raises InputError for an invalid step.

    requests         a row per request (about 120 bytes each)
    sample_every_s   a series of every pool: a row per pool at control steps, about this many seconds apart; None = none
    """

    requests: bool = False
    sample_every_s: float | None = None

    def __post_init__(self) -> None:
        if self.sample_every_s is not None and not 0 < self.sample_every_s < math.inf:
            raise InputError(f"sample_every_s {self.sample_every_s:g}: expected a finite number above 0")


NOTHING = Recording()


def simulate(config: scenario.Scenario, record: Recording = NOTHING, *, block: int = BLOCK) -> Result:
    """Run one scenario.

    config   what to run: `preset(name)`, `load(path)`, and `replace` of either
    record   what to record in addition to the metrics: a row per request, a series over time
    block    requests that are drawn at a time; the results do not depend on it

    The first run of a policy compiles it (some seconds, then cached). Raises InputError for bad inputs.

    >>> from caps_fast import Recording, preset, simulate
    >>> scenario = preset("paper").replace(days=0.01, policy__name="round-robin")
    >>> result = simulate(scenario, Recording(requests=True))
    >>> result.requests.height, result.requests["input_tokens"].sum() > 0
    (8524, True)
    """
    return simulate_group([config], record, block=block)[0]


def simulate_group(
    configs: Sequence[scenario.Scenario],
    record: Recording = NOTHING,
    *,
    block: int = BLOCK,
    on_progress: Callable[[int], object] | None = None,
    checkpoint: Path | None = None,
    on_restore: Callable[[int], object] | None = None,
) -> list[Result]:
    """Run scenarios that share a workload, drawing it once. Results are those of single runs, bit for bit.

    configs      scenarios with the same requests (equal `workload_key`), such as one under several policies
    record       what to record in addition to the metrics
    block        requests that are drawn at a time
    on_progress  called periodically with the number of requests simulated since the last call, over all runs
    checkpoint   file for the state: saved every minute, resumed from if it exists, removed at the end
    on_restore   called with the number of requests that had been simulated by then

    Raises InputError for bad inputs, and if the scenarios differ in their requests.
    """
    if block < 1:
        raise InputError(f"block {block}: expected at least one request")
    keeper = Keeper(Path(checkpoint)) if checkpoint else None
    if keeper:
        keeper.expect_of(configs)
    group = Group(configs, record)
    if keeper:
        keeper.restore(group)
        simulated = sum(int(run.state.clock[0]["seq"]) for run in group.runs)
        if simulated and on_restore:
            on_restore(simulated)
    for requests in group.source.blocks(block):
        group.take(requests, on_progress)
        if keeper:
            keeper.save_if_due(group)
    for until_s in group.parts_s():
        group.play(until_s, on_progress)
        if keeper:
            keeper.save_if_due(group)
    results = [Result(outcome) for outcome in group.finish(on_progress)]
    if keeper:
        keeper.remove()
    return results


class Group:
    """Simulations in progress that share a workload.

    A block is held until the next one's first arrival is known, up to which all instants can be simulated; requests
    that arrive together are in one block.
    """

    def __init__(self, configs: Sequence[scenario.Scenario], record: Recording = NOTHING) -> None:
        if len({workload_key(config) for config in configs}) != 1:
            raise InputError(
                f"a group of {len(configs)} scenarios: expected at least one, and that all share a workload"
            )
        self.source = workload_of(configs[0])
        means = Means(self.source.mean_input_tokens, self.source.mean_output_tokens)
        self.runs = [Run.start(prepare(config, means), record) for config in configs]
        predicting = {run.lengths.key: (run.lengths, run.config) for run in self.runs if run.lengths}
        self.views = {key: Lengths(model, warmup_requests(config)) for key, (model, config) in predicting.items()}
        self.held: Array = records.zeros(arrays.Request, 0)

    def take(self, requests: Array, on_progress: Callable[[int], object] | None = None) -> None:
        """Add the next block of the workload."""
        if len(self.held) and self.held["arrival_s"][-1] == requests["arrival_s"][0]:
            self.held = np.concatenate([self.held, requests])
            return
        if len(self.held):
            self._feed(float(requests["arrival_s"][0]), on_progress)
        self.held = requests

    def parts_s(self) -> Iterator[float]:
        """Times up to which users, who come without a block, are to be played one after another."""
        return self.source.parts_s()

    def play(self, until_s: float, on_progress: Callable[[int], object] | None = None) -> None:
        """Continue without a block."""
        nobody = records.zeros(arrays.Request, 0)
        for run in self.runs:
            before = int(run.state.clock[0]["seq"])
            run.feed(nobody, until_s)
            if on_progress:
                on_progress(int(run.state.clock[0]["seq"]) - before)

    def finish(self, on_progress: Callable[[int], object] | None = None) -> list[Outcome]:
        """Simulate to the end and close the accounts."""
        if len(self.held):
            self._feed(math.nextafter(float(self.held["arrival_s"][-1]), math.inf), on_progress)
        results = [run.finish() for run in self.runs]
        played = rate_notes(results[0].scenario, int(results[0].accounts["requests"].sum()), self.source)
        return [replace(result, notes=(*self.source.notes, *played, *result.notes)) for result in results]

    def _feed(self, until_s: float, on_progress: Callable[[int], object] | None) -> None:
        foreseen = {key: view(self.held) for key, view in self.views.items()}
        for run in self.runs:
            run.feed(foreseen[run.lengths.key] if run.lengths else self.held, until_s)
            if on_progress:
                on_progress(len(self.held))


def workload_key(config: scenario.Scenario) -> str:
    """Equal for scenarios with the same requests and the same past before them."""
    tiers = [tier.share for tier in config.slo.all]
    trained = config.predictor.model_dump_json() if config.workload.trace else config.predictor.train_days
    begins = told_start(config) if config.workload.trace or not config.workload.is_steady else None
    origins = {name: (one.share, one.share_by_tier) for name, one in (config.origins or {}).items()}
    return f"{config.workload.model_dump_json()} {tiers} {config.seed} {config.days} {trained} {begins} {origins or ''}"


@dataclass(frozen=True)
class Prepared:
    """The inputs of a run, apart from its requests.

    policy      the policy with everything that it knows in advance
    monitors    one per region, in the order of the fleet's
    means       mean lengths of the workload
    lengths     predicts n_out_hat; None = the workload's own estimate
    """

    config: scenario.Scenario
    policy: Any
    monitors: tuple[Monitor, ...]
    means: Means
    lengths: LengthModel | None = None


def prepare(
    config: scenario.Scenario, means: Means | None = None, monitors: Sequence[Monitor] | None = None
) -> Prepared:
    """Read, train or load the inputs of a run: policy, grids and forecasts, means of the workload, predictor.

    config    the scenario
    means     mean tokens of its requests; None = those of its workload
    monitors  one per region, in the order of `config.fleet.regions`; None = those of the scenario

    Returns a `Prepared`, from which `Run.start` starts a run. `simulate` calls it itself; a separate call
    measures or shares the preparation, such as training. Raises InputError for bad inputs.

    >>> from caps_fast import prepare, preset
    >>> prepared = prepare(preset("paper").replace(days=0.01, policy__name="edf"))
    >>> type(prepared.policy).__name__, len(prepared.monitors), round(prepared.means.output_tokens)
    ('Edf', 1, 223)
    """
    policy = make_policy(config)
    if means is None:
        source = workload_of(config)
        means = Means(source.mean_input_tokens, source.mean_output_tokens)
    found = tuple(monitors) if monitors is not None else monitors_of(config)
    for region in config.fleet.regions.values():
        prices_of(
            region, config
        )  # used at the end, but read now, so that errors of a file are reported before the work
    policy, lengths = with_predictions(policy, config)  # after all checks of inputs, since it may train a model
    return Prepared(config, policy, found, means, lengths)


@dataclass
class Run:
    """One scenario's simulation in progress."""

    config: scenario.Scenario
    policy: Any
    monitors: tuple[Monitor, ...]
    state: State
    done: list[Array] | None = field(default=None)
    lengths: LengthModel | None = field(default=None)  # predicts n_out_hat; None = the workload's own estimate

    @classmethod
    def start(cls, ready: Prepared, record: Recording = NOTHING) -> Run:
        """A run of prepared inputs, at t = 0. Raises InputError if a user's policy does not compile."""
        config, policy = ready.config, ready.policy
        state = pack(config, policy, layout_of(policy, config), ready.monitors, ready.means)
        state.setup["record"] = record.requests
        if record.sample_every_s is not None:
            state.setup["sample_step_s"] = record.sample_every_s
            samples = math.ceil(config.horizon_s / record.sample_every_s) + 1
            state = state._replace(series=records.zeros(arrays.Sample, samples, len(state.pools)))
        compile_for(policy, state)
        return cls(config, policy, ready.monitors, state, [] if record.requests else None, ready.lengths)

    def feed(self, requests: Any, until_s: float) -> None:
        """Add these requests and advance to `until_s`, the next block's first arrival.

        Raises InputError if one can never fit.
        """
        _expect_tenants(self.state, requests)
        self.state.clock["cursor"] = 0
        self.state = self.state._replace(block=requests)
        self._advance(until_s, False)

    def finish(self) -> Outcome:
        """Drain and close the accounts."""
        limit_s = self.config.horizon_s + self.config.drain_h * 3600
        self.state.clock["cursor"] = 0
        self.state = self.state._replace(block=records.zeros(arrays.Request, 0))
        self._advance(math.nextafter(limit_s, math.inf), True)
        clock = self.state.clock[0]
        end_s = float(clock["last_completion_s"]) if clock["live"] == 0 else limit_s
        settle(self.state, end_s)
        if clock["live"] > 0 and self.done is not None:
            self.done.append(unfinished_rows(self.state))
        return collect(self.config, self.state, self.monitors, end_s, self.done)

    def _advance(self, until_s: float, draining: bool) -> None:
        incoming = len(self.state.block)
        if has_sessions(self.state):
            self.state = with_seats(self.state, incoming)
            incoming += int(self.state.crowd[0]["thinking"])
        self.state = with_room(self.state, incoming)
        while self._advance_once(until_s, draining):
            pass

    def _advance_once(self, until_s: float, draining: bool) -> bool:
        """Advance as far as there is room for records; returns whether there is more to do."""
        clock, crowd = self.state.clock[0], self.state.crowd[0]
        if self.done is not None:
            clock["done"] = 0
            room = int(clock["live"]) + len(self.state.block) + int(crowd["thinking"])
            self.state = self.state._replace(
                done=records.zeros(outcomes.Done, room + (BLOCK if has_sessions(self.state) else 0))
            )
        crowd["full"] = 0
        try:
            advance(self.state, self.policy, until_s, draining)
        except Exception as error:
            if not self.config.policy.own:
                raise
            raise InputError(
                f"policy {self.config.policy.name}: a rule raised {type(error).__name__}: {error}"
            ) from None
        _check_obeyed(self.config, self.state)
        if self.done is not None:
            self.done.append(self.state.done[: int(self.state.clock[0]["done"])])
        return bool(crowd["full"])


def _expect_tenants(state: State, requests: Any) -> None:
    """Raise InputError if fairness is among tenants and there are more of them than the scenario states."""
    fairness = state.fairness[0]
    if fairness["by_tenant"] and len(requests) and (last := int(requests["tenant"].max())) >= fairness["owners"]:
        raise InputError(
            f"workload.tenants {fairness['owners']}: the trace has tenant number {last}: expected at least "
            f"{last + 1} (policy.fairness)"
        )


def _check_obeyed(config: scenario.Scenario, state: State) -> None:
    """Raise InputError if a rule of the policy returned an invalid value, or a request fits no replica where it was
    sent.
    """
    clock = state.clock[0]
    if clock["unpriced"]:
        raise InputError(
            f"policy {config.policy.name}: place returned the cost nan for replica {clock['unpriced'] - 1}: expected "
            "a number"
        )
    if clock["refused"] == 0:
        return
    request, queue, queues = clock["refused"] - 1, clock["refused_queue"], len(state.queues)
    if not 0 <= queue < queues:
        raise InputError(
            f"policy {config.policy.name}: route sent request {request} to queue {queue}: expected 0 to {queues - 1}"
        )
    at = int(request - clock["seq"]) + int(clock["cursor"])
    if not 0 <= at < len(state.block):  # it has reached its queue since
        raise InputError(
            f"policy {config.policy.name}: order returned the key nan for request {request} in queue {queue}: "
            "expected a number"
        )
    row = state.block[at]
    tokens = int(row["input_tokens"]) + int(row["output_tokens"])
    span = _largest_for(row, queue, state)
    capacity = int(span["kv_capacity_tokens"])
    if not 0 < capacity < tokens:
        raise InputError(
            f"policy {config.policy.name}: order returned the key nan for request {request} in queue {queue}: "
            "expected a number"
        )
    pool = config.fleet.pools[int(state.gpus[span["first_gpu"]]["pool"])]
    field, where = "cluster.kv_capacity_tokens", ""
    if config.pools is not None:
        field, where = f"gpus.{pool.gpu}.kv_capacity_tokens", f" and may not enter a larger pool than {pool.name}"
    raise InputError(
        f"{field} {capacity}: request {request + 1} has {row['input_tokens']} input and {row['output_tokens']} "
        f"output tokens{where}; "
        f"expected a capacity of at least {tokens}"
    )


def _largest_for(request: Any, queue: int, state: State) -> Any:
    """The span whose largest replica has the most KV memory: of the queue or, with bound requests, of all that may
    serve it.
    """
    spans = state.spans[int(state.queues[queue]["first_span"]) : int(state.queues[queue]["end_span"])]
    if has_origins(state):
        allowed = int(state.tiers[request["tier"]]["regions"]) & int(state.origins[request["origin"]]["regions"])
        spans = state.spans[(allowed >> state.spans["region"].astype(np.int64)) & 1 == 1]
    capacity = spans["kv_capacity_tokens"]
    return spans[int(np.argmax(np.where(capacity == 0, np.iinfo(np.int64).max, capacity)))]
