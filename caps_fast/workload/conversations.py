"""Conversations: their starts, and the distributions of their turns (docs/model.md, section 14).

Turns are drawn in the kernel, because they follow answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr

from caps_fast import arrays, scenario
from caps_fast.client_groups import MOST_LENGTH
from caps_fast.demand import laid_over
from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.sections import Workload
from caps_fast.sessions import Sessions
from caps_fast.workload.arrivals import Arrivals
from caps_fast.workload.clients import quantile_function
from caps_fast.workload.varied import rate_of

REACH, CELLS = 8.0, 1024  # of the tables of lengths, by score, as the kernel reads them
SAMPLED = 20_000  # number of conversations for means
REQUESTS_PER_PART = 16_384  # of a closed loop, about


def sessions_of(config: scenario.Scenario) -> Sessions:
    """The scenario's section of sessions, which must be set."""
    assert config.workload.sessions is not None
    return config.workload.sessions


def tokens_of(workload: Workload, own: Sessions) -> Array:
    """Tokens that a turn adds, and tokens of an answer, at scores from -REACH to REACH: float64 (2, CELLS + 1).

    Raises InputError for a bad trace.
    """
    z = np.linspace(-REACH, REACH, CELLS + 1)
    rows = []
    limits = (
        (own.input_tokens, "input_tokens", float(MOST_LENGTH)),
        (own.output_tokens, "output_tokens", float(workload.max_output_tokens)),
    )
    for lengths, column, most in limits:
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


class SessionWorkload:
    """Conversations of a scenario: those that start up to its horizon; none with `users`, who exist from t = 0.

    Raises InputError for bad profiles and traces.
    """

    drawn = True
    spread: float | None = None
    expected_requests: float | None = None

    def __init__(self, config: scenario.Scenario) -> None:
        self.config, self.own = config, sessions_of(config)
        self._done_s = 0.0
        self._tokens = tokens_of(config.workload, self.own)
        self.notes: tuple[str, ...] = ()
        self._arrivals: Arrivals | None = None
        if self.own.users is None:
            demand = laid_over([config.workload])
            self._arrivals = Arrivals(
                demand, rate_of(config, demand, 1.0 / self.own.turns_mean), config.seed, 0, 0.0, config.horizon_s
            )

    def blocks(self, size: int) -> Iterator[Array]:
        """REQUEST arrays of at most `size` conversations, in order of arrival, with only their starts."""
        while self._arrivals is not None and len(arrivals_s := self._arrivals.take(size)):
            block = np.zeros(len(arrivals_s), arrays.REQUEST)
            block["arrival_s"] = arrivals_s
            block["input_tokens"] = block["output_tokens"] = 1  # the kernel draws them
            for at in range(0, len(block), size):
                yield block[at : at + size]

    def parts_s(self) -> Iterator[float]:
        """For users, who arrive without a block: times up to which they are simulated, one after another."""
        if self.own.users is None:
            return
        pause_s = self.own.think_s if self.own.pause_s is None else self.own.pause_s
        most_rps = self.own.users / max(min(self.own.think_s, pause_s), 1.0)
        part_s = max(REQUESTS_PER_PART / most_rps, 60.0)
        while self._done_s < self.config.horizon_s:
            self._done_s = min(self._done_s + part_s, self.config.horizon_s)
            yield self._done_s

    @cached_property
    def _means(self) -> tuple[float, float]:
        """Means of prompts, context included, and of answers, over sampled conversations."""
        rng, own = np.random.default_rng(0), self.own
        z, at = np.linspace(-REACH, REACH, CELLS + 1), np.arange(SAMPLED)
        context, total_in, total_out, turns, turn = np.zeros(SAMPLED), 0.0, 0.0, 0, 0
        while len(at):
            turn += 1
            new, answer = (
                np.maximum(np.interp(rng.standard_normal(len(at)), z, tokens), 1.0) for tokens in self._tokens
            )
            prompt = np.minimum(context[at] + new, own.max_context_tokens)
            total_in, total_out, turns = (
                total_in + float(prompt.sum()),
                total_out + float(answer.sum()),
                turns + len(at),
            )
            context[at] = prompt + answer
            fixed = own.turns_law == "fixed"
            at = at[
                np.full(len(at), turn < own.turns_mean) if fixed else rng.random(len(at)) < 1.0 - 1.0 / own.turns_mean
            ]
        return total_in / turns, total_out / turns

    @property
    def mean_input_tokens(self) -> float:
        return self._means[0]

    @property
    def mean_output_tokens(self) -> float:
        return self._means[1]

    def state(self) -> dict[str, Any]:
        """The position, as plain data, for `restore`."""
        return {"done_s": self._done_s, "arrivals": self._arrivals.state() if self._arrivals else None}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same workload."""
        self._done_s = float(state["done_s"])
        if self._arrivals is not None:
            self._arrivals.restore(state["arrivals"])


def expect_requests_ahead(config: scenario.Scenario, who: str) -> None:
    """Raise InputError if requests must be known in advance but follow answers."""
    if config.workload.sessions is not None:
        raise InputError(f"workload.sessions: turns follow answers, so {who}")
