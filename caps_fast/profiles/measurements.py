"""Measurements of a serving replica from a CSV file: prompt times, decode steps and power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from caps_fast.errors import InputError
from caps_fast.parquet_check import Damaged
from caps_fast.polars_io import FAULTS, first_line, scan_csv

IDLE_W = {"a100": 63.0, "h100": 75.0}  # SplitwiseSim's constants, one GPU without a context
PEAK_W = {
    "a100": 400.0,
    "h100": 700.0,
}  # the board's limit by its data sheet: SplitwiseSim gives power as a share of it
QUANTITIES = ("prompt_tokens", "batch", "prompt_s", "step_s", "power_w", "context_each")
ROW = "__row"
MOST = 1e10  # of any value: more is an error of the file
AGAIN = "_duplicated_0"  # what Polars appends to the name of a repeated column
_LABELS = ("model", "hardware", "tensor_parallel", "precision")


@dataclass(frozen=True)
class Measurements:
    """Measurements of one replica.

    `frame` (Polars): `prompt_tokens`, `batch`, `prompt_s` (prompts of that size, `batch` of them at once), `step_s`
    (one decode step of `batch` sequences), `power_w` (mean power of one GPU), `context_each` (mean context of a
    decoding sequence); float64, null where a row has no value. `gpus` is the number of GPUs per replica, `label`
    describes the measurement, `idle_w` is a known idle power of one GPU.
    """

    path: str
    frame: pl.DataFrame
    label: str
    gpus: int
    idle_w: float | None


@dataclass(frozen=True)
class Layout:
    """The mapping of a file's columns to quantities (as expressions in SI units) and labels."""

    name: str
    labels: Mapping[str, str]
    quantities: Mapping[str, pl.Expr]
    needs: tuple[str, ...]
    power_of_replica: bool = True


def _board_w() -> pl.Expr:
    kind = pl.col("hardware").str.to_lowercase()
    return pl.coalesce(*(pl.when(kind.str.contains(name)).then(watts) for name, watts in PEAK_W.items()))


LAYOUTS = (
    Layout(
        "splitwise",
        {"model": "model", "hardware": "hardware", "tensor_parallel": "tensor_parallel"},
        {
            "prompt_tokens": pl.col("prompt_size"),
            "batch": pl.col("batch_size"),
            "prompt_s": pl.col("prompt_time") / 1e3,
            "step_s": pl.col("token_time") / 1e3,
            "power_w": pl.when(pl.col("average_power") > 0).then(pl.col("average_power") * _board_w()),
            "context_each": pl.col("prompt_size") + pl.col("token_size") / 2,
        },
        ("prompt_size", "batch_size", "token_size", "prompt_time", "token_time", "average_power"),
        power_of_replica=False,
    ),
    Layout(
        "ml-energy",
        {"model": "model_id", "hardware": "gpu_model", "tensor_parallel": "num_gpus", "precision": "weight_precision"},
        {
            "batch": pl.col("avg_batch_size"),
            "step_s": pl.col("median_itl_ms") / 1e3,
            "power_w": pl.col("avg_power_watts"),
            "context_each": pl.col("avg_output_len") / 2,  # the prompts' lengths are not in the file
        },
        ("avg_batch_size", "avg_output_len", "median_itl_ms", "avg_power_watts"),
    ),
    Layout(
        "plain",
        {name: name for name in _LABELS},
        {name: pl.col(name) for name in QUANTITIES},
        ("batch", "step_s"),
    ),
)


def read_measurements(path: str | Path, wanted: Mapping[str, str | int | None]) -> Measurements:
    """Read one replica's measurements from SplitwiseSim's table, ML.ENERGY's, or the plain layout.

    The plain layout has the columns `prompt_tokens, batch, prompt_s, step_s, power_w` (cells may be empty; `power_w` of
    the whole replica; a row with batch 0 measures idle power) and, optionally,
    `model, hardware, tensor_parallel, precision`. `wanted` filters by these four: exactly or, if nothing matches
    exactly, by a part of the name. A plain file without `tensor_parallel` takes its number of GPUs from `wanted`.

    Raises InputError if the file is not one of these, a value is not a number, or not exactly one replica is left.
    """
    path = str(path)
    raw = read_rows(path)
    layout = next((layout for layout in LAYOUTS if set(layout.needs) <= set(raw.columns)), None)
    if layout is None:
        raise InputError(
            f"{path}: columns {', '.join(raw.columns[1:])[:200]}: expected {', '.join(QUANTITIES)}, or "
            "SplitwiseSim's or ML.ENERGY's table"
        )
    chosen = choose_rows(path, raw, layout.labels, wanted)
    labels = {label: str(chosen[name][0]) for label, name in layout.labels.items() if name in chosen.columns}
    gpus = gpus_of(path, labels.get("tensor_parallel") or wanted.get("tensor_parallel") or 1)
    frame = _quantities(path, chosen, layout)
    if layout.power_of_replica:
        frame = frame.with_columns(pl.col("power_w") / gpus)
    hardware = labels.get("hardware", "").lower()
    idle_w = next((watts for name, watts in IDLE_W.items() if name in hardware), None)
    return Measurements(path, frame, ", ".join(f"{label} {value}" for label, value in labels.items()), gpus, idle_w)


def read_rows(path: str) -> pl.DataFrame:
    """A CSV file's rows as text, numbered from 1 in the column `ROW`. Raises InputError if there are none."""
    try:
        frame = scan_csv(path).collect().rename(str.strip)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}): expected measurements in CSV") from None
    except (*FAULTS, Damaged) as error:
        raise InputError(f"{path}: not readable as CSV: {first_line(error)}") from None
    if frame.is_empty():
        raise InputError(f"{path}: no measurements: expected at least one row")
    twice = [name.removesuffix(AGAIN) for name in frame.columns if name.endswith(AGAIN)]
    if twice:
        raise InputError(f"{path}: two columns {twice[0]}; expected one")
    return frame.with_row_index(ROW, offset=1)


def choose_rows(
    path: str, raw: pl.DataFrame, labels: Mapping[str, str], wanted: Mapping[str, str | int | None]
) -> pl.DataFrame:
    """The rows of one replica that match `wanted`. Raises InputError if not exactly one replica is left."""
    present = {label: name for label, name in labels.items() if name in raw.columns}
    for label, value in wanted.items():
        if value is None or (label == "tensor_parallel" and label not in present):
            continue
        if label not in present:
            raise InputError(f"{path}: {label} {value}: expected none, since the file has no such column")
        column, text = pl.col(present[label]).str.to_lowercase(), str(value).lower()
        exact = raw.filter(column == text)
        kept = (
            exact if len(exact) or label == "tensor_parallel" else raw.filter(column.str.contains(text, literal=True))
        )
        if kept.is_empty():
            raise InputError(
                f"{path}: {label} {value}: expected one of "
                f"{', '.join(raw[present[label]].unique().sort().drop_nulls())}"
            )
        raw = kept
    for label, name in present.items():
        values = raw[name].unique().sort().to_list()
        if len(values) > 1:
            raise InputError(
                f"{path}: several values of {label}: expected --{label.replace('_', '-')} with one of "
                f"{', '.join(map(str, values))[:300]}"
            )
    return raw


def _quantities(path: str, chosen: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    used = [name for name in chosen.columns if name in layout.needs or (layout.name == "plain" and name in QUANTITIES)]
    numbers = numbers_of(path, chosen, used)
    known = {
        name: expression
        for name, expression in layout.quantities.items()
        if layout.name != "plain" or name in chosen.columns
    }
    return numbers.select(known.get(name, pl.lit(None)).cast(pl.Float64).alias(name) for name in QUANTITIES)


def numbers_of(path: str, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The rows with these columns as numbers from 0 to `MOST`, null where a cell is empty.

    Raises InputError for another cell.
    """
    numbers = rows.with_columns(pl.col(names).str.strip_chars().replace("", None).cast(pl.Float64, strict=False))
    for name in names:
        given = rows[name].is_not_null() & (rows[name].str.strip_chars() != "")
        bad = (
            given & ~(numbers[name].is_finite() & (numbers[name] >= 0) & (numbers[name] <= MOST)).fill_null(value=False)
        ).arg_true()
        if len(bad):
            row = bad[0]
            raise InputError(
                f"{path}: row {rows[ROW][row]}: {name} {rows[name][row]!r}: expected a finite number from 0 to {MOST:g}"
            )
    return numbers


def gpus_of(path: str, value: str | int) -> int:
    """GPUs per replica, from a file or an option. Raises InputError."""
    text = str(value)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{path}: tensor_parallel {text!r}: expected a whole number from 1")
    return int(text)
