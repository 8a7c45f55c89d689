"""A learned forecaster: gradient-boosted trees (LightGBM) on calendar and lags.

The target is the logarithm of an hour's mean over its baseline, the same hour on the last day that is complete at the
issue (the forecaster `yesterday`): the model learns how tomorrow differs from yesterday, whatever the level of the grid
or the season.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from caps_fast.carbon.grid import HOUR_S
from caps_fast.carbon.same_hour import DAY_S, WEEK_S, mean_or_nan, periods_back, slot_starts
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.carbon.trace import CarbonTrace

Floats = NDArray[np.float64]

REFIT_S = 28 * DAY_S
TRAIN_S = 180 * DAY_S
TRAIN_EVERY_S = 5 * HOUR_S
MIN_HISTORY_DAYS = 10
"""Days of history needed in addition to the forecast days."""
FLOOR_G_PER_KWH = 1.0
"""Added to intensities in ratios, so that a grid at 0 g/kWh does not cause a division by 0."""
TREES = 50
PARAMETERS: dict[str, Any] = {
    "objective": "l1",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "seed": 1,
    "deterministic": True,
    "num_threads": 1,
    "verbosity": -1,
}


class Learned:
    """Trained on the samples before the first issue, and again every 28 days on those until then (at most the last 180
    days).
    """

    def rows(self, trace: CarbonTrace, issued_s: Floats, leads: int) -> Floats:
        """Forecasts, g/kWh, (len(issued_s), leads).

        Raises InputError if the history before the first issue is too short.
        """
        need_days = MIN_HISTORY_DAYS + int(np.ceil(leads * HOUR_S / DAY_S))
        have_days = float(issued_s[0] - trace.times_s[0]) / DAY_S
        if have_days < need_days:
            has = f"{trace.source} has {max(have_days, 0):.1f} days before the first forecast"
            raise InputError(
                f"monitor.forecast 'learned': {has}; expected at least {need_days} (move carbon.start, or use "
                "another forecast)"
            )
        parts = [self._block(trace, block, leads) for block in _blocks(issued_s)]
        return np.concatenate(parts)

    def _block(self, trace: CarbonTrace, issued_s: Floats, leads: int) -> Floats:
        import lightgbm  # noqa: PLC0415 (half a second, only needed here)

        now_s = float(issued_s[0])
        first_s = max(float(trace.times_s[0]) + float(np.ceil(leads * HOUR_S / DAY_S)) * DAY_S, now_s - TRAIN_S)
        count = int((now_s - first_s) // TRAIN_EVERY_S)
        practice_s: Floats = now_s - np.arange(count, 0, -1, dtype=np.float64) * TRAIN_EVERY_S
        features, baseline = _features(trace, practice_s, leads)
        start_s = slot_starts(practice_s, leads)
        over = start_s + HOUR_S <= now_s
        truth = trace.mean(
            np.where(over, start_s, practice_s[:, None] - HOUR_S), np.where(over, start_s + HOUR_S, practice_s[:, None])
        )
        target = np.log((truth + FLOOR_G_PER_KWH) / (baseline + FLOOR_G_PER_KWH))
        model = lightgbm.train(PARAMETERS, lightgbm.Dataset(features[over.ravel()], target[over]), TREES)
        features, baseline = _features(trace, issued_s, leads)
        ratio = np.exp(np.asarray(model.predict(features), np.float64).reshape(baseline.shape))
        forecast: Floats = np.maximum((baseline + FLOOR_G_PER_KWH) * ratio - FLOOR_G_PER_KWH, 0.0)
        return forecast


def _blocks(issued_s: Floats) -> list[Floats]:
    block = ((issued_s - issued_s[0]) // REFIT_S).astype(int)
    return np.split(issued_s, np.flatnonzero(np.diff(block)) + 1)


def _features(trace: CarbonTrace, issued_s: Floats, leads: int) -> tuple[Floats, Floats]:
    """Features, (n_issues * leads, n_features), and the baseline, g/kWh, (n_issues, leads).

    Only samples before each issue are read.
    """
    start_s = slot_starts(issued_s, leads)
    back = periods_back(leads, DAY_S)
    days = np.stack([mean_or_nan(trace, start_s - (back + extra) * DAY_S) for extra in range(7)])
    baseline = days[0]
    level = baseline + FLOOR_G_PER_KWH
    week = _mean_before(trace, issued_s, WEEK_S) + FLOOR_G_PER_KWH
    by_slot = [
        np.broadcast_to(np.arange(leads), start_s.shape),
        start_s // HOUR_S % 24,
        start_s // DAY_S % 7,
        _nan_mean(days) / level,
        days[1] / level,
        mean_or_nan(trace, start_s - periods_back(leads, WEEK_S) * WEEK_S) / level,
        level / week[:, None],
        _mean_before(trace, issued_s, HOUR_S)[:, None] / level,
    ]
    by_issue = [
        issued_s // HOUR_S % 24,
        *(_mean_before(trace, issued_s, hours * HOUR_S) / week for hours in (24, 48)),
        *(_against_days_before(trace, issued_s, hours * HOUR_S) for hours in (1, 3, 6, 24)),
    ]
    columns = [*by_slot, *(np.broadcast_to(column[:, None], start_s.shape) for column in by_issue)]
    return np.stack([column.ravel() for column in columns], axis=1, dtype=np.float64), baseline


def _mean_before(trace: CarbonTrace, issued_s: Floats, length_s: float) -> Floats:
    begin_s = np.maximum(issued_s - length_s, trace.times_s[0])
    return trace.mean(begin_s, issued_s)


def _against_days_before(trace: CarbonTrace, issued_s: Floats, length_s: float) -> Floats:
    """The last `length_s` over the mean of the same time on the seven days before."""
    begin_s = issued_s - length_s
    usual = _nan_mean(np.stack([mean_or_nan(trace, begin_s - day * DAY_S, length_s) for day in range(1, 8)]))
    ratio: Floats = (_mean_before(trace, issued_s, length_s) + FLOOR_G_PER_KWH) / (usual + FLOOR_G_PER_KWH)
    return ratio


def _nan_mean(values: Floats) -> Floats:
    """Mean over the first axis without NaN; NaN if all are NaN."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    mean: Floats = np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return mean
