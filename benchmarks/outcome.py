"""From pytest-benchmark's JSON to ratios, and the check against the stored ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARGIN = 0.3  # a ratio may be so much worse than the stored one; docs/benchmarks.md says why


@dataclass(frozen=True)
class Ratio:
    """One ratio within a run. `target` is what was asked for, if anything was."""

    value: float
    target: float | None
    more_is_better: bool

    @property
    def meets_target(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.more_is_better else self.value <= self.target

    def worse_by(self, stored: float) -> float:
        """How much worse than the stored value, as a share; negative if better."""
        return (stored / self.value if self.more_is_better else self.value / stored) - 1


@dataclass(frozen=True)
class Benchmark:
    """One benchmark's measurements: seconds a unit by label, ratios, absolute figures, what was checked first, how
    far its rounds lay apart.
    """

    name: str
    unit: str
    seconds: dict[str, float]
    ratios: dict[str, Ratio]
    figures: dict[str, dict[str, Any]]
    notes: list[str]
    spread: float


@dataclass(frozen=True)
class Outcome:
    """A whole run."""

    machine: dict[str, str]
    benchmarks: list[Benchmark]
    said: dict[str, list[str]] = field(default_factory=dict)  # by benchmarks that measure in processes of their own

    @property
    def ratios(self) -> dict[str, Ratio]:
        return {name: ratio for benchmark in self.benchmarks for name, ratio in benchmark.ratios.items()}

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        return {name: figure for benchmark in self.benchmarks for name, figure in benchmark.figures.items()}

    def seconds(self, name: str) -> dict[str, float]:
        """Seconds a unit by label of the benchmark of that name; empty where it did not run."""
        return next((benchmark.seconds for benchmark in self.benchmarks if benchmark.name == name), {})


def read(path: Path) -> Outcome:
    """The outcome of a pytest-benchmark run."""
    data = json.loads(path.read_text(encoding="utf-8"))
    benchmarks = []
    for entry in data["benchmarks"]:
        extra = entry["extra_info"]
        ratios = {name: Ratio(**ratio) for name, ratio in extra.get("ratios", {}).items()}
        found = (
            extra.get(key, default)
            for key, default in (("unit", ""), ("seconds", {}), ("figures", {}), ("notes", []), ("spread", math.nan))
        )
        unit, seconds, figures, notes, spread = found
        if "ns_per_request" in extra:
            unit, seconds = "request", {"best round": extra["ns_per_request"] * 1e-9}
        benchmarks.append(Benchmark(entry["name"], unit, seconds, ratios, figures, notes, spread))
    return Outcome(_machine(data["machine_info"]), benchmarks, data.get("said", {}))


def regressions(ratios: Mapping[str, Ratio], stored: Mapping[str, float], margin: float = MARGIN) -> list[str]:
    """A line for every ratio that is worse than the stored one by more than the margin.

    Ratios that only one side has are let pass.
    """
    lines = []
    for name, ratio in ratios.items():
        if name in stored and (worse := ratio.worse_by(stored[name])) > margin:
            lines.append(
                f"{name}: {ratio.value:.3g}, {worse:.0%} worse than the stored {stored[name]:.3g} (margin {margin:.0%})"
            )
    return lines


def stored_ratios(path: Path, mode: str) -> dict[str, float]:
    """Ratios kept from an earlier run of the same mode (`full` or `quick`)."""
    if not path.exists():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")).get(mode, {}).get("ratios", {}))


def store(path: Path, mode: str, outcome: Outcome) -> None:
    """Keep this run's ratios for the mode."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[mode] = {
        "machine": outcome.machine,
        "ratios": {name: float(f"{ratio.value:.4g}") for name, ratio in outcome.ratios.items()},
    }
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _machine(info: Mapping[str, Any]) -> dict[str, str]:
    cpu = info.get("cpu", {})
    return {
        "cpu": str(cpu.get("brand_raw", "unknown")),
        "cores": str(cpu.get("count", "")),
        "python": str(info.get("python_version", "")),
    }
