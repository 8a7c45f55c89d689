"""Forecasts with an issue time: at time t the scheduler sees only what was issued by t."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from caps_fast.carbon.forecast_file import grid_from_file
from caps_fast.carbon.forecasters import forecaster
from caps_fast.carbon.grid import HOUR_S, ForecastGrid, degrade, forecast_error
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.carbon.trace import CarbonTrace
    from caps_fast.grid_section import Monitor

__all__ = ["ForecastGrid", "degrade", "forecast_error", "forecast_grid"]


def forecast_grid(config: Monitor, trace: CarbonTrace, end_s: float, seed: int) -> ForecastGrid:
    """The forecasts that `config` names: hourly issues from t = 0 through `end_s` (a file's own issues: from the
    one in force at t = 0).

    `seed` is used by the noisy forecast alone. Raises InputError for an unknown forecaster, a history that is too short
    for it, or a forecast file that does not match the trace.
    """
    if config.forecast == "file":
        return grid_from_file(config, trace, end_s)
    if config.forecast_file is not None:
        raise InputError(
            f"monitor.forecast_file {config.forecast_file!r}: expected monitor.forecast = 'file' with it, not "
            f"{config.forecast!r}"
        )
    method = forecaster(config.forecast, config.forecast_error, seed)
    issued_s = np.arange(int(end_s // HOUR_S) + 1, dtype=np.float64) * HOUR_S
    return ForecastGrid(issued_s, HOUR_S, method.rows(trace, issued_s, config.forecast_hours))
