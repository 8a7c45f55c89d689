"""Tables of engine steps: the content and the duration of iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import polars as pl

from caps_fast.errors import InputError
from caps_fast.profiles.measurements import ROW, Measurements, choose_rows, gpus_of, numbers_of, read_rows
from caps_fast.records import Array

LABELS = ("model", "hardware", "tensor_parallel", "precision")
NEEDED = ("decoding", "prompt_tokens")
PHASES = ("decode", "prompt", "mixed")


@dataclass(frozen=True)
class Steps:
    """Iterations of one replica, float64 (n,) each.

    decoding        sequences that decode
    context_tokens  of these, prompts and answers so far
    prompt_tokens   prompt tokens processed
    prompts         number of these prompts
    pairs           sum over these prompts of k (done + k / 2), with k tokens processed after `done` before
    step_s          seconds of the iteration
    power_w         watts of one GPU during it, nan where not measured
    kernels         whether `step_s` is the sum of kernel times, in which CPU time is missing
    """

    path: str
    decoding: Array
    context_tokens: Array
    prompt_tokens: Array
    prompts: Array
    pairs: Array
    step_s: Array
    power_w: Array
    gpus: int
    kernels: bool
    label: str
    idle_w: float | None

    def __len__(self) -> int:
        return len(self.step_s)

    @property
    def phase(self) -> Array:
        """Index into `PHASES` of every step, int (n,)."""
        return np.where(self.prompt_tokens == 0, 0, np.where(self.decoding == 0, 1, 2))

    def at(self, row: SupportsIndex) -> str:
        """The content of a step, in words."""
        prompts = f" + {self.prompt_tokens[row]:,.0f} of prompts" if self.prompt_tokens[row] else ""
        return f"{self.decoding[row]:,.0f} decoding, {self.context_tokens[row]:,.0f} of context{prompts}"


def is_step_table(columns: Sequence[str]) -> bool:
    """Whether a CSV file of these columns is a table of steps."""
    return {*NEEDED} <= {name.strip() for name in columns}


def read_steps(path: str | Path, wanted: Mapping[str, str | int | None]) -> Steps:
    """Read a table of steps.

    Columns: `decoding`; `context_tokens` (of all decoding sequences) or `context_each` (of one, as tables of kernel
    sums have it); `prompt_tokens`; `prompt_tokens_before` (0 where there is no such column; of each prompt);
    `prompts_in_step` (1); `step_s`, or `step_s_median`; `power_w` of the whole replica, where measured. A row without
    decoding sequences and prompt tokens measures idle power. `wanted` filters by `model`, `hardware` (or `gpu`),
    `tensor_parallel` and `precision`. Raises InputError naming file, row and column.
    """
    path = str(path)
    raw = read_rows(path)
    context = _one_of(path, raw, ("context_tokens", "context_each"))
    seconds = _one_of(path, raw, ("step_s", "step_s_median"))
    labels = {name: name for name in LABELS} | ({"hardware": "gpu"} if "hardware" not in raw.columns else {})
    rows = choose_rows(path, raw, labels, wanted)
    optional = [name for name in ("prompt_tokens_before", "prompts_in_step", "power_w") if name in raw.columns]
    numbers = numbers_of(path, rows, [*NEEDED, context, seconds, *optional])
    _expect_complete(path, numbers, [*NEEDED, context])
    busy = numbers.filter((pl.col("decoding") > 0) | (pl.col("prompt_tokens") > 0))
    _expect_complete(path, busy, [seconds])
    idle = numbers.filter((pl.col("decoding") == 0) & (pl.col("prompt_tokens") == 0))
    zero = (busy[seconds] == 0).arg_true()
    if busy.is_empty() or len(zero):
        where = f"row {busy[ROW][zero[0]]}: {seconds} 0" if len(zero) else "no step with a sequence in it"
        raise InputError(f"{path}: {where}: expected steps that take time")
    column = {
        name: busy[name].to_numpy() if name in busy.columns else None for name in (context, seconds, *NEEDED, *optional)
    }
    decoding, tokens = busy["decoding"].to_numpy(), busy["prompt_tokens"].to_numpy()
    told = column.get("prompts_in_step")
    prompts = np.where(tokens > 0, 1.0 if told is None else np.maximum(told, 1.0), 0.0)
    before = column.get("prompt_tokens_before")
    gpus = gpus_of(
        path,
        str(rows["tensor_parallel"][0]) if "tensor_parallel" in rows.columns else wanted.get("tensor_parallel") or 1,
    )
    power_w = column.get("power_w")
    return Steps(
        path=path,
        decoding=decoding,
        context_tokens=busy[context].to_numpy() * (decoding if context == "context_each" else 1.0),
        prompt_tokens=tokens,
        prompts=prompts,
        pairs=tokens * ((0.0 if before is None else np.nan_to_num(before)) + tokens / 2 / np.maximum(prompts, 1.0)),
        step_s=busy[seconds].to_numpy(),
        power_w=np.full(len(busy), np.nan) if power_w is None else power_w.astype(np.float64) / gpus,
        gpus=gpus,
        kernels=context == "context_each",
        label=", ".join(f"{label} {rows[name][0]}" for label, name in labels.items() if name in rows.columns),
        idle_w=_idle_w(idle, gpus),
    )


def steps_of(measured: Measurements) -> Steps:
    """The steps in a table of prompt times and decode steps: medians of single prompts, and of decoding batches.

    Raises InputError if there are none.
    """
    found = measured.frame.with_columns(pl.col("context_each").fill_null(0.0))
    decode = (
        found.filter((pl.col("step_s") > 0) & (pl.col("batch") > 0))
        .group_by("batch", "context_each")
        .agg(pl.col("step_s").median())
    )
    alone = found.filter((pl.col("prompt_s") > 0) & (pl.col("prompt_tokens") > 0) & (pl.col("batch") == 1))
    prompts = alone.group_by("prompt_tokens").agg(pl.col("prompt_s").median())
    decode, prompts = decode.sort("batch", "context_each"), prompts.sort("prompt_tokens")
    if decode.is_empty():
        raise InputError(f"{measured.path}: no decode steps: expected step_s")
    none, tokens, batch = np.zeros(len(prompts)), prompts["prompt_tokens"].to_numpy(), decode["batch"].to_numpy()
    decoding = np.concatenate([batch, none])
    return Steps(
        path=measured.path,
        decoding=decoding,
        context_tokens=np.concatenate([batch * decode["context_each"].to_numpy(), none]),
        prompt_tokens=np.concatenate([np.zeros(len(decode)), tokens]),
        prompts=np.concatenate([np.zeros(len(decode)), none + 1.0]),
        pairs=np.concatenate([np.zeros(len(decode)), tokens * tokens / 2]),
        step_s=np.concatenate([decode["step_s"].to_numpy(), prompts["prompt_s"].to_numpy()]),
        power_w=np.full(len(decoding), np.nan),
        gpus=measured.gpus,
        kernels=False,
        label=measured.label,
        idle_w=None,
    )


def _one_of(path: str, raw: pl.DataFrame, names: tuple[str, str]) -> str:
    found = [name for name in names if name in raw.columns]
    if not found:
        shown = ", ".join(raw.columns[1:])[:200]
        raise InputError(f"{path}: {names[0]} is missing among the columns {shown}: expected {names[0]} or {names[1]}")
    return found[0]


def _expect_complete(path: str, numbers: pl.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        empty = numbers[name].is_null().arg_true()
        if len(empty):
            raise InputError(f"{path}: row {numbers[ROW][empty[0]]}: {name} is empty: expected a number")


def _idle_w(idle: pl.DataFrame, gpus: int) -> float | None:
    if "power_w" not in idle.columns or idle["power_w"].drop_nulls().is_empty():
        return None
    return float(idle["power_w"].median()) / gpus  # type: ignore[arg-type]
