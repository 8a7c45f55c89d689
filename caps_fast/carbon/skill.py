"""Error of the forecasters on a given trace, by lead day, and published figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caps_fast.carbon.forecast_file import grid_from_file
from caps_fast.carbon.forecasters import NAMES, forecaster
from caps_fast.carbon.grid import HOUR_S, ForecastGrid, forecast_error
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.carbon.trace import CarbonTrace
    from caps_fast.grid_section import Monitor

Floats = NDArray[np.float64]

DAY_S = 86400.0

CARBONCAST = {
    "CISO": (6.5, 14.7, 19.7, 21.8),
    "ERCOT": (7.9, 15.4, 19.0, 20.9),
    "PJM": (3.1, 5.5, 7.1, 8.2),
    "ISO-NE": (4.3, 9.2, 10.7, 11.6),
    "DE": (7.2, 11.8, 14.0, 16.6),
    "ES": (10.8, 17.6, 20.4, 21.4),
    "SE": (3.3, 5.9, 6.8, 7.3),
    "PL": (2.4, 4.2, 4.9, 5.6),
}
"""Mean absolute percentage error of lead days 1-4: CarbonCast's files, July-December 2021, life-cycle, forecasts
from the source mix.
"""


def error_table(config: Monitor, trace: CarbonTrace, history_days: float, seed: int) -> pl.DataFrame:
    """Mean absolute percentage error of every forecaster: columns `forecaster`, `day_1`, `day_2`, ... (percent).

    One issue a day, from `history_days` after the trace's first sample until the last one whose `forecast_hours` the
    trace still covers. With a `forecast_file`, its own issues of that time are the row `file`. Raises InputError where
    the trace is too short.
    """
    issued_s = daily_issues(trace, history_days, config.forecast_hours)
    grids = {
        name: ForecastGrid(
            issued_s, HOUR_S, forecaster(name, config.forecast_error, seed).rows(trace, issued_s, config.forecast_hours)
        )
        for name in NAMES
    }
    if config.forecast_file is not None:
        whole = grid_from_file(config, trace, float(issued_s[-1]))
        timely = (whole.issued_s >= issued_s[0]) & (whole.issued_s <= issued_s[-1])
        grids["file"] = ForecastGrid(whole.issued_s[timely], whole.step_s, whole.g_per_kwh[timely])
    rows = {name: 100 * forecast_error(grid, trace) for name, grid in grids.items() if grid.issued_s.size}
    days = range(max(errors.size for errors in rows.values()))
    columns = {
        f"day_{day + 1}": [float(errors[day]) if day < errors.size else None for errors in rows.values()]
        for day in days
    }
    return pl.DataFrame({"forecaster": list(rows), **columns}).fill_nan(None)


def daily_issues(trace: CarbonTrace, history_days: float, hours: int) -> Floats:
    """Issue times a day apart with this much history before them and this many hours of the trace after them.

    Raises InputError if there is none.
    """
    first_s = float(trace.times_s[0]) + history_days * DAY_S
    last_s = float(trace.times_s[-1]) - hours * HOUR_S
    if last_s < first_s:
        span = (trace.times_s[-1] - trace.times_s[0]) / DAY_S
        raise InputError(
            f"{trace.source}: spans {span:.1f} days; expected more than {history_days:g} days of history and "
            f"{hours} h after them"
        )
    issues: Floats = np.arange(first_s, last_s + 1.0, DAY_S)
    return issues
