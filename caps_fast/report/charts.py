"""The page's interactive charts, as Vega-Lite specifications with their data inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from caps_fast.metrics import METRICS, SHARE
from caps_fast.report.rates import LOG_BEYOND, PANELS
from caps_fast.report.style import HOLLOW, POOL_COLOURS, TIER_COLOURS, colour_of, policy_name, span_of

Spec = dict[str, Any]
WIDTH = 300
AN_OCTAVE, LEAST_SHARE = 16, 1e-3  # bins of latencies, and the lower end of their axis
ENDS = ("", "_low", "_high")
ROWS = alt.NamedData("rows")
MANY_RATES, MANY_POINTS = 40, 200  # most points that are drawn singly or can be selected
DIGITS = 7
MOST_SAMPLES = 500  # two per pixel of a phone
LATENCIES = {
    "ttft": "to first token",
    "ttft_after_release": "to first token, after release",
    "tpot": "between tokens",
    "e2e": "to last token",
}


def rates_and_plane(runs: pl.DataFrame) -> Spec:
    """Curves against the rate and the SLO-carbon plane of runs of one preset, linked: a click on a policy or on a point
    highlights it in all.

    One point per policy and rate: means over seeds, bars from the least to the greatest seed.
    """
    names = [name for name, _, _ in PANELS]
    spread = [
        part(pl.col(name)).alias(f"{name}{end}")
        for name in names
        for part, end in zip((_mean, _min, _max), ENDS, strict=True)
    ]
    points = runs.group_by("policy", "rate_rps", maintain_order=True).agg(*spread, pl.len().alias("seeds"))
    policies = points["policy"].unique(maintain_order=True).to_list()
    points = points.with_columns(
        pl.col("policy").replace({name: policy_name(name) for name in policies}),
        *(pl.col(f"{name}{end}") * scale for name, _, scale in PANELS for end in ENDS),
    )
    picked = alt.selection_point(fields=["policy"], bind="legend", name="policy")
    at_rate = alt.selection_point(
        fields=["rate_rps"], on="click", name="rate", nearest=points.height <= MANY_POINTS, empty=False
    )
    colour = alt.Color("policy:N", sort=None, scale=_scale(policies), legend=alt.Legend(title=None, orient="top"))
    shown = alt.condition(picked, alt.value(1.0), alt.value(0.12))
    tips = [
        "policy:N",
        alt.Tooltip("rate_rps:Q", title="req/s"),
        "seeds:Q",
        *(alt.Tooltip(f"{name}:Q", format=".4g") for name in names),
    ]
    base = alt.Chart(ROWS)
    panels: list[Any] = []
    many = points["rate_rps"].n_unique() > MANY_RATES
    for name, label, _ in PANELS if points["rate_rps"].n_unique() > 1 else ():
        y = alt.Y(
            f"{name}:Q", title=label.replace(" (%)", "").split("\n"), scale=_vertical(points, name), axis=_format(name)
        )
        x = alt.X("rate_rps:Q", title="request rate (1/s)", scale=alt.Scale(zero=False))
        line = base.mark_line(point=False if many else {"size": 45}).encode(
            x=x, y=y, color=colour, opacity=shown, tooltip=tips
        )
        low, high = alt.Y(f"{name}_low:Q"), f"{name}_high:Q"
        bars = base.mark_rule(strokeWidth=1.5).encode(x=x, y=low, y2=high, color=colour, opacity=shown)
        if many:
            bars = base.mark_area(fillOpacity=0.2).encode(x=x, y=low, y2=high, fill=_fill(policies), opacity=shown)
        panels.append(((line.add_params(picked) if not panels else line) + bars).properties(width=WIDTH, height=220))
    inside = alt.Scale(zero=False, padding=14)
    axes = {
        "x": alt.X(
            "carbon_g_per_1k_tokens:Q",
            title="attributed carbon (g per 1K tokens)",
            scale=inside,
            axis=alt.Axis(tickCount=6),
        ),
        "y": alt.Y("slo_attainment:Q", title="SLO attainment", scale=inside, axis=_format("slo_attainment")),
    }
    hollow = alt.FieldOneOfPredicate("policy", [policy_name(name) for name in HOLLOW])
    size = alt.when(at_rate).then(alt.value(260)).when(hollow).then(alt.value(150)).otherwise(alt.value(55))
    fill = {
        "fill": _fill(policies),
        "fillOpacity": alt.condition(hollow, alt.value(0), alt.value(1)),
    }
    plane = (
        base.mark_point(strokeWidth=1.5)
        .encode(**axes, **fill, color=colour, opacity=shown, size=size, tooltip=tips)
        .add_params(at_rate)
    )
    if not panels:
        return _spec(alt.concat(plane.add_params(picked).properties(width=WIDTH, height=260)), points, columns=1)
    panels.append(
        plane.properties(width=WIDTH, height=220, title="every rate; click one to enlarge it for all policies")
    )
    return _spec(alt.concat(*panels, columns=2), points, columns=2)


def timeline(series: pl.DataFrame) -> Spec:
    """A run's timeline: intensity, power, waiting and residents by pool, on one time axis that can be zoomed;
    MOST_SAMPLES of each pool.
    """
    every = -(-series.group_by("pool").len()["len"].max() // MOST_SAMPLES)  # type: ignore[operator]
    unit_s, unit = span_of(series["t_s"].max() or 0.0)  # type: ignore[arg-type]
    frame = series.filter((pl.int_range(pl.len()) % every == 0).over("pool")).with_columns(
        at=pl.col("t_s") / unit_s, power_kw=pl.col("power_w") / 1000
    )
    frame = frame.with_columns(pl.format("pool {}, {}", pl.col("pool") + 1, pl.col("role")).alias("name"))
    until = pl.col("at").shift(-1, fill_value=frame["at"].max()).over("pool", order_by="at")
    frame = frame.with_columns(until=until, power_kw=pl.when(pl.col("power_kw").is_finite()).then("power_kw"))
    pools = frame["name"].unique(maintain_order=True).to_list()
    zoom = alt.selection_interval(bind="scales", encodings=["x"], name="zoom")
    x = alt.X("at:Q", title=None, axis=alt.Axis(format="~g", tickCount=8), scale=alt.Scale(nice=False))
    colour = alt.Color(
        "name:N",
        sort=pools,
        scale=alt.Scale(domain=pools, range=list(POOL_COLOURS[: len(pools)])),
        legend=alt.Legend(title=None, orient="top"),
    )
    base = alt.Chart(ROWS)
    shown = frame.select("at", "name", "gamma_g_per_kwh", "until", "power_kw", "waiting", "residents", "open")
    first = base.transform_filter(alt.datum.name == pools[0]) if pools else base
    band = first.mark_area(interpolate="step-after", color="#8c9196", opacity=0.5).encode(
        x=x, y=alt.Y("gamma_g_per_kwh:Q", title="g/kWh")
    )
    rows = [
        band.properties(
            width=820, height=70, title="carbon intensity (drag and scroll here to move and zoom all)"
        ).add_params(zoom)
    ]
    for name, title in (
        ("power_kw", "power, idle included (kW)"),
        ("waiting", "requests waiting; faint: the pool's gate is open"),
        ("residents", "requests in service"),
    ):
        over = x.title(unit) if name == "residents" else x
        steps: Any = (
            "step-before" if name == "power_kw" else "step-after"
        )  # a mean of the time before, or the value at the time
        marks = base.mark_line(interpolate=steps, strokeWidth=1.4).encode(
            x=over, y=alt.Y(f"{name}:Q", title=None), color=colour
        )
        if name == "waiting":
            marks = base.mark_rect().encode(
                x=x,
                x2="until:Q",
                y=alt.Y(f"{name}:Q", title=None),
                y2=alt.Y2Datum(0),
                color=colour,
                opacity=alt.condition("datum.open", alt.value(0.2), alt.value(0.65)),
            )
        rows.append(marks.properties(width=820, height=110, title=title))
    return _spec(alt.vconcat(*rows).resolve_scale(x="shared"), shown, columns=1)


def latencies(histograms: pl.DataFrame) -> Spec:
    """Complementary CDF of latencies by tier, from coarser histograms."""
    coarse = histograms.filter(pl.col("latency").is_in(list(LATENCIES))).with_columns(
        (pl.col("to_s").log(2) * AN_OCTAVE).ceil().alias("bin")
    )
    coarse = (
        coarse.group_by("latency", "tier", "bin", maintain_order=True)
        .agg(pl.col("requests").sum())
        .sort("bin", maintain_order=True)
    )
    over = ["latency", "tier"]
    longer = 1 - pl.col("requests").cum_sum().over(over, order_by="bin") / pl.col("requests").sum().over(over)
    coarse = coarse.with_columns(
        (2 ** (pl.col("bin") / AN_OCTAVE)).alias("seconds"),
        longer.clip(LEAST_SHARE).alias("share"),
        pl.col("latency").replace(LATENCIES),
    )
    tiers = list(TIER_COLOURS)
    colour = alt.Color(
        "tier:N",
        sort=tiers,
        scale=alt.Scale(domain=tiers, range=list(TIER_COLOURS.values())),
        legend=alt.Legend(title=None, orient="top"),
    )
    y = alt.Y(
        "share:Q",
        title="share with a longer latency",
        scale=alt.Scale(type="log", domain=[LEAST_SHARE, 1]),
        axis=alt.Axis(format="~%", tickCount=5),
    )
    chart = alt.Chart(ROWS).mark_line(interpolate="step-after")
    chart = chart.encode(
        x=alt.X("seconds:Q", scale=alt.Scale(type="log"), axis=alt.Axis(format="~g", tickCount=4)),
        y=y,
        color=colour,
        tooltip=["tier:N", "seconds:Q", "share:Q"],
    )
    facet = alt.Facet("latency:N", title=None, sort=list(LATENCIES.values()))
    return _spec(
        chart.properties(width=190, height=180).facet(facet, columns=4).resolve_scale(x="independent"),
        coarse.select("latency", "tier", "seconds", "share"),
        columns=4,
    )


def _mean(column: pl.Expr) -> pl.Expr:
    return column.mean()


def _min(column: pl.Expr) -> pl.Expr:
    return column.min()


def _max(column: pl.Expr) -> pl.Expr:
    return column.max()


def _format(metric: str) -> alt.Axis:
    return alt.Axis(format="%" if METRICS[metric].unit == SHARE else "~g", tickCount=5)


def _vertical(points: pl.DataFrame, metric: str) -> alt.Scale:
    """Logarithmic for latencies that differ by much, as they do beyond saturation."""
    values = points[metric].drop_nans().to_list()
    wide = metric.endswith("_s") and len(values) > 0 and max(values) > LOG_BEYOND * max(min(values), 1e-12)
    return alt.Scale(type="log") if wide else alt.Scale(zero=False)


def _scale(policies: Sequence[str]) -> alt.Scale:
    return alt.Scale(
        domain=[policy_name(name) for name in policies], range=[colour_of(name, policies) for name in policies]
    )


def _fill(policies: Sequence[str]) -> alt.Fill:
    return alt.Fill("policy:N", sort=None, scale=_scale(policies), legend=alt.Legend(title=None, orient="top"))


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows with DIGITS per number: enough for a screen, at a third of the size."""
    short = frame.with_columns(pl.col(pl.Float64).round_sig_figs(DIGITS))
    return [{name: value for name, value in row.items() if value is not None} for row in short.iter_rows(named=True)]


def _spec(chart: Any, rows: pl.DataFrame, columns: int) -> Spec:
    """The chart as JSON, its ROWS inside (put in last: Altair would validate each); `columns` of panels stand side
    by side where the page is wide enough (page.js).
    """
    styled = chart.configure_view(stroke=None).configure_axis(
        gridColor="#e5e5e5", labelFontSize=11, titleFontSize=11, titleFontWeight="normal"
    )
    styled = styled.configure_title(fontSize=12, anchor="start", fontWeight="normal")
    styled = styled.properties(usermeta={"columns": columns}, background="transparent")
    spec: Spec = json.loads(styled.to_json(validate=False))
    return spec | {"datasets": {ROWS.name: _rows(rows)}}
