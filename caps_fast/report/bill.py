"""The bill by policy: carbon by state, PUE, hosts, embodied carbon, SCI, energy, hours, money, water."""

from __future__ import annotations

import math
import re
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from caps_fast.arrays import STATES
from caps_fast.metrics import METRICS, POOL
from caps_fast.report.phrases import amount, listed, share
from caps_fast.report.style import (
    FAINT,
    GRID,
    INK,
    STATE_COLOURS,
    WIDTH_IN,
    columns_of,
    name_of,
    new_figure,
    policy_name,
    styled,
)

BUSY_KG, IDLE_KG, STANDBY_KG, PUE_KG, HOST_KG = (
    "carbon_kg",
    "idle_carbon_kg",
    "standby_carbon_kg",
    "pue_carbon_kg",
    "host_carbon_kg",
)
LINKS_KG = "moved_kg"
FIRST = ("slo_attainment", "bill_kg")
OF_BILL = (HOST_KG,)
OTHER = (
    "embodied_kg",
    "sci_g_per_1k_tokens",
    "bill_kwh",
    "replica_hours",
    "starts",
    "wakes",
    "energy_cost",
    "cost",
    "water_l",
)
TOTAL, EMBODIED = "bill_kg", "embodied_kg"
PUE_COLOUR, LINKS_COLOUR = "#A0522D", "#44AA99"


def bill_by_policy(runs: pl.DataFrame) -> pl.DataFrame | None:
    """Means over seeds of the bill's parts: policy, then columns for people in order; None where runs have no bill.

    Carbon is by state if runs have the metrics of every pool; otherwise the states other than busy and idle are one
    column.
    """
    if not {TOTAL, BUSY_KG, IDLE_KG} <= set(runs.columns) or not runs[TOTAL].is_finite().all(ignore_nulls=False):
        return None
    by_state = {state: part for state in STATES if (part := _of_state(runs, state)) is not None}
    if len(by_state) == len(STATES):
        states = {f"{state} kg": by_state[state] for state in ("busy", "idle", *STATES[2:])}
    else:
        states = {"busy kg": pl.col(BUSY_KG), "idle kg": pl.col(IDLE_KG)}
        if STANDBY_KG in runs.columns:
            states["asleep, off, changing kg"] = pl.col(STANDBY_KG)
    columns = {METRICS[name].heading: pl.col(name) for name in FIRST if name in runs.columns}
    columns |= states
    columns |= {
        METRICS[name].heading: pl.col(name) for name in (PUE_KG, LINKS_KG, *OF_BILL, *OTHER) if name in runs.columns
    }
    found = runs.group_by("policy", maintain_order=True).agg(part.mean().alias(name) for name, part in columns.items())
    empty = [name for name in found.columns[1:] if not (found[name].fill_nan(0) != 0).any()]
    return found.drop(empty).sort(METRICS[TOTAL].heading)


def bill_table(bill: pl.DataFrame, label: str) -> dict[str, Any]:
    """The bill as text in cells."""
    share_heading = METRICS[FIRST[0]].heading
    rows = [
        [
            policy_name(row["policy"]),
            *(share(row[name]) if name == share_heading else _cell(row[name]) for name in bill.columns[1:]),
        ]
        for row in bill.iter_rows(named=True)
    ]
    notes = "The bill is the sum of the states, of the PUE's addition to them, and of links."
    if METRICS[HOST_KG].heading in bill.columns:
        notes += " Hosts are a part of the states."
    if METRICS[EMBODIED].heading in bill.columns:
        notes += " Embodied carbon comes on top; SCI counts both."
    return {
        "label": "The bill",
        "caption": f"{label}: means over seeds, lowest bill first. {notes}",
        "heads": ["policy", *bill.columns[1:]],
        "words": 1,
        "rows": rows,
    }


def bill_figure(bill: pl.DataFrame) -> Figure:
    """Carbon by state, then the addition of the PUE, then embodied carbon, hatched; one bar per policy."""
    parts = _parts(bill)
    with styled():
        figure = new_figure(WIDTH_IN, 1.5 + 0.32 * bill.height)
        axes = figure.subplots()
        left = [0.0] * bill.height
        for name, colour in parts.items():
            values = bill[name].to_list()
            hatch = "///" if name == METRICS[EMBODIED].heading else None
            axes.barh(
                range(bill.height),
                values,
                0.7,
                left,
                color=colour,
                label=name.removesuffix(" kg"),
                linewidth=0.4,
                edgecolor=INK,
                hatch=hatch,
            )
            left = [base + value for base, value in zip(left, values, strict=True)]
        axes.set_yticks(range(bill.height), [name_of(name) for name in bill["policy"]])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(length=0, axis="y")
        axes.set_xlabel("carbon (kg)")
        figure.legend(loc="outside lower center", ncols=columns_of(len(parts)))
    return figure


def bill_sentence(bill: pl.DataFrame) -> str:
    """The largest parts of the lowest and of the highest bill."""
    total = METRICS[TOTAL].heading
    parts = [name for name in _parts(bill) if name != METRICS[EMBODIED].heading]
    said = []
    for row, which in ((bill.row(0, named=True), "The lowest"), (bill.row(-1, named=True), "the highest"))[
        : bill.height
    ]:
        shares = (
            sorted(
                ((row[name] / row[total], name.removesuffix(" kg")) for name in parts if row[name] > 0), reverse=True
            )
            if row[total]
            else []
        )
        most = listed([f"{share(part)} {name}" for part, name in shares[:3]])
        said.append(f"{which} bill, {amount(row[total])} kg ({policy_name(row['policy'])}), is {most}")
    return "; ".join(said).replace("The lowest bill", "The lowest bill" if bill.height > 1 else "The bill") + "."


def _parts(bill: pl.DataFrame) -> dict[str, str]:
    """Columns of the bar, and their colours."""
    colours = {f"{state} kg": STATE_COLOURS[state] for state in STATES}
    colours |= {
        "asleep, off, changing kg": FAINT,
        METRICS[PUE_KG].heading: PUE_COLOUR,
        METRICS[LINKS_KG].heading: LINKS_COLOUR,
        METRICS[EMBODIED].heading: GRID,
    }
    return {name: colours[name] for name in bill.columns if name in colours}


def _of_state(runs: pl.DataFrame, state: str) -> pl.Expr | None:
    """Carbon of a state over all pools; None if some runs do not have it."""
    pattern = re.compile(rf"{re.escape(POOL)}.+\.{state}_carbon_kg")
    names = [name for name in runs.columns if pattern.fullmatch(name)]
    told = [name for name in names if runs[name].null_count() < runs.height]
    known = bool(told) and runs.select(pl.any_horizontal(pl.col(told).is_not_null()).all()).item()
    return pl.sum_horizontal(told) if known else None


def _cell(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == 0 else f"{value:,.2f}"
