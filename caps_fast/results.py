"""The result of a run: metrics with units in their names, frames, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from caps_fast import scenario
from caps_fast.errors import InputError
from caps_fast.metrics import METRICS, TABLE
from caps_fast.outcome import Outcome
from caps_fast.text_table import counted

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, repr=False)
class Result:
    """The result of `simulate`: metrics, frames (Polars) and pictures of one run.

    >>> from caps_fast import preset, simulate
    >>> result = simulate(preset("paper").replace(days=0.01, policy__name="round-robin"))
    >>> result.metrics["requests"], round(result.metrics["slo_attainment"], 3)
    (8524, 0.748)
    >>> result.by_pool["lp"]["requests"], result.cells.height, result.quantile("ttft", 0.5) < 0.1
    (2844, 27, True)
    """

    outcome: Outcome  # arrays and accounts behind the frames, for internal use

    @property
    def scenario(self) -> scenario.Scenario:
        """The scenario of the run."""
        return self.outcome.scenario

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the grid, the forecasts and the trace."""
        return self.outcome.notes

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics by name, with units in the names; docs/schema.md lists them.

        Latencies and deferral are over finished requests, attainments over all that arrived.
        """
        return self.outcome.metrics

    @property
    def by_pool(self) -> dict[str, dict[str, float]]:
        """Metrics of every pool, by the pool's name: `by_pool["lp"]["energy_kwh"]`."""
        return self.outcome.by_pool

    def row(self, by_pool: bool = False) -> dict[str, Any]:
        """Parameters and metrics, in the order of the result files; with `by_pool`, those of every pool too."""
        return self.outcome.row(by_pool)

    def quantile(self, latency: str, q: float, tier: str | None = None) -> float:
        """Quantile of a latency in seconds, to 0.4 %; nan if nothing finished.

        latency   ttft (from arrival), ttft_after_release, tpot or e2e
        q         0 to 1
        tier      gold, silver or bronze; None = all requests

        Raises InputError for other values.
        """
        return self.outcome.quantile(latency, q, tier)

    @property
    def cells(self) -> pl.DataFrame:
        """Accounts by carbon level at arrival, category and tier: 27 rows."""
        return self.outcome.cells

    @property
    def histograms(self) -> pl.DataFrame:
        """Finished requests by latency, tier and bin (`from_s` to `to_s`, 0.8 % wide); empty bins left out."""
        return self.outcome.histogram_frame

    @property
    def has_series(self) -> bool:
        """Whether a series was recorded."""
        return len(self.outcome.samples) > 0

    @property
    def series(self) -> pl.DataFrame:
        """A row per pool and sample: intensity, mean power since the sample before, residents, waiting.

        Raises InputError if no series was recorded.
        """
        if not self.has_series:
            raise InputError("series not recorded: expected simulate(scenario, Recording(sample_every_s=60))")
        return self.outcome.series

    @property
    def requests(self) -> pl.DataFrame:
        """A row per request, in input order: its times, lengths, place, energy, carbon; null for what has not happened.

        Raises InputError if requests were not recorded.
        """
        return self.outcome.request_table

    @property
    def plot(self) -> Any:
        """Figures (Matplotlib): `plot.timeline()`, `plot.latency()` and `plot.overview()`."""
        return import_module("caps_fast.report.run_figure").Plot(self)  # of a higher layer, which imports this one

    def __repr__(self) -> str:
        """One screen: what was run, the main metrics, and which frames there are."""
        rows = self._shown()
        width = max(len(name) for name, _ in rows)
        lines = [
            self._title(),
            *(f"  {name:{width}}  {value:>10}" for name, value in rows),
            f"  frames: {self._frames()}",
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        cells = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self._shown()
        )
        return f"<p>{escape(self._title())}</p><table>{cells}</table><p>frames: {escape(self._frames())}</p>"

    def __dir__(self) -> list[str]:
        """Names for users."""
        return [name for name in vars(type(self)) if not name.startswith("_")]

    def _title(self) -> str:
        config, fleet = self.scenario, self.scenario.fleet
        load = f"{self.metrics['requests']:,} requests in {counted(config.days, 'day')}"
        return (
            f"{config.policy.name} on {config.preset}: {load}, {counted(fleet.replicas, 'replica')} in "
            f"{fleet.split}, seed {config.seed}"
        )

    def _shown(self) -> list[tuple[str, str]]:
        return [(name, METRICS[name].shown(self.metrics[name])) for name in TABLE]

    def _frames(self) -> str:
        there = {"series": self.has_series, "requests": self.outcome.requests is not None}
        return ", ".join(
            ["cells", "histograms", *(name if known else f"{name} (not recorded)" for name, known in there.items())]
        )
