"""A request trace as arrays: the file's columns, and what follows from them."""

from __future__ import annotations

import numpy as np
import polars as pl

from caps_fast import scenario, sections
from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.workload.streams import stream
from caps_fast.workload.synthetic import MAX_TURNS, TASKS
from caps_fast.workload.tasks import tasks_of_prompts


def columns_of(frame: pl.DataFrame, config: scenario.Scenario, seed: int) -> dict[str, Array]:
    """The fields of REQUEST from a trace's frame (`TraceFile`), each (n,).

    Category and task always: the task by keywords (`tasks`) on the system prompt or a conversation's opening, `unknown`
    without either. Turns are the file's, or counted in its sessions. A tenant without a tier gets one by the tiers'
    shares, drawn from `seed`.
    """
    columns: dict[str, Array] = {
        name: frame[name].to_numpy()
        for name in ("arrival_s", "input_tokens", "output_tokens", "turns")
        if name in frame.columns
    }
    edges = config.workload.input_token_edges
    columns["category"] = np.searchsorted(np.array(edges[1:3]), columns["input_tokens"], side="right").astype(np.int8)
    text = next((name for name in ("system_prompt", "opening") if name in frame.columns), None)
    columns["task"] = tasks_of_prompts(frame[text]) if text else np.full(len(frame), TASKS.index("unknown"), np.int8)
    if "turns" not in columns and "session" in frame.columns:
        counted = pl.int_range(1, pl.len() + 1).over("session").clip(1, MAX_TURNS)
        columns["turns"] = frame.select(turns=pl.when(pl.col("session") == "").then(1).otherwise(counted))[
            "turns"
        ].to_numpy()
    if "tenant" in frame.columns:
        columns["tenant"] = (frame["tenant"].rank("dense") - 1).to_numpy()
    if "tier" in frame.columns:
        columns["tier"] = (
            frame["tier"]
            .replace_strict({tier: index for index, tier in enumerate(sections.TIERS)}, return_dtype=pl.Int8)
            .to_numpy()
        )
    if "origin" in frame.columns and config.origins:
        columns["origin"] = _origins(frame["origin"], config)
    if "tier" not in columns and "tenant" in columns:
        shares = [tier.share for tier in config.slo.all]
        tier_of = stream(seed, "tenant_traits").choice(3, int(columns["tenant"].max()) + 1, p=shares)
        columns["tier"] = tier_of[columns["tenant"]].astype(np.int8)
    return columns


def _origins(column: pl.Series, config: scenario.Scenario) -> Array:
    """Codes of the origins that a trace names (`Places`): 1 + number, 0 where a row has none.

    Raises InputError for another name.
    """
    known = {name: 1 + index for index, name in enumerate(config.origins or ())}
    codes = column.replace_strict({"": 0, **known}, default=None, return_dtype=pl.Int8)
    if codes.null_count():
        row = int(codes.is_null().arg_max() or 0)
        raise InputError(
            f"{config.workload.trace}: row {row + 1}: origin {column[row]!r}: expected one of {', '.join(known)}"
        )
    return codes.to_numpy()
