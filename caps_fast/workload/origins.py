"""Requests with their origins: stated by a trace or a client group, or drawn by the tier's shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from caps_fast.places import Places
from caps_fast.records import Array
from caps_fast.scenario import Scenario
from caps_fast.sections import TIERS
from caps_fast.workload.streams import set_states, states, stream


def with_rows(block: Array, uniform: Array, places: Places) -> None:
    """Set the origin of requests to their row of `arrays.Origin`, in place of the code that they are handed over with;
    an origin that is not stated is drawn by the tier's shares, with `uniform`, float64 (n,).
    """
    count = len(places.origins)
    shares = np.array([[origin.share_of(tier) for origin in places.origins.values()] for tier in TIERS], np.float64)
    upto = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)[:, :-1]  # (tiers, origins - 1)
    bound, stated = np.divmod(block["origin"].astype(np.int64), count + 1)
    drawn = (uniform[:, None] >= upto[block["tier"]]).sum(axis=1)
    block["origin"] = bound * count + np.where(stated > 0, stated - 1, drawn)


class WithOrigins:
    """A source of requests (`Workload`), with the row of `arrays.Origin` in place of the code of the source."""

    def __init__(self, source: Any, config: Scenario, places: Places) -> None:
        self.source, self.notes = source, source.notes
        self._places = places
        self._streams = {"origins": stream(config.seed, "origins")}

    @property
    def drawn(self) -> bool:
        drawn: bool = self.source.drawn
        return drawn

    @property
    def expected_requests(self) -> float | None:
        expected: float | None = self.source.expected_requests
        return expected

    @property
    def spread(self) -> float | None:
        spread: float | None = self.source.spread
        return spread

    @property
    def mean_input_tokens(self) -> float:
        mean: float = self.source.mean_input_tokens
        return mean

    @property
    def mean_output_tokens(self) -> float:
        mean: float = self.source.mean_output_tokens
        return mean

    def blocks(self, size: int) -> Iterator[Array]:
        """REQUEST arrays of at most `size` requests, in order of arrival; the same requests whatever the size."""
        for block in self.source.blocks(size):
            with_rows(block, self._streams["origins"].random(len(block)), self._places)
            yield block

    def parts_s(self) -> Iterator[float]:
        """Times up to which to play where nothing comes in blocks."""
        yield from self.source.parts_s()

    def state(self) -> dict[str, Any]:
        """The position of the source, as plain data, for `restore`."""
        return {**self.source.state(), "origin_streams": states(self._streams)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same workload."""
        set_states(self._streams, state["origin_streams"])
        self.source.restore({name: value for name, value in state.items() if name != "origin_streams"})
