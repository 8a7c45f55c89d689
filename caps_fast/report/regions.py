"""Regions side by side: intensity, power and share of the work in small multiples; who moved where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from caps_fast.carbon.monitor import monitors_of
from caps_fast.report.phrases import amount, listed, share
from caps_fast.report.states import binned
from caps_fast.report.style import GRID, INK, POOL_COLOURS, WIDTH_IN, columns_of, new_figure, span_of, styled

if TYPE_CHECKING:
    from caps_fast.results import Result

MOVES = (
    "preset",
    "policy",
    "seed",
    "origin",
    "region",
    "requests",
)  # columns of `moves`; any other number is a mean per request, for example a score term


def has_regions(series: pl.DataFrame) -> bool:
    """Whether a recorded series has several regions."""
    return "region" in series.columns and series["region"].n_unique() > 1


def limits(series: pl.DataFrame) -> tuple[float, float]:
    """Highest intensity and power of any region: common limits of the axes."""
    power = series.group_by("region", "t_s").agg(pl.col("power_w").sum())["power_w"].fill_nan(0.0)
    return float(series["gamma_g_per_kwh"].max()), float(power.max()) / 1000  # type: ignore[arg-type]


def region_figure(series: pl.DataFrame, region: str) -> Figure:
    """One region of a run: intensity, power by pool, and its share of the fleet's requests in service.

    Axes are those of all regions.

    Frame: t_s, gamma_g_per_kwh, region, name, power_w, residents.
    """
    most_g, most_kw = limits(series)
    own = series.filter(pl.col("region") == region)
    with styled():
        figure = new_figure(WIDTH_IN, 4.6)
        carbon, power, work = figure.subplots(3, 1, sharex=True)
        first = own.filter(pl.col("name") == own["name"][0])
        edges, (gamma,) = binned(first, ["gamma_g_per_kwh"])
        unit, span = span_of(edges[-1])
        carbon.stairs(gamma, edges / unit, fill=True, color=GRID)
        carbon.stairs(gamma, edges / unit, color=INK, linewidth=0.8, baseline=None)
        carbon.set(title=f"{region}: carbon intensity", ylabel="g/kWh", ylim=(0, 1.05 * most_g))
        below = np.zeros(len(gamma))
        names = own["name"].unique(maintain_order=True).to_list()
        for at, name in enumerate(names):
            _, (watts,) = binned(
                own.filter(pl.col("name") == name).with_columns(pl.col("power_w").fill_nan(None).backward_fill()),
                ["power_w"],
            )
            above = below + np.nan_to_num(watts) / 1000
            power.stairs(
                above, edges / unit, baseline=below, fill=True, color=POOL_COLOURS[at % len(POOL_COLOURS)], label=name
            )
            below = above
        power.set(title="power by pool", ylabel="kW", ylim=(0, 1.05 * most_kw or 1.0))
        _, shares = binned(_shares(series, region), ["share"])
        work.stairs(100 * shares[0], edges / unit, color=POOL_COLOURS[0], linewidth=1.3, baseline=None)
        work.axhline(100 * _share_of(series, region), color=INK, linewidth=0.8, linestyle="--")
        work.set(title="share of the requests in service; dashed: the mean", ylabel="%", ylim=(0, 104), xlabel=span)
        work.set_xlim(edges[0] / unit, edges[-1] / unit)
        if len(names) > 1:
            figure.legend(*power.get_legend_handles_labels(), loc="outside lower center", ncols=columns_of(len(names)))
    return figure


def region_sentence(series: pl.DataFrame, region: str) -> str:
    """A region's share of the work, and whether it is higher while its grid is cleaner than the others'."""
    own = series.filter(pl.col("region") == region)
    part = _share_of(series, region)
    gamma = float(own["gamma_g_per_kwh"].mean())  # type: ignore[arg-type]
    power = float(own.group_by("t_s").agg(pl.col("power_w").sum())["power_w"].fill_nan(None).mean() or 0.0) / 1000  # type: ignore[arg-type]
    said = (
        f"{region} does {share(part)} of the work (requests in service), at {amount(gamma)} g/kWh and "
        f"{amount(power)} kW on average"
    )
    others = (
        series.filter(pl.col("region") != region).group_by("t_s").agg(pl.col("gamma_g_per_kwh").mean().alias("others"))
    )
    moves = _shares(series, region).join(others, on="t_s")
    differs = pl.col("gamma_g_per_kwh") - pl.col("others")
    cleaner, dirtier = (moves.filter(part)["share"] for part in (differs < 0, differs > 0))
    if cleaner.len() and dirtier.len():
        clean, dirty = share(cleaner.mean()), share(dirtier.mean())  # type: ignore[arg-type]
        return f"{said}: {clean} while its grid is cleaner than the others' mean, {dirty} while it is dirtier."
    if cleaner.len() or dirtier.len():
        return f"{said}; its grid is {'cleaner' if cleaner.len() else 'dirtier'} than the others' mean all the time."
    return f"{said}."


def moves_of(result: Result) -> pl.DataFrame | None:
    """Admitted requests of a run by origin and region, with means of time to first token and carbon, and of round-trip
    time and of intensity as policies saw it at arrivals, both also for the region nearest to the origin.

    `nearest` is the origin's home, or else the region with the lowest round-trip time.
    None where the run did not record its requests, or its scenario has no origins.
    """
    origins, fleet = result.scenario.origins, result.scenario.fleet
    pools = None if result.outcome.requests is None else result.outcome.requests["pool"]
    if pools is None or not origins:
        return None
    near = {name: one.home or min(fleet.regions, key=lambda z: one.rtt_ms.get(z, 0.0)) for name, one in origins.items()}
    names = np.array([pool.region for pool in fleet.pools])
    rows = result.requests.with_columns(
        region=pl.Series(names[pools]), nearest=pl.col("origin").replace_strict(near, return_dtype=pl.String)
    )
    rows = rows.filter(pl.col("gpu").is_not_null()).with_columns(ttft_s=pl.col("first_token_s") - pl.col("arrival_s"))
    seen = dict(zip(fleet.regions, monitors_of(result.scenario), strict=True))
    at = {name: monitor.signal.at(rows["arrival_s"].to_numpy()) for name, monitor in seen.items()}
    for where, to in (("region", "g_per_kwh"), ("nearest", "g_per_kwh_nearest")):
        found = (pl.when(pl.col(where) == name).then(pl.Series(values)) for name, values in at.items())
        rows = rows.with_columns(pl.coalesce(found).alias(to))
    means = (
        rows.group_by("origin", "region", "nearest")
        .agg(pl.len().alias("requests"), pl.col("ttft_s", "carbon_g", "g_per_kwh", "g_per_kwh_nearest").mean())
        .sort("origin", "region")
    )
    rtt_ms = [
        [origins[row["origin"]].rtt_ms.get(row[where], 0.0) for row in means.iter_rows(named=True)]
        for where in ("region", "nearest")
    ]
    there, at_nearest = (pl.Series(column, dtype=pl.Float64) for column in rtt_ms)
    return means.with_columns(rtt_ms=there, rtt_ms_nearest=at_nearest)


def moves_table(moves: pl.DataFrame, label: str) -> dict[str, Any]:
    """Requests by origin and serving region, and means of other columns (score terms, round-trip time)."""
    terms = [name for name, kind in moves.schema.items() if name not in MOVES and kind.is_numeric()]
    weights = pl.col("requests") / pl.col("requests").sum()
    means = [(pl.col(name) * weights).sum().alias(name) for name in terms]
    found = moves.group_by("origin", "region", maintain_order=True).agg(pl.col("requests").sum(), *means)
    whole = pl.col("requests") / pl.col("requests").sum().over("origin")
    rows = [
        [
            row["origin"],
            row["region"],
            f"{row['requests']:,}",
            share(row["whole"]),
            *(amount(row[name]) for name in terms),
        ]
        for row in found.with_columns(whole=whole).iter_rows(named=True)
    ]
    heads = ["origin", "served in", "requests", "of the origin's", *(name.replace("_", " ") for name in terms)]
    return {
        "label": "Work by origin and region",
        "caption": f"{label}: {moves_sentence(moves)}",
        "heads": heads,
        "words": 2,
        "rows": rows,
    }


def moves_sentence(moves: pl.DataFrame) -> str:
    """Share of the work that leaves the region nearest to its origin (without `nearest`: the region of the origin's
    name), and the most frequent move.
    """
    total = int(moves["requests"].sum())
    near, where = (
        ("nearest", "away from the region nearest to their origin")
        if "nearest" in moves.columns
        else ("origin", "away from their origin")
    )
    away = moves.filter(pl.col(near) != pl.col("region")).group_by("origin", "region").agg(pl.col("requests").sum())
    away = away.sort("requests", "origin", "region", descending=[True, False, False])
    if away.is_empty() or not total:
        return f"no request is served {where}."
    ways = [
        f"{row['origin']} to {row['region']} {share(row['requests'] / total)}"
        for row in away.head(3).iter_rows(named=True)
    ]
    said = f"{share(int(away['requests'].sum()) / total)} of the requests are served {where}; most from {listed(ways)}."
    return f"{said}{_reasons(moves)}"


def _reasons(moves: pl.DataFrame) -> str:
    """Intensity and round-trip time of the regions of requests that are served away from the nearest one."""
    if not {"g_per_kwh", "g_per_kwh_nearest", "rtt_ms", "rtt_ms_nearest"} <= set(moves.columns):
        return ""
    away = moves.filter(pl.col("nearest") != pl.col("region"))
    weight = pl.col("requests") / pl.col("requests").sum()
    there, near, rtt_ms, near_ms = (
        away.select((pl.col(name) * weight).sum())[name].item()
        for name in ("g_per_kwh", "g_per_kwh_nearest", "rtt_ms", "rtt_ms_nearest")
    )
    return (
        f" When they arrived, the grid had {amount(there)} g/kWh there and {amount(near)} g/kWh in the nearest region; "
        f"the round trip took {amount(rtt_ms)} ms in place of {amount(near_ms)} ms."
    )


def _shares(series: pl.DataFrame, region: str) -> pl.DataFrame:
    """A region's share of the fleet's residents by time; null while there are none."""
    own = pl.col("region") == region
    at = series.group_by("t_s", maintain_order=True).agg(
        pl.col("residents").filter(own).sum().alias("here"),
        pl.col("residents").sum().alias("all"),
        pl.col("gamma_g_per_kwh").filter(own).first(),
    )
    return at.with_columns(
        (pl.col("here") / pl.col("all")).fill_nan(None).fill_null(strategy="forward").fill_null(0.0).alias("share")
    )


def _share_of(series: pl.DataFrame, region: str) -> float:
    """A region's share of all residents over the whole run."""
    whole = float(series["residents"].sum())
    return float(series.filter(pl.col("region") == region)["residents"].sum()) / whole if whole else 0.0
