"""Measured values under one preset, by policy and metric, one value per seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caps_fast import scenario
from caps_fast.reproduce.plan import RATE_RPS, ROLES
from caps_fast.reproduce.statistics import estimate

Floats = NDArray[np.float64]

CELL = ("level", "category", "tier")


@dataclass(frozen=True)
class Evidence:
    """Rows of a sweep (one per run) and cells of the detailed runs, of one preset.

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
    def roles(self) -> tuple[str, ...]:
        """The preset's own roles, of pools and tiers."""
        return ("/".join(self.base.fleet.roles), *(tier.roles for tier in self.base.slo.all))

    def of(self, policy: str, metric: str, **fields: Any) -> Floats:
        """A metric by seed, of the runs that `chosen` returns; one NaN if there is none."""
        return _by_seed(self.chosen(policy, **fields), metric)

    def chosen(self, policy: str, **fields: Any) -> pl.DataFrame:
        """The runs of a policy, by seed: at 10 req/s and with the preset's settings, unless `fields` (columns of the
        results, or `roles`) state others.

        If a setting was run over several horizons, the longest one counts.
        """
        wanted = {
            "rate_rps": RATE_RPS,
            "split": self.base.fleet.split,
            "monitor.forecast": self.base.fleet.only_region.monitor.forecast,
        }
        wanted |= (
            dict(zip(ROLES, fields.pop("roles", self.roles), strict=True))
            | fields
            | {"preset": self.preset, "policy": policy}
        )
        found = self.runs.filter(*(pl.col(name) == value for name, value in wanted.items()))
        return found.filter(pl.col("days") == pl.col("days").max()).unique("scenario_hash").sort("seed")

    def ratio(self, metric: str, policy: str, to: str, **fields: Any) -> Floats:
        """A metric over another policy's, by seed."""
        return self.of(policy, metric, **fields) / self.of(to, metric, **fields)

    def difference(self, metric: str, policy: str, to: str, **fields: Any) -> Floats:
        """A metric minus another policy's, by seed."""
        return self.of(policy, metric, **fields) - self.of(to, metric, **fields)

    @cached_property
    def cell_savings(self) -> pl.DataFrame:
        """Saving of CAPS over Round Robin in carbon per token: level, category, tier, seed, saving (Figure 3a)."""
        cells = self.cells.filter(pl.col("preset") == self.preset, pl.col("output_tokens") > 0)
        per_token = cells.with_columns((pl.col("carbon_g") / pl.col("output_tokens")).alias("g"))
        sides = [
            per_token.filter(pl.col("policy") == policy).select("seed", *CELL, "g")
            for policy in ("round-robin", "caps")
        ]
        both = sides[0].join(sides[1], on=["seed", *CELL], suffix="_caps")
        return both.select(*CELL, "seed", (1 - pl.col("g_caps") / pl.col("g")).alias("saving"))

    @cached_property
    def mean_cell_savings(self) -> pl.DataFrame:
        """Means over seeds of `cell_savings`, largest first."""
        return (
            self.cell_savings.group_by(CELL, maintain_order=True)
            .agg(pl.col("saving").mean())
            .sort("saving", descending=True)
        )

    @cached_property
    def savings_with_intervals(self) -> pl.DataFrame:
        """Figure 3a: preset, level, category, tier, saving, low, high."""
        rows = []
        for key, cell in self.cell_savings.group_by(CELL, maintain_order=True):
            found = estimate(cell["saving"].to_numpy())
            rows.append(
                {"preset": self.preset}
                | dict(zip(CELL, key, strict=True))
                | {"saving": found.mean, "low": found.low, "high": found.high}
            )
        return pl.DataFrame(rows)

    def cell_saving(self, level: str | None, category: str, tier: str) -> Floats:
        """Saving in one cell by seed; without a level, over all levels."""
        if level is not None:
            chosen = self.cell_savings.filter(
                pl.col("level") == level, pl.col("category") == category, pl.col("tier") == tier
            )
            return _by_seed(chosen.sort("seed"), "saving")
        cells = self.cells.filter(
            pl.col("preset") == self.preset, pl.col("category") == category, pl.col("tier") == tier
        )
        sums = (
            cells.group_by("policy", "seed")
            .agg((pl.col("carbon_g").sum() / pl.col("output_tokens").sum()).alias("g"))
            .sort("seed")
        )
        sides = [_by_seed(sums.filter(pl.col("policy") == policy), "g") for policy in ("caps", "round-robin")]
        return 1 - sides[0] / sides[1]

    def extreme_cell(self, largest: bool) -> Floats:
        """The largest or smallest saving of any cell, by seed."""
        column = pl.col("saving").max() if largest else pl.col("saving").min()
        return _by_seed(self.cell_savings.group_by("seed").agg(column).sort("seed"), "saving")


def _by_seed(frame: pl.DataFrame, metric: str) -> Floats:
    values: Floats = frame[metric].to_numpy().astype(np.float64)
    return values if len(values) else np.array([math.nan])
