"""What was measured under one preset, asked for by policy and metric, one value a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caps_fast import scenario
from caps_fast.reproduce.plan import ONLY_BRONZE, RATE_RPS, TIER_ROLES

Floats = NDArray[np.float64]

CELL = ("level", "category", "tier")


@dataclass(frozen=True)
class Evidence:
    """Rows of a sweep (one a run) and cells of the detailed runs, of one preset.

    runs    as `caps_fast.sweep` writes them
    cells   preset, policy, seed, level, category, tier, output_tokens, carbon_g, ...
    """

    preset: str
    runs: pl.DataFrame
    cells: pl.DataFrame

    @cached_property
    def base(self) -> scenario.Scenario:
        return scenario.preset(self.preset)

    @cached_property
    def own(self) -> pl.DataFrame:
        """Runs with the preset's own forecast and roles."""
        ours = {"monitor.forecast": self.base.monitor.forecast} | dict(zip(TIER_ROLES, [tier.roles for tier in self.base.slo.all], strict=True))
        return self._where(self.runs.filter(pl.col("preset") == self.preset), ours)

    @cached_property
    def headline(self) -> pl.DataFrame:
        """Runs at 10 req/s on the preset's split, of the longest horizon."""
        at_rate = self._where(self.own, {"rate_rps": RATE_RPS, "split": self.base.cluster.split})
        return at_rate.filter(pl.col("days") == pl.col("days").max())

    def of(self, policy: str, metric: str, **fields: Any) -> Floats:
        """A metric by seed. `fields` choose other runs than the headline's: `split`, `rate_rps`, or `forecast`, `roles`."""
        return _by_seed(self.chosen(policy, **fields), metric)

    def chosen(self, policy: str, **fields: Any) -> pl.DataFrame:
        """The runs behind `of`, by seed."""
        frame = self.headline
        if "split" in fields or "rate_rps" in fields:
            wanted = {"split": self.base.cluster.split, "rate_rps": RATE_RPS} | fields
            frame = self._where(self.own, wanted)
            frame = frame.filter(pl.col("days") == pl.col("days").min())
        elif "forecast" in fields or "roles" in fields:
            roles = fields.get("roles", tuple(tier.roles for tier in self.base.slo.all))
            wanted = {"monitor.forecast": fields.get("forecast", self.base.monitor.forecast)} | dict(zip(TIER_ROLES, roles, strict=True))
            frame = self._where(self.runs.filter(pl.col("preset") == self.preset), wanted)
            frame = self._where(frame, {"rate_rps": RATE_RPS, "split": self.base.cluster.split}).filter(pl.col("days") == pl.col("days").max())
        return frame.filter(pl.col("policy") == policy).unique("scenario_hash").sort("seed")

    def ratio(self, metric: str, policy: str, to: str, **fields: Any) -> Floats:
        """A metric over another policy's, by seed."""
        return self.of(policy, metric, **fields) / self.of(to, metric, **fields)

    def difference(self, metric: str, policy: str, to: str, **fields: Any) -> Floats:
        """A metric minus another policy's, by seed."""
        return self.of(policy, metric, **fields) - self.of(to, metric, **fields)

    @cached_property
    def only_bronze_held(self) -> bool:
        """Whether the preset itself keeps Gold and Silver out of the batch pool."""
        return all(set(tier.roles.split("/")) <= set(allowed.split("/")) for tier, allowed in zip(self.base.slo.all, ONLY_BRONZE, strict=True))

    @cached_property
    def cell_savings(self) -> pl.DataFrame:
        """Saving of CAPS over Round Robin in carbon per token: level, category, tier, seed, saving (Figure 3a)."""
        cells = self.cells.filter(pl.col("preset") == self.preset)
        per_token = cells.with_columns((pl.col("carbon_g") / pl.col("output_tokens")).alias("g"))
        sides = [per_token.filter(pl.col("policy") == policy).select("seed", *CELL, "g") for policy in ("round-robin", "caps")]
        both = sides[0].join(sides[1], on=["seed", *CELL], suffix="_caps")
        return both.select(*CELL, "seed", (1 - pl.col("g_caps") / pl.col("g")).alias("saving"))

    @cached_property
    def mean_cell_savings(self) -> pl.DataFrame:
        """Means over seeds of `cell_savings`, largest first."""
        return self.cell_savings.group_by(CELL, maintain_order=True).agg(pl.col("saving").mean()).sort("saving", descending=True)

    def cell_saving(self, level: str | None, category: str, tier: str) -> Floats:
        """Saving in one cell by seed; without a level, over all levels together."""
        if level is not None:
            chosen = self.cell_savings.filter(pl.col("level") == level, pl.col("category") == category, pl.col("tier") == tier)
            return _by_seed(chosen.sort("seed"), "saving")
        cells = self.cells.filter(pl.col("preset") == self.preset, pl.col("category") == category, pl.col("tier") == tier)
        sums = cells.group_by("policy", "seed").agg((pl.col("carbon_g").sum() / pl.col("output_tokens").sum()).alias("g")).sort("seed")
        sides = [_by_seed(sums.filter(pl.col("policy") == policy), "g") for policy in ("caps", "round-robin")]
        return 1 - sides[0] / sides[1]

    def extreme_cell(self, largest: bool) -> Floats:
        """The largest or smallest saving of any cell, by seed."""
        column = pl.col("saving").max() if largest else pl.col("saving").min()
        return _by_seed(self.cell_savings.group_by("seed").agg(column).sort("seed"), "saving")

    def _where(self, frame: pl.DataFrame, wanted: dict[str, Any]) -> pl.DataFrame:
        return frame.filter(*(pl.col(name) == value for name, value in wanted.items()))


def _by_seed(frame: pl.DataFrame, metric: str) -> Floats:
    values: Floats = frame[metric].to_numpy().astype(np.float64)
    return values if len(values) else np.array([math.nan])
