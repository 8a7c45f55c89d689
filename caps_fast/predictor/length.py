"""The output-length model: n_out_hat with a spread, as LightGBM forests over logarithms of tokens, tabulated."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caps_fast._jit import kernel, use_cache
from caps_fast.policies.risk import bin_of, guide_to
from caps_fast.predictor import features
from caps_fast.predictor.features import LENGTH_FEATURES, Histories, Known, histories_of
from caps_fast.predictor.forest import Tables, look_up, padded
from caps_fast.records import Array

INPUT, TURNS, TASK, MEAN, SD, COUNT = range(len(LENGTH_FEATURES))
GROUPS = ((TASK, MEAN, INPUT), (MEAN, SD), (TASK, COUNT), (INPUT, TURNS))
BINS = (255, 15, 8, 127, 15, 15)  # input lengths and means need fine bins
STRETCH = 256  # requests that pass through the model's loops together
QUANTILES = (0.1, 0.9)  # of the interval around the median


class Lookup(NamedTuple):
    """The median forest as arrays for the block-wise pass."""

    input_bin: Array  # uint16, by tokens; the last entry holds for all above
    turns_bin: Array  # uint16, by turns
    task_bin: Array  # uint16, by task
    edges: Array  # float64 (3, n): history's mean, sd, count, padded with inf
    guide: Array  # uint16 (3, cells): start of the search for a bin
    by_input: Array  # float64 (task, mean, input)
    by_spread: Array  # float64 (mean, sd)
    by_count: Array  # float64 (task, count)
    by_turns: Array  # float64 (input, turns)


@dataclass(frozen=True)
class LengthModel:
    """Median and interval of output tokens.

    Forests are over log tokens; `widen` is added to the interval's ends for the right coverage.
    """

    median: Tables
    low: Tables
    high: Tables
    widen: tuple[float, float]
    lag_s: float

    @cached_property
    def key(self) -> str:
        """Equal for models with the same predictions."""
        return hashlib.sha256(f"{self.lag_s} {self.median.text}".encode()).hexdigest()

    def predict(self, rows: Array) -> Array:
        """Median output tokens, at least 1, float64 (n,), of rows (n, len(LENGTH_FEATURES))."""
        return np.maximum(np.exp(look_up(rows, self.median)), 1.0)

    def interval(self, rows: Array) -> tuple[Array, Array]:
        """The 10 % and 90 % quantiles of output tokens, float64 (n,) each."""
        low = np.exp(look_up(rows, self.low) - self.widen[0])
        return low, np.maximum(np.exp(look_up(rows, self.high) + self.widen[1]), low)

    def lookup(self) -> Lookup:
        """Arrays for `Lengths`."""
        edges, tables = self.median.edges, self.median.tables
        tokens, turns, task = (_bins_of_whole(edges[feature]) for feature in (INPUT, TURNS, TASK))
        by_input, by_spread, by_count, by_turns = tables
        searched = padded([edges[MEAN], edges[SD], edges[COUNT]])
        return Lookup(tokens, turns, task, searched, guide_to(searched), by_input, by_spread, by_count, by_turns)


class Lengths:
    """n_out_hat for a stream of requests, block by block; tenants' histories continue across blocks, so results do not
    depend on the block size.
    """

    def __init__(self, model: LengthModel, past: Iterable[Array] = ()) -> None:
        self.tables = model.lookup()
        self.histories = Histories(model.lag_s)
        self.scratch = np.empty((STRETCH, 3))
        for block in past:
            self(block)

    def __call__(self, block: Array) -> Array:
        """The block (REQUEST) with `predicted_tokens` filled in, as a copy."""
        block = block.view(np.uint8).copy().view(block.dtype)  # as bytes: a plain copy copies field by field
        self.histories.make_room(block)
        log_tokens = np.empty(len(block))
        _predict(block, np.log(block["output_tokens"]), self.histories.known, self.tables, self.scratch, log_tokens)
        block["predicted_tokens"] = np.maximum(np.exp(log_tokens), 1.0)
        return block


def _bins_of_whole(edges: Array) -> Array:
    """The bin of every whole value from 0 to the first in the last bin: uint16 (n,)."""
    last = max(math.floor(edges[-1]) + 1, 0) if len(edges) else 0
    return np.searchsorted(edges, np.arange(last + 1)).astype(np.uint16)


@kernel
def _predict(block: Array, answers: Array, known: Known, tables: Lookup, scratch: Array, log_tokens: Array) -> None:
    """Fill in the predicted `log_tokens`, in order of arrival.

    A stretch of requests passes one short loop after the other (`scratch` holds intermediate values), so that the
    processor works on several requests at once.
    """
    first = 0
    while first < block.shape[0]:
        rows = scratch[: min(scratch.shape[0], block.shape[0] - first)]
        histories_of(block, answers, known, first, rows)
        for i in range(rows.shape[0]):
            request = block[first + i]
            tokens = tables.input_bin[min(request["input_tokens"], tables.input_bin.shape[0] - 1)]
            turns = tables.turns_bin[min(request["turns"], tables.turns_bin.shape[0] - 1)]
            task = tables.task_bin[min(request["task"], tables.task_bin.shape[0] - 1)]
            mean = bin_of(tables.edges, tables.guide, 0, rows[i, 0])
            by_spread = tables.by_spread[mean, bin_of(tables.edges, tables.guide, 1, rows[i, 1])]
            by_count = tables.by_count[task, bin_of(tables.edges, tables.guide, 2, rows[i, 2])]
            log_tokens[first + i] = (
                tables.by_input[task, mean, tokens] + tables.by_turns[tokens, turns] + by_spread + by_count
            )
        first += rows.shape[0]


use_cache(_predict, Path(features.__file__), Path(__file__))
