"""The page's sections for its template: sentences, tables, figures drawn for the page, charts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from markupsafe import Markup
from matplotlib.figure import Figure

from caps_fast.report import bill as whole_bill
from caps_fast.report import charts, reading, summary, tables
from caps_fast.report import regions as by_regions
from caps_fast.report import states as by_states
from caps_fast.report.folder import Results
from caps_fast.report.inline import inline_svg
from caps_fast.report.style import policy_name
from caps_fast.sweep.alike import alike, alike_at_one_rate

Part = dict[str, Any]
MOST_RUNS = 8  # whose timelines are drawn
MOST_NOTES = 6


def summaries(runs: pl.DataFrame) -> list[Part]:
    """One summary per preset: what ran, who wins, the comparison as a table and a figure."""
    found = []
    for at, (preset, block) in enumerate(_presets(runs)):
        shown = alike_at_one_rate(block)
        comparison = summary.compared(shown.runs)
        part: Part = {
            "preset": preset,
            "ran": summary.what_ran(shown.runs, rate_of(shown.runs), shown.choice),
            "plot": None,
            "table": None,
        }
        if comparison is None:
            one = shown.runs.filter(pl.col("policy") == shown.runs["policy"][0])
            said = [
                sentence
                for policy in shown.runs["policy"].unique(maintain_order=True)[:6]
                for sentence in _single(shown.runs, policy)
            ]
            part["said"] = said or summary.single(one)
        else:
            part["said"] = summary.verdicts(comparison)
            part["table"] = summary.comparison_table(comparison, f"Preset {preset}")
            figure, sentence = summary.difference_figure(comparison), summary.difference_sentence(comparison)
            part["plot"] = plot(figure, f"difference-{at}", "Differences between policies, with intervals", sentence)
        found.append(part)
    return found


def notes(runs: pl.DataFrame) -> list[str]:
    """Notes of runs on their inputs."""
    if "notes" not in runs.columns:
        return []
    told = (note for text in runs["notes"].drop_nulls().unique(maintain_order=True) for note in json.loads(text))
    return [*dict.fromkeys(map(str, told))][:MOST_NOTES]


def bill(results: Results) -> Part:
    """The bill of every preset."""
    blocks = []
    for at, (preset, block) in enumerate(_presets(results.runs)):
        found = whole_bill.bill_by_policy(alike_at_one_rate(block).runs)
        if found is not None:
            label = f"Preset {preset}"
            drawn = plot(
                whole_bill.bill_figure(found),
                f"bill-{at}",
                "The carbon bill by policy and state",
                whole_bill.bill_sentence(found),
            )
            blocks.append(
                {"label": label, "folded": False, "plots": [drawn], "tables": [whole_bill.bill_table(found, label)]}
            )
    text = "All power of a run: replicas in every state, hosts, and the addition of cooling and power supply (PUE)."
    return {
        "name": "the-bill",
        "heading": "The bill",
        "short": "Bill",
        "text": text,
        "blocks": blocks,
        "beside": False,
    }


def states(found: Mapping[str, pl.DataFrame]) -> Part:
    """Replicas by state over the carbon intensity: a figure per region of every recorded run."""

    def block(series: pl.DataFrame, label: str, name: str) -> Part:
        parts = list(by_states.by_region(series))
        plots = []
        for at, (region, rows) in enumerate(parts):
            sentence = (f"Region {region}: " if len(parts) > 1 else "") + by_states.states_sentence(rows)
            plots.append(
                plot(
                    by_states.states_figure(rows),
                    f"{name}-{at}",
                    f"Replicas by state, {label}, region {region}",
                    sentence,
                )
            )
        return {"plots": plots, "tables": [by_states.states_table(series, label)]}

    blocks = _blocks(found.get("series"), "states", by_states.has_states, block, by_states.changes)
    text = (
        "Counts of replicas at every sample, as means over parts of the run; busy and idle ones take work, draining "
        "ones "
        "finish their requests."
    )
    return {
        "name": "states",
        "heading": "Replicas by state, over the grid",
        "short": "States",
        "text": text,
        "blocks": blocks,
        "beside": True,
    }


def regions(found: Mapping[str, pl.DataFrame]) -> Part:
    """Small multiples of regions, and moves of work, of every recorded run of several regions."""

    def block(series: pl.DataFrame, label: str, name: str) -> Part:
        names = series["region"].unique(maintain_order=True).to_list()
        plots = [
            plot(
                by_regions.region_figure(series, region),
                f"{name}-{at}",
                f"Region {region}, {label}",
                by_regions.region_sentence(series, region),
            )
            for at, region in enumerate(names)
        ]
        moved = found.get("moves")
        key = [pl.col(column) == series[column][0] for column in ("preset", "policy", "seed")]
        own = None if moved is None else moved.filter(key)
        return {
            "plots": plots,
            "tables": [by_regions.moves_table(own, label)] if own is not None and own.height else [],
        }

    blocks = _blocks(found.get("series"), "regions", by_regions.has_regions, block)
    text = "All regions on the same axes."
    return {
        "name": "regions",
        "heading": "Regions side by side",
        "short": "Regions",
        "text": text,
        "blocks": blocks,
        "beside": False,
    }


def of_table(table: Part) -> Part:
    """A section of one table."""
    block = {
        "label": "",
        "folded": False,
        "plots": [],
        "tables": [table | {"caption": table["text"], "label": table["heading"]}],
    }
    return {
        "name": table["name"],
        "heading": table["heading"],
        "short": table["heading"].split(",")[0],
        "text": "",
        "blocks": [block],
        "beside": False,
    }


def rates(runs: pl.DataFrame, chosen: str) -> Part:
    """Interactive curves against the rate, and the SLO-carbon plane."""
    shown, policies = [], []
    for preset, block in _presets(runs):
        own = alike(block).runs
        policies += [policy_name(name) for name in own["policy"].unique(maintain_order=True)]
        sentence = reading.of_rates(own) if own["rate_rps"].n_unique() > 1 else reading.of_plane(own)
        shown.append(_chart(preset, charts.rates_and_plane(own), sentence))
    text = "Choose a policy, or click on one in the legend, to highlight it in every panel."
    if runs["rate_rps"].n_unique() > 1:
        text += (
            " A click on a point in the SLO-carbon plane enlarges its rate for all policies. Bars reach from the "
            "least to the greatest seed."
        )
    text += f" {tables.shown(chosen)}" if chosen else ""
    several = runs["rate_rps"].n_unique() > 1
    heading = "Against the request rate, and the SLO-carbon plane" if several else "The SLO-carbon plane"
    return {
        "name": "rates",
        "heading": heading,
        "short": "Rates",
        "text": text,
        "charts": shown,
        "policies": [*dict.fromkeys(policies)],
    }


def timelines(found: Mapping[str, pl.DataFrame]) -> Part:
    """Interactive timelines of every recorded run."""
    shown = [
        _chart(label, charts.timeline(block), reading.of_timeline(block))
        for label, block in runs_of(found.get("series"))
    ]
    text = "Held work waits in a pool's queue while its gate is closed. Power includes idle replicas."
    return {
        "name": "timeline",
        "heading": "Pool by pool over time",
        "short": "Timeline",
        "text": text,
        "charts": shown,
        "policies": [],
    }


def latencies(found: Mapping[str, pl.DataFrame]) -> Part:
    """Interactive distributions of latency."""
    shown = [
        _chart(label, charts.latencies(block), reading.of_latencies(block))
        for label, block in runs_of(found.get("histograms"))
    ]
    text = "Each line is the share of requests with a longer latency (complementary CDF)."
    return {
        "name": "latencies",
        "heading": "Latencies by tier",
        "short": "Latencies",
        "text": text,
        "charts": shown,
        "policies": [],
    }


def runs_of(frame: pl.DataFrame | None) -> list[tuple[str, pl.DataFrame]]:
    """The first seed's runs: label and rows; CAPS first."""
    if frame is None or frame.is_empty():
        return []
    first = frame.filter(pl.col("seed") == pl.col("seed").min())
    blocks = [
        (preset, policy, block) for (preset, policy), block in first.group_by("preset", "policy", maintain_order=True)
    ]
    blocks.sort(key=lambda block: block[1] != "caps")
    return [(f"{policy_name(str(policy))}, preset {preset}", block) for preset, policy, block in blocks]


def rate_of(runs: pl.DataFrame) -> str:
    """The rate of runs at one rate, as text."""
    rate_rps = runs["rate_rps"][0]
    return "the trace's own rate" if rate_rps is None else f"{rate_rps:g} requests per second"


def plot(figure: Figure, name: str, label: str, sentence: str) -> Part:
    """A figure drawn into the page, under a sentence on what to see."""
    return {"svg": inline_svg(figure, name, label), "sentence": sentence}


def _presets(runs: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [(str(preset), block) for (preset,), block in runs.group_by("preset", maintain_order=True)]


def _single(runs: pl.DataFrame, policy: str) -> list[str]:
    return summary.single(runs.filter(pl.col("policy") == policy))


def _blocks(
    series: pl.DataFrame | None,
    name: str,
    fits: Callable[[pl.DataFrame], bool],
    make: Callable[[pl.DataFrame, str, str], Part],
    first: Callable[[pl.DataFrame], bool] = lambda _: False,
) -> list[Part]:
    """A block per recorded run that `fits`, those that are `first` before the others; the first open, the others
    collapsed.
    """
    if series is None or not fits(series):
        return []
    runs = [(label, rows) for label, rows in runs_of(series) if fits(rows)]
    runs.sort(key=lambda run: not first(run[1]))
    return [
        {"label": label, "folded": at > 0} | make(rows, label, f"{name}-{at}")
        for at, (label, rows) in enumerate(runs[:MOST_RUNS])
    ]


def _chart(label: str, spec: dict[str, Any], sentence: str) -> Part:
    text = json.dumps(spec | {"description": sentence}, separators=(",", ":")).replace(
        "<", r"\u003c"
    )  # no tag can begin in it
    return {"label": label, "json": Markup(text), "sentence": sentence}
