"""Forecasts from a file: CarbonCast's, an API's, or any in the common schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caps_fast.carbon.formats import read_carbon
from caps_fast.carbon.frame import Selected, select_series, usual_step
from caps_fast.carbon.grid import HOUR_S, ForecastGrid
from caps_fast.carbon.trace import CarbonTrace
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.grid_section import Monitor

Floats = NDArray[np.float64]


def grid_from_file(config: Monitor, trace: CarbonTrace, end_s: float) -> ForecastGrid:
    """The issues of `monitor.forecast_file` from the one in force at t = 0 to the last one by `end_s`, as hourly
    means from each issue on.

    As many leads as every issue covers, at most `forecast_hours`. Raises InputError if the file does not match the
    trace's zone, kind or scope, no forecast is issued by t = 0, or an issue has a gap or covers less than an hour.
    """
    path = config.forecast_file
    if path is None:
        raise InputError(
            "monitor.forecast_file is missing: expected a file of forecasts with monitor.forecast = 'file'"
        )
    if trace.start is None:
        raise InputError(
            f"{path}: the built-in carbon trace has no dates to match forecasts with; expected carbon.file with "
            "monitor.forecast_file"
        )
    selected = _select(path, trace)
    start_us = int(trace.start.timestamp() * 1e6)
    seconds = selected.frame.select(
        (pl.col("issued_at", "valid_at").dt.epoch("us") - start_us) / 1e6, "g_per_kwh"
    ).sort("issued_at", "valid_at")
    issues = seconds.partition_by("issued_at", as_dict=True, maintain_order=True)
    issued_s = np.array([float(key[0]) for key in issues])
    first, last = np.searchsorted(issued_s, 0.0, side="right") - 1, np.searchsorted(issued_s, end_s, side="right")
    if first < 0:
        raise InputError(
            f"{path}: the first forecast is issued {issued_s[0] / HOUR_S:g} h after the run's start; expected one "
            "issued by then"
        )
    step_s = _step_s(selected.frame)
    parts = [
        _series(part, issue, step_s, path)
        for issue, part in zip(issued_s[first:last], list(issues.values())[first:last], strict=True)
    ]
    covered = [int((end - issue) // HOUR_S) for issue, (_, _, end) in zip(issued_s[first:last], parts, strict=True)]
    leads = min(config.forecast_hours, *covered)
    if leads < 1:
        raise InputError(
            f"{path}: forecast {np.argmin(covered) + 1} covers less than an hour from its issue; expected at least one"
        )
    rows = [
        _hourly_means(times, values, issue, leads)
        for issue, (times, values, _) in zip(issued_s[first:last], parts, strict=True)
    ]
    warnings = list(selected.warnings)
    if leads < min(config.forecast_hours, max(covered)):
        warnings.append(
            f"{path}: the shortest forecast covers {min(covered)} h, others up to {max(covered)}; {leads} h are "
            "used of each"
        )
    if issued_s[last - 1] + leads * HOUR_S < end_s:
        warnings.append(
            f"{path}: the last forecast ends {(issued_s[last - 1] / HOUR_S + leads):g} h into the run, before the "
            "run's end"
        )
    return ForecastGrid(issued_s[first:last], HOUR_S, np.array(rows), tuple(warnings))


def _select(path: str, trace: CarbonTrace) -> Selected:
    frame = read_carbon(path)
    zones = frame["zone"].unique().to_list()
    return select_series(
        frame, path, zone=trace.zone if len(zones) > 1 else None, kind=trace.kind, scope=trace.scope, forecasts=True
    )


def _step_s(frame: pl.DataFrame) -> float:
    step = usual_step(frame["valid_at"].unique().sort())
    return step.total_seconds() if step is not None else HOUR_S


def _series(part: pl.DataFrame, issue_s: float, step_s: float, path: str) -> tuple[Floats, Floats, float]:
    """Times and values of one issue, and the end of its last value.

    The first value also holds from the issue to its own time.
    """
    times_s, values = part["valid_at"].to_numpy(), part["g_per_kwh"].to_numpy()
    wide = np.diff(times_s, prepend=max(issue_s, times_s[0] - step_s)) > step_s * 1.001
    if wide.any() or times_s[0] - issue_s > step_s:
        raise InputError(
            f"{path}: the forecast issued {issue_s / HOUR_S:g} h into the run has a gap; expected a value every "
            f"{step_s / 60:g} min from its issue"
        )
    return np.concatenate(([min(issue_s, times_s[0])], times_s[1:])), values, float(times_s[-1] + step_s)


def _hourly_means(times_s: Floats, values: Floats, issue_s: float, leads: int) -> Floats:
    series = CarbonTrace(times_s, values, "", "", "", "forecast")
    edges = issue_s + np.arange(leads + 1) * HOUR_S
    return series.mean(edges[:-1], edges[1:])
