"""A workload whose requests are all turns of conversations (docs/model.md, section 14).

Turns are drawn in the kernel, because they follow answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from caps_fast import scenario
from caps_fast.demand import laid_over
from caps_fast.habits import parts_of
from caps_fast.records import Array
from caps_fast.workload.arrivals import Arrivals
from caps_fast.workload.merged import Merged
from caps_fast.workload.session_kinds import Starts, kinds_of
from caps_fast.workload.varied import Part, rate_of


class SessionWorkload:
    """Conversations of a scenario: those that start up to its horizon; none with `users`, who exist from t = 0.

    Raises InputError for bad profiles and traces.
    """

    drawn = True
    spread: float | None = None
    expected_requests: float | None = None

    def __init__(self, config: scenario.Scenario) -> None:
        (self._kind,) = kinds_of(config)
        self.config, own = config, self._kind.habits
        self._done_s = 0.0
        self.notes: tuple[str, ...] = ()
        parts = []
        if own.users is None:
            demand, share = laid_over([config.workload]), 1.0 / own.turns_mean
            arrivals = Arrivals(demand, rate_of(config, demand, share), config.seed, 0, 0.0, config.horizon_s)
            parts.append(Part(1.0, arrivals, Starts(config, self._kind)))
        self._merged = Merged(parts)

    def blocks(self, size: int) -> Iterator[Array]:
        """REQUEST arrays of at most `size` conversations, in order of arrival: when they start, and whose they are."""
        return self._merged.blocks(size)

    def parts_s(self) -> Iterator[float]:
        """Of users, who come by themselves: times up to which they are to be played, one after another."""
        for done_s in parts_of([self._kind.habits], self._done_s, self.config.horizon_s):
            self._done_s = done_s
            yield done_s

    @property
    def mean_input_tokens(self) -> float:
        return self._kind.mean_tokens[0]

    @property
    def mean_output_tokens(self) -> float:
        return self._kind.mean_tokens[1]

    def state(self) -> dict[str, Any]:
        """Where it stands, as plain data: what `restore` takes up."""
        return {"done_s": self._done_s, **self._merged.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same workload."""
        self._done_s = float(state["done_s"])
        self._merged.restore(state)
