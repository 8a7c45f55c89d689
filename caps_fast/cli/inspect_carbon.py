"""A description of a carbon file, as plain data and as a picture, for `inspect`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from caps_fast.carbon.frame import find_gaps, usual_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES = ("zone", "kind", "scope", "forecast")
FLAT_STEPS = 24  # this many equal samples in a row are suspicious
DAILY_FROM = timedelta(days=60)
INK = "#333333"
COLORS = ("#2a6f97", "#c8553d", "#6a994e", "#8d6a9f", "#bc8a2b", "#5c677d")


def describe(path: str, frame: pl.DataFrame) -> dict[str, Any]:
    """Everything that `inspect` reports about a canonical carbon frame, ready for JSON.

    Keys: kind, file, `series`: one entry for each zone, kind, scope and observed or forecast, with samples, from, to,
    `step_s`, `g_per_kwh` (min, mean, p50, max), `hour_of_day_utc` (24 means, None for hours without samples), `gaps`,
    and for forecasts `issues` and `longest_lead_h`.
    """
    marked = frame.with_columns(forecast=pl.col("issued_at").is_not_null())
    parts = marked.partition_by(SERIES, maintain_order=True)
    return {"kind": "carbon", "file": path, "rows": len(frame), "series": [_series(part) for part in parts]}


def picture(path: str, frame: pl.DataFrame) -> Figure:
    """A figure of the observed series (or the forecasts, if there are no others) over time and by hour of day; at most
    six series.
    """
    marked = frame.with_columns(forecast=pl.col("issued_at").is_not_null())
    observed = marked.filter(~pl.col("forecast"))
    parts = (observed if len(observed) else marked).partition_by(SERIES, maintain_order=True)[: len(COLORS)]
    figure = Figure(figsize=(10.5, 3.8), layout="constrained")
    figure.suptitle(f"{path.rpartition('/')[2]}: grid carbon intensity", color=INK, fontsize=12)
    over_time, by_hour = figure.subplots(1, 2, width_ratios=(2, 1))
    daily = any(part["valid_at"].max() - part["valid_at"].min() > DAILY_FROM for part in parts)  # type: ignore[operator]
    for part, color in zip(parts, COLORS, strict=False):
        _draw_series(over_time, by_hour, part, color, daily)
    over_time.set(ylabel="g/kWh", ylim=(0, None))
    over_time.set_title("Daily means (UTC)" if daily else "Over time (UTC)", loc="left", fontsize=10, color=INK)
    over_time.legend(frameon=False, fontsize=8, loc="lower left")
    by_hour.set(xlabel="hour of day (UTC)", ylim=(0, None), xlim=(0, 23), xticks=range(0, 24, 3))
    by_hour.set_title("By hour: mean, and 10 to 90 % of days", loc="left", fontsize=10, color=INK)
    for axes in (over_time, by_hour):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
    return figure


def _series(part: pl.DataFrame) -> dict[str, Any]:
    values = part["g_per_kwh"]
    forecast = bool(part["forecast"][0])
    times = part["valid_at"].unique().sort()
    step = usual_step(times)
    gaps = find_gaps(times)
    quartiles = {"min": values.min(), "mean": values.mean(), "p50": values.median(), "max": values.max()}
    told: dict[str, Any] = {
        "zone": part["zone"][0],
        "kind": part["kind"][0],
        "scope": part["scope"][0],
        "what": "forecast" if forecast else "observed",
        "samples": len(part),
        "from": times[0].isoformat(),
        "to": times[-1].isoformat(),
        "step_s": step.total_seconds() if isinstance(step, timedelta) else None,
        "g_per_kwh": quartiles,
        "hour_of_day_utc": _hours(part, pl.col("g_per_kwh").mean()),
        "gaps": _gaps(gaps),
        "oddities": _oddities(part, forecast),
    }
    if forecast:
        lead = (part["valid_at"] - part["issued_at"]).max()
        told |= {
            "issues": part["issued_at"].n_unique(),
            "longest_lead_h": lead.total_seconds() / 3600 if isinstance(lead, timedelta) else None,
        }
    return told


def _gaps(gaps: pl.DataFrame) -> dict[str, Any]:
    if gaps.is_empty():
        return {"count": 0, "missing": 0, "longest": None}
    after, before, missing = gaps.row(int(gaps["missing"].arg_max() or 0))
    return {
        "count": len(gaps),
        "missing": int(gaps["missing"].sum()),
        "longest": {"after": after.isoformat(), "before": before.isoformat(), "missing": missing},
    }


def _oddities(part: pl.DataFrame, forecast: bool) -> list[str]:
    odd = []
    if not forecast:
        runs = part.select(pl.col("g_per_kwh").rle()).unnest("g_per_kwh")
        if (longest := int(runs["len"].max() or 0)) >= FLAT_STEPS:  # type: ignore[arg-type]
            odd.append(f"the same value {longest:,} times in a row")
    return odd


def _hours(part: pl.DataFrame, of: pl.Expr) -> list[float | None]:
    by_hour = dict(part.group_by(pl.col("valid_at").dt.hour().alias("hour")).agg(of.alias("value")).iter_rows())
    return [by_hour.get(hour) for hour in range(24)]


def _draw_series(over_time: Axes, by_hour: Axes, part: pl.DataFrame, color: str, daily: bool) -> None:
    name = " ".join(part[key][0] for key in ("zone", "kind", "scope") if part[key][0] != "unknown") + (
        " (forecast)" if part["forecast"][0] else ""
    )
    shown = part.group_by("valid_at", maintain_order=True).agg(pl.col("g_per_kwh").mean()).sort("valid_at")
    if daily:
        shown = shown.group_by_dynamic("valid_at", every="1d").agg(pl.col("g_per_kwh").mean())
    over_time.plot(
        shown["valid_at"].dt.replace_time_zone(None).to_numpy(),
        shown["g_per_kwh"].to_numpy(),
        color=color,
        linewidth=0.9,
        label=name,
    )
    hours = np.arange(24)
    mean, low, high = (
        np.array(_hours(part, of), np.float64)
        for of in (pl.col("g_per_kwh").mean(), pl.col("g_per_kwh").quantile(0.1), pl.col("g_per_kwh").quantile(0.9))
    )
    by_hour.fill_between(hours, low, high, color=color, alpha=0.15, linewidth=0)
    by_hour.plot(hours, mean, color=color, linewidth=1.5)
