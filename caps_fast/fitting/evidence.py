"""Evidence of measurements about a set of fields: relative errors in groups, each of one kind and one accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from caps_fast.profiles.step_tables import PHASES, Steps
from caps_fast.profiles.step_time import step_s
from caps_fast.records import Array
from caps_fast.validation.compare import latencies
from caps_fast.validation.log import RequestLog
from caps_fast.validation.replay import Played, Replay

REQUESTS_A_POINT = 10  # of a short log
RANKS = 20  # groups of requests, from fastest to slowest
ALIKE = 12  # groups of requests, from the least to the most of something
LEAST_S, NEVER_S = 1e-9, 1e9
MOST_POINTS = (
    30  # largest weight of a phase of a table, or a latency of a log: beyond it, the common error of the form dominates
)
ROUNDING, MODEL = (
    2e-4,
    1e-2,
)  # least spreads: by a table's digits; of a log, which no form follows closer


@dataclass(frozen=True)
class Group:
    """Points that are equally accurate.

    measured, fitted  seconds, float64 (n,)
    points            that they count for
    least_spread      of their errors
    bias              standard deviation of an error common to all; 0 = none
    """

    name: str
    measured: Array
    fitted: Array
    labels: tuple[str, ...]
    points: float
    least_spread: float
    bias: float = 0.0

    @property
    def raw_errors(self) -> Array:
        """Logarithms of fitted / measured, float64 (n,)."""
        return np.asarray(np.log(np.maximum(self.fitted, LEAST_S) / self.measured))

    @property
    def common(self) -> float:
        """The common error, in its standard deviations."""
        return float(self.raw_errors.mean()) / self.bias if self.bias else 0.0

    @property
    def errors(self) -> Array:
        """The errors without the common one, float64 (n,)."""
        raw = self.raw_errors
        return np.asarray(raw - raw.mean()) if self.bias else raw


class Evidence(Protocol):
    """A file of measurements."""

    def groups(self, fields: Mapping[str, float]) -> Iterator[Group]:
        """Measured and computed values under these fields."""
        ...


@dataclass(frozen=True)
class StepEvidence:
    """A table of steps, phase by phase; `cpu_s` of an iteration is in the fields but not in the table.

    `bias` is that of its phases relative to a log: a timed step need not include all the time between two steps.
    """

    steps: Steps
    cpu_s: float
    bias: float = 0.0

    @cached_property
    def _phases(self) -> list[tuple[str, Array, tuple[str, ...]]]:
        """The name of every phase, its rows and their content."""
        found = ((name, np.flatnonzero(self.steps.phase == phase)) for phase, name in enumerate(PHASES))
        return [(name, rows, tuple(self.steps.at(row) for row in rows)) for name, rows in found if len(rows)]

    def groups(self, fields: Mapping[str, float]) -> Iterator[Group]:
        own = {
            **fields,
            "overhead_s": fields["overhead_s"] - self.cpu_s,
            "decode_base_s": fields["decode_base_s"] - self.cpu_s,
        }
        fitted = step_s(own, self.steps)
        for name, rows, labels in self._phases:
            yield Group(f"{name} steps", self.steps.step_s[rows], fitted[rows], labels, len(rows), ROUNDING, self.bias)


@dataclass(frozen=True)
class LogEvidence:
    """A request log and its replay: means over requests of equal rank (the distribution), and of requests that are
    similar in length or in the load that they met, by the log.

    A single request's times depend on its arrival within an iteration, which no measurement repeats; means do not.
    """

    log: RequestLog
    replay: Replay
    lag_iterations: int

    @cached_property
    def _parts(self) -> dict[str, list[tuple[str, list[Array], tuple[str, ...]]]]:
        """By latency: a name, the requests of every part and a label of each."""
        log, met = self.log, met_in_engine(self.log)
        several = log.output_tokens > 1
        alike = {
            "ttft": {"length": log.input_tokens, "others at arrival": met["others"]},
            "tpot": {
                "length": log.input_tokens + log.output_tokens,
                "others": met["company"],
                "others' prompts": met["prompts"],
            },
        }
        found: dict[str, list[tuple[str, list[Array], tuple[str, ...]]]] = {}
        for latency, features in alike.items():
            found[latency] = []
            for name, values in features.items():
                kept = values[several] if latency == "tpot" else values
                if len(kept) and kept.min() < kept.max():
                    parts = np.array_split(np.argsort(kept, kind="stable"), min(ALIKE, len(kept)))
                    labels = tuple(f"{kept[part[0]]:,.4g} to {kept[part[-1]]:,.4g}" for part in parts)
                    found[latency].append((name, parts, labels))
        return found

    def groups(self, fields: Mapping[str, float]) -> Iterator[Group]:
        yield from self.beside(self.replay.play({**fields, "lag_iterations": self.lag_iterations}))

    def beside(self, played: Played) -> Iterator[Group]:
        """The groups of a replay."""
        log = self.log
        measured, simulated = (
            latencies(log, *times) for times in ((log.ttft_s, log.e2e_s), (played.ttft_s, played.e2e_s))
        )
        for latency, alike in self._parts.items():
            one, other = measured[latency], np.nan_to_num(simulated[latency], nan=NEVER_S)
            if not len(one):
                continue
            parts = np.array_split(np.arange(len(one)), min(RANKS, len(one)))
            each = min(MOST_POINTS, len(one) / REQUESTS_A_POINT) / (len(parts) + sum(len(kept) for _, kept, _ in alike))
            labels = tuple(f"{part[0] / len(one):.0%} to {(part[-1] + 1) / len(one):.0%}" for part in parts)
            yield Group(
                f"{latency} by rank",
                _means(np.sort(one), parts),
                _means(np.sort(other), parts),
                labels,
                each * len(parts),
                MODEL,
            )
            for name, kept, texts in alike:
                yield Group(
                    f"{latency} by {name}", _means(one, kept), _means(other, kept), texts, each * len(kept), MODEL
                )


def met_in_engine(log: RequestLog) -> dict[str, Array]:
    """The load that every request of a log met, by the log's own times, float64 (n,) each.

    others   requests in the system at its arrival
    company  mean number of requests while it decoded, including itself
    prompts  prompt tokens per second of requests whose first token came while it decoded
    """
    first_s, end_s = log.arrival_s + log.ttft_s, log.arrival_s + log.e2e_s
    ends = np.sort(end_s)
    others = np.arange(len(log)) - np.searchsorted(ends, log.arrival_s, side="right")
    spent_s = np.maximum(end_s - first_s, 1e-9)
    present = _area(first_s, ends, end_s) - _area(first_s, ends, first_s)
    order = np.argsort(first_s, kind="stable")
    tokens = np.concatenate([[0.0], np.cumsum(log.input_tokens[order])])
    at = [np.searchsorted(first_s[order], times, side="right") for times in (first_s, end_s)]
    return {
        "others": others.astype(np.float64),
        "company": present / spent_s,
        "prompts": (tokens[at[1]] - tokens[at[0]]) / spent_s,
    }


def _area(starts: Array, ends: Array, until_s: Array) -> Array:
    """Integral from the start to `until_s` of the number that have started and not ended."""
    total = np.zeros(len(until_s))
    for times, sign in ((np.sort(starts), 1.0), (np.sort(ends), -1.0)):
        sums = np.concatenate([[0.0], np.cumsum(times)])
        count = np.searchsorted(times, until_s, side="right")
        total += sign * (count * until_s - sums[count])
    return total


def _means(values: Array, parts: Sequence[Array]) -> Array:
    return np.asarray(np.maximum(np.array([values[part].mean() for part in parts]), LEAST_S))
