"""Workloads: blocks of requests, drawn or replayed, independent of the policy and the block size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from caps_fast import scenario
from caps_fast.places import places_of
from caps_fast.records import Array
from caps_fast.workload.origins import WithOrigins


class Workload(Protocol):
    """A source of requests."""

    notes: tuple[str, ...]  # lines for the user

    @property
    def drawn(self) -> bool:
        """Whether arrivals are drawn, so that their number varies by chance."""
        ...

    @property
    def expected_requests(self) -> float | None:
        """Expected number of requests if they are drawn; None if they are replayed."""
        ...

    @property
    def spread(self) -> float | None:
        """Long-run variance of the number of drawn requests over its mean (1 for Poisson); None if unknown."""
        ...

    @property
    def mean_input_tokens(self) -> float: ...

    @property
    def mean_output_tokens(self) -> float: ...

    def blocks(self, size: int) -> Iterator[Array]:
        """REQUEST arrays of at most `size` requests, in order of arrival."""
        ...

    def parts_s(self) -> Iterator[float]:
        """Times up to which to play, one after another, where users come by themselves and nothing in blocks."""
        ...

    def state(self) -> dict[str, Any]:
        """The position of the source, as plain data, for `restore`."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same workload."""
        ...


def workload_of(config: scenario.Scenario) -> Workload:
    """The workload of a scenario over its horizon. Raises InputError for a bad trace, profile or workload file."""
    places = places_of(config)
    source: Workload
    if config.workload.trace is not None:
        from caps_fast.workload.replay import ReplayedWorkload  # noqa: PLC0415 - brings Polars

        source = ReplayedWorkload(config)
    elif config.workload.sessions is not None:
        from caps_fast.workload.conversations import SessionWorkload  # noqa: PLC0415 - brings SciPy

        source = SessionWorkload(config)
    else:
        source = drawn_workload(config)
    return WithOrigins(source, config, places) if places else source


def drawn_workload(config: scenario.Scenario, start_s: float = 0.0, end_s: float | None = None) -> Workload:
    """The requests that a scenario draws from `start_s`, below 0 in the days before the run, up to `end_s` or its
    horizon.

    Raises InputError for a bad profile or workload file.
    """
    if config.workload.is_steady:
        from caps_fast.workload.synthetic import SyntheticWorkload  # noqa: PLC0415 - brings Numba

        return SyntheticWorkload(config, start_s, end_s)
    from caps_fast.workload.varied import VariedWorkload  # noqa: PLC0415 - brings Polars

    return VariedWorkload(config, start_s, end_s)
