"""Several sources of requests as one, in order of time; blocks of any size hold the same requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from caps_fast import arrays
from caps_fast.records import Array


class Source(Protocol):
    """A source of requests in order of arrival, in parts of any size."""

    def take(self, size: int) -> Array:
        """About `size` further requests (REQUEST); none at the end."""
        ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


class Merged:
    """Requests of all sources, merged by arrival; those that arrive together in the order of the sources.

    The state holds each source's state before its last call, and the number of its requests that have been yielded: so
    it is small, whatever waits here.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self._before: list[dict[str, Any]] = [source.state() for source in sources]
        self._handed = [0 for _ in sources]
        self._waiting: list[Array | None] = [None for _ in sources]  # None: must be called
        self._ended = [False for _ in sources]

    def blocks(self, size: int) -> Iterator[Array]:
        """REQUEST arrays of at most `size` requests."""
        while True:
            for index, requests in enumerate(self._waiting):
                if requests is None and not self._ended[index]:
                    self._before[index], self._handed[index] = self.sources[index].state(), 0
                    self._ask(index, size)
            here = [index for index, requests in enumerate(self._waiting) if requests is not None]
            if not here:
                return
            if len(self.sources) == 1:
                yield from self._alone(self._waiting[0], size)
                continue
            parts = [self._ready(index) for index in here]
            if not any(len(part) for part in parts):  # a source has only requests of one time here
                for index in here:
                    if not self._ended[index]:
                        self._ask(index, size)
                continue
            order = np.argsort(np.concatenate([part["arrival_s"] for part in parts]), kind="stable")
            chosen, owner = joined(parts, order), np.repeat(here, [len(part) for part in parts])[order]
            for at in range(0, len(order), size):
                for index, count in enumerate(np.bincount(owner[at : at + size], minlength=len(self.sources)).tolist()):
                    self._hand_out(index, count)
                yield chosen[at : at + size]

    def _alone(self, requests: Array | None, size: int) -> Iterator[Array]:
        """The waiting requests of a single source."""
        count = 0 if requests is None else len(requests)
        for at in range(0, count, size):
            part = requests[at : at + size]  # type: ignore[index]
            self._hand_out(0, len(part))
            yield part

    def _ready(self, index: int) -> Array:
        """A source's requests that precede all requests not yet here."""
        pairs = zip(self._waiting, self._ended, strict=True)
        open_ends = [requests["arrival_s"][-1] for requests, ended in pairs if requests is not None and not ended]
        requests = self._waiting[index]
        assert requests is not None
        if not open_ends:
            return requests
        return requests[: np.searchsorted(requests["arrival_s"], min(open_ends))]

    def _ask(self, index: int, size: int) -> None:
        """Get more requests from a source, in addition to those that wait."""
        requests, more = self._waiting[index], self.sources[index].take(size)
        if not len(more):
            self._ended[index] = True
        elif requests is None:
            self._waiting[index] = more
        else:
            self._waiting[index] = joined([requests, more])

    def _hand_out(self, index: int, count: int) -> None:
        requests = self._waiting[index]
        if requests is None or not count:
            return
        self._handed[index] += count
        rest = requests[count:]
        self._waiting[index] = rest if len(rest) else None

    def state(self) -> dict[str, Any]:
        """The position, as plain data."""
        return {"before": list(self._before), "handed": list(self._handed)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same sources."""
        for index, source in enumerate(self.sources):
            before, handed = state["before"][index], int(state["handed"][index])
            source.restore(before)
            self._before[index], self._handed[index] = before, handed
            self._waiting[index], self._ended[index] = None, False
            if handed:
                self._waiting[index] = self._after(source, handed)

    @staticmethod
    def _after(source: Source, handed: int) -> Array | None:
        """The waiting requests after this many have been yielded; None if there are none."""
        parts, count = [], 0
        while count <= handed:
            parts.append(source.take(max(handed - count, 1)))
            if not len(parts[-1]):
                break
            count += len(parts[-1])
        rest = joined(parts)[handed:]
        return rest if len(rest) else None


def joined(parts: Sequence[Array], order: Array | None = None) -> Array:
    """One array of several, in `order` if given: copied as words, because NumPy copies records field by field."""
    words = arrays.REQUEST.itemsize // 8
    rows = np.concatenate([np.ascontiguousarray(part).view(np.uint64).reshape(-1, words) for part in parts])
    return (rows if order is None else rows[order]).view(arrays.REQUEST).reshape(-1)
