"""The kinds of sessions of a workload, one for all or one per client group that has some, and who begins them
(docs/model.md, section 14).

A session begins with a row of REQUEST whose `turns` is -1 - its kind; the kernel draws what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr

from caps_fast import arrays, scenario
from caps_fast.client_groups import MOST_LENGTH, ClientGroup, Lengths, mix_of
from caps_fast.habits import LEAST_THINK_S, Habits
from caps_fast.places import places_of
from caps_fast.records import Array
from caps_fast.sections import Workload
from caps_fast.workload.clients import ClientFeatures, quantile_function
from caps_fast.workload.origins import with_rows
from caps_fast.workload.streams import stream
from caps_fast.workload.synthetic import DRAWN_TASKS, MAIN_TASK_SHARE, tenants

REACH, CELLS = 8.0, 1024  # of the tables of lengths, by score, as the kernel reads them
SAMPLED = 20_000  # conversations of which means are taken
TENANT, TASK = 5, 6  # numbers of draws of a first turn
FIRST_PART, FIRST_GROUP, OF_ORIGINS = 1, 16, 2  # numbers of streams
_GOLDEN, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class SessionKind:
    """Sessions that are alike.

    tokens    what a turn adds, and an answer, at scores from -REACH to REACH: float64 (2, CELLS + 1)
    group     the client group; None where all requests of a workload are turns
    """

    habits: Habits
    predictability: float
    tokens: Array
    group: ClientGroup | None = None
    part: int = FIRST_PART

    @cached_property
    def mean_tokens(self) -> tuple[float, float]:
        """Means of prompts, context included, and of answers, over sampled conversations."""
        rng, own = np.random.default_rng(0), self.habits
        z, at = np.linspace(-REACH, REACH, CELLS + 1), np.arange(SAMPLED)
        context, total_in, total_out, turns, turn = np.zeros(SAMPLED), 0.0, 0.0, 0, 0
        while len(at):
            turn += 1
            new, answer = (np.maximum(np.interp(rng.standard_normal(len(at)), z, row), 1.0) for row in self.tokens)
            prompt = np.minimum(context[at] + new, own.max_context_tokens)
            total_in, total_out = total_in + float(prompt.sum()), total_out + float(answer.sum())
            turns += len(at)
            context[at] = prompt + answer
            fixed = own.turns_law == "fixed"
            at = at[
                np.full(len(at), turn < own.turns_mean) if fixed else rng.random(len(at)) < 1.0 - 1.0 / own.turns_mean
            ]
        return total_in / turns, total_out / turns

    def first_due_s(self, seed: int) -> Array:
        """When users come first, each after a pause of its own: float64 (users,)."""
        gaps = stream(seed, "sessions", self.part).standard_exponential(self.habits.users or 0)
        return np.asarray(np.maximum(gaps * self.habits.mean_pause_s, LEAST_THINK_S))


def kinds_of(config: scenario.Scenario) -> list[SessionKind]:
    """The kinds of sessions of a scenario, none without any. Raises InputError for a bad trace or workload file."""
    workload = config.workload
    if workload.sessions is not None:
        own = workload.sessions
        tokens = tokens_of(workload, own.input_tokens, own.output_tokens)
        return [SessionKind(own, workload.predictability, tokens)]
    groups = mix_of(workload.file).clients if workload.file else ()
    return [
        SessionKind(
            group.sessions,
            workload.predictability if group.predictability is None else group.predictability,
            tokens_of(workload, group.input_tokens, group.output_tokens),
            group,
            FIRST_GROUP + number,
        )
        for number, group in enumerate(groups)
        if group.sessions is not None
    ]


def tokens_of(workload: Workload, new: Lengths | None, answer: Lengths | None) -> Array:
    """Tokens that a turn adds, and of an answer, at scores from -REACH to REACH: float64 (2, CELLS + 1); the
    workload's own distributions where none is given.

    Raises InputError for a bad trace.
    """
    z = np.linspace(-REACH, REACH, CELLS + 1)
    rows = []
    for lengths, column, most in (
        (new, "input_tokens", float(MOST_LENGTH)),
        (answer, "output_tokens", float(workload.max_output_tokens)),
    ):
        if lengths is not None and lengths.log_mean is None:
            rows.append(np.log(quantile_function(lengths, column, most, workload)(ndtr(z))))
        elif lengths is not None or column == "output_tokens":
            mean, sd = (
                (workload.output_log_mean, workload.output_log_sd)
                if lengths is None
                else (lengths.log_mean or 0.0, lengths.log_sd or 0.0)
            )
            rows.append(np.clip(mean + sd * z, 0.0, np.log(most)))
        else:
            edges, upto = (
                np.log(np.array(workload.input_token_edges)),
                np.append(0.0, np.cumsum(workload.category_shares)),
            )
            u = np.minimum(ndtr(z), 1.0 - 1e-16)
            cell = np.minimum(np.searchsorted(upto, u, side="right") - 1, 2)
            part = (u - upto[cell]) / np.maximum(np.diff(upto)[cell], 1e-300)
            rows.append(edges[cell] + np.clip(part, 0.0, 1.0) * np.diff(edges)[cell])
    return np.asarray(np.exp(np.array(rows)))


class Starts:
    """Rows with which the sessions of a whole workload begin: whose they are follows from their number."""

    def __init__(self, config: scenario.Scenario, kind: SessionKind) -> None:
        self._seed, self._tenants, self._kind = session_seed(config), tenants(config), kind
        self._started = kind.habits.users or 0

    @property
    def mean_tokens(self) -> tuple[float, float]:
        return self._kind.mean_tokens

    def fill(self, arrivals_s: Array) -> Array:
        """REQUEST rows of the next sessions, which begin then."""
        numbers = np.arange(self._started, self._started + len(arrivals_s))
        self._started += len(arrivals_s)
        return self.of(numbers, arrivals_s)

    def of(self, numbers: Array, arrivals_s: Array) -> Array:
        """REQUEST rows of sessions by their number."""
        who = self._tenants
        own = streams_of(self._seed, numbers)
        tenant_u, task_u = (_uniform(own, at) for at in (TENANT, TASK))
        tenant = np.searchsorted(who.cumulative_share[:-1], tenant_u, side="right")
        others = (1 + (task_u - MAIN_TASK_SHARE) * ((DRAWN_TASKS - 1) / (1.0 - MAIN_TASK_SHARE))).astype(np.int64)
        other = np.where(task_u >= MAIN_TASK_SHARE, np.minimum(others, DRAWN_TASKS - 1), 0)
        block = np.zeros(len(numbers), arrays.REQUEST)
        block["arrival_s"], block["tenant"], block["tier"] = arrivals_s, tenant, who.tier[tenant]
        block["task"] = (who.task[tenant] + other) % DRAWN_TASKS
        return as_starts(block, 0)

    def state(self) -> dict[str, Any]:
        return {"started": self._started}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._started = int(state["started"])


class GroupStarts:
    """Rows with which the sessions of a client group begin: whose they are is drawn as for its requests."""

    def __init__(self, features: ClientFeatures, at: int, kind: SessionKind) -> None:
        self._features, self._at, self._kind = features, at, kind

    @property
    def mean_tokens(self) -> tuple[float, float]:
        return self._kind.mean_tokens

    def fill(self, arrivals_s: Array) -> Array:
        """REQUEST rows of sessions that begin then."""
        return as_starts(self._features.fill(arrivals_s), self._at)

    def state(self) -> dict[str, Any]:
        return self._features.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._features.restore(state)


def as_starts(block: Array, kind: int) -> Array:
    """Make the rows those with which sessions of a kind begin: what they say is not in them."""
    block["turns"] = -1 - kind
    block["input_tokens"] = block["output_tokens"] = 1
    block["predicted_tokens"] = 1.0
    block["category"] = 0
    return block


def users_of(config: scenario.Scenario, kinds: list[SessionKind]) -> Array:
    """REQUEST rows of all users, those of one kind after those of another: when they come first, and whose they are."""
    found = [np.zeros(0, arrays.REQUEST)]
    for at, kind in enumerate(kinds):
        due_s = kind.first_due_s(config.seed)
        if kind.group is not None and len(due_s):
            features = ClientFeatures(config, kind.group, config.seed, kind.part)
            found.append(as_starts(features.fill(due_s), at))
        elif len(due_s):
            found.append(Starts(config, kind).of(np.arange(len(due_s)), due_s))
    rows = np.concatenate(found)
    if places := places_of(config):
        with_rows(rows, stream(config.seed, "sessions", OF_ORIGINS).random(len(rows)), places)
    return rows


def session_seed(config: scenario.Scenario) -> int:
    """What the streams of sessions are named by."""
    return int(stream(config.seed, "sessions").integers(0, 2**63 - 1))


def streams_of(seed: int, numbers: Array) -> Array:
    """`normal.stream_of` of many sessions by their number: uint64 (n,)."""
    return _mixed(_mixed(np.full(len(numbers), seed, np.uint64)) ^ numbers.astype(np.uint64))


def _mixed(word: Array) -> Array:
    """`normal.mixed` of many: uint64 (n,)."""
    z = word + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return np.asarray(z ^ (z >> np.uint64(31)))


def _uniform(streams: Array, at: int) -> Array:
    """`normal.uniform` of the first turns of many sessions: float64 (n,)."""
    return np.asarray(((_mixed(streams ^ np.uint64(at)) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)
