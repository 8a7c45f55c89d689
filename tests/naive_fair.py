"""Virtual token counters for the reference engine (docs/model.md, section 13)."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from naive_state import Job, Queue

if TYPE_CHECKING:
    from naive import Engine

Entry = tuple[tuple[float, ...], int, Job]


def owner(engine: Engine, job: Job) -> int:
    assert engine.setup.fairness
    found: int = getattr(job.request, engine.setup.fairness.by)
    return found


def head(engine: Engine, queue: Queue) -> Entry:
    """Who goes first: of the owner with the lowest counter, then by key and input order."""
    if not engine.setup.fairness:
        return queue.waiting[0]
    return min(queue.waiting, key=lambda entry: (queue.counters[owner(engine, entry[2])], *entry[:2]))


def take(engine: Engine, queue: Queue, entry: Entry) -> None:
    """Out of the queue."""
    queue.waiting.remove(entry)
    heapq.heapify(queue.waiting)
    if engine.setup.fairness and not any(
        owner(engine, other) == owner(engine, entry[2]) for _, _, other in queue.waiting
    ):
        queue.last_left = owner(engine, entry[2])


def lift(engine: Engine, queue: Queue, job: Job) -> None:
    """An owner that comes back starts from those who wait, or from who left last."""
    if not engine.setup.fairness:
        return
    queue.blocked = False
    own, waiting = owner(engine, job), {owner(engine, other) for _, _, other in queue.waiting}
    if own not in waiting:
        last = [] if queue.last_left is None else [queue.last_left]
        counters = [queue.counters.get(other, 0.0) for other in waiting or last]
        queue.counters[own] = max(queue.counters.get(own, 0.0), min(counters, default=0.0))


def count(engine: Engine, queue: Queue, job: Job, input_tokens: int = 0, output_tokens: int = 0) -> None:
    """Tokens served."""
    fairness = engine.setup.fairness
    if fairness:
        weighted = fairness.input_weight * input_tokens + fairness.output_weight * output_tokens
        queue.counters[owner(engine, job)] = queue.counters.get(owner(engine, job), 0.0) + weighted
