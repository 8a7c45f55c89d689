"""A power log of a run: seconds and watts, or the format of nvidia-smi."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from caps_fast.errors import InputError
from caps_fast.parquet_check import Damaged
from caps_fast.polars_io import FAULTS, first_line, scan_csv
from caps_fast.records import Array
from caps_fast.validation.log import EPOCH_S, RequestLog

OURS = ("time_s", "power_w")
NVIDIA_SMI = ("timestamp", "power.draw [W]")
MOST = 1e10  # watts, and seconds: more is an error of the file
DATE = "%Y/%m/%d %H:%M:%S.%f"


@dataclass(frozen=True)
class PowerLog:
    """Watts of all replicas together: `power_w` float64 (n,) from each `time_s` (seconds on the request log's
    clock) to the next.
    """

    path: str
    time_s: Array
    power_w: Array

    def mean_w(self, log: RequestLog) -> float:
        """Mean from a log's first arrival to its last completion.

        Raises InputError if the power log does not span that.
        """
        return float(self.means_w(log, 1)[0])

    def means_w(self, log: RequestLog, parts: int) -> Array:
        """Means over equal parts of a log's time, float64 (parts,).

        Raises InputError if the power log does not span it.
        """
        start_s = self.time_s - log.began_s
        end_s = float((log.arrival_s + log.e2e_s).max())
        if self.time_s[0] >= EPOCH_S and not log.dated:
            raise InputError(
                f"{self.path}: has dates, but {log.path} has none: expected seconds on the clock of its arrivals"
            )
        gap_s = float(np.median(np.diff(start_s))) if len(start_s) > 1 else 0.0
        if start_s[0] > 2 * gap_s or start_s[-1] < end_s - 2 * gap_s:
            raise InputError(
                f"{self.path}: spans {start_s[0]:.6g} to {start_s[-1]:.6g} s after the first request of "
                f"{log.path}: expected 0 to {end_s:.6g} s"
            )
        edges = edges_of(log, parts)
        joules = np.concatenate([[0.0], np.cumsum(self.power_w[:-1] * np.diff(start_s))])
        at = np.clip(np.searchsorted(start_s, edges, side="right") - 1, 0, len(start_s) - 1)
        sums = joules[at] + self.power_w[at] * (edges - start_s[at])
        return np.asarray(np.diff(sums) / np.diff(edges))


def edges_of(log: RequestLog, parts: int) -> Array:
    """Times that divide a log's run, from its first arrival to its last completion, into equal parts, float64 (parts
    + 1,).
    """
    return np.linspace(0.0, float((log.arrival_s + log.e2e_s).max()), parts + 1)


def is_power_log(columns: list[str]) -> bool:
    """Whether a CSV file of these columns is a power log."""
    names = {name.strip() for name in columns}
    return {*OURS} <= names or {*NVIDIA_SMI} <= names


def read_power_log(path: str | Path) -> PowerLog:
    """Read `time_s, power_w`, or nvidia-smi's `timestamp, power.draw [W]` (UTC; with `index`, the sum over GPUs).

    Raises InputError naming file, row and column.
    """
    path = str(path)
    try:
        raw = scan_csv(path).collect().rename(str.strip)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); expected a power log in CSV") from None
    except (*FAULTS, Damaged) as error:
        raise InputError(f"{path}: not readable as CSV: {first_line(error)}") from None
    if not is_power_log(raw.columns):
        shown = ", ".join(raw.columns)[:200]
        raise InputError(
            f"{path}: columns {shown}: expected {', '.join(OURS)}, or nvidia-smi's {', '.join(NVIDIA_SMI)}"
        )
    time_name, power_name = OURS if {*OURS} <= set(raw.columns) else NVIDIA_SMI
    watts = _numbers(
        path, power_name, raw[power_name].str.strip_chars().str.strip_suffix("W").str.strip_chars(), raw[power_name]
    )
    if time_name == OURS[0]:
        seconds = _numbers(path, time_name, raw[time_name].str.strip_chars(), raw[time_name])
    else:
        seconds = np.array([_seconds(path, row, text) for row, text in enumerate(raw[time_name], 1)])
    if len(seconds) < 2:
        raise InputError(f"{path}: {len(seconds)} readings: expected at least two")
    index = (
        raw["index"].fill_null("").str.strip_chars().to_numpy()
        if "index" in raw.columns
        else np.full(len(seconds), "0")
    )
    return _summed(path, seconds, watts, index)


def _summed(path: str, seconds: Array, watts: Array, index: Array) -> PowerLog:
    """The sum over GPUs, each reading in force until the GPU's next."""
    times = np.unique(seconds)
    total = np.zeros(len(times))
    for gpu in np.unique(index):
        own = np.flatnonzero(index == gpu)
        own = own[np.argsort(seconds[own], kind="stable")]
        total += watts[own][np.clip(np.searchsorted(seconds[own], times, side="right") - 1, 0, None)]
    return PowerLog(path, times, total)


def _numbers(path: str, name: str, text: pl.Series, shown: pl.Series) -> Array:
    numbers = text.cast(pl.Float64, strict=False)
    bad = (~(numbers.is_finite() & (numbers >= 0) & (numbers <= MOST)).fill_null(value=False)).arg_true()
    if len(bad):
        raise InputError(f"{path}: row {bad[0] + 1}: {name} {shown[bad[0]]!r}: expected a number from 0 to {MOST:g}")
    return numbers.to_numpy()


def _seconds(path: str, row: int, text: str | None) -> float:
    try:
        return datetime.strptime((text or "").strip(), DATE).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InputError(
            f"{path}: row {row}: timestamp {text!r}: expected a date like 2026/11/29 10:00:00.000"
        ) from None
