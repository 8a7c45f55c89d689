"""Sweeps that take a moment, for the tests."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import caps_fast.sweep.work
from caps_fast.scenario import Scenario
from caps_fast.sweep import Grid, Plan, Workers
from caps_fast.sweep.axes import axis
from caps_fast.sweep.file import assemble, seed_axis

TINY = {"days": 0.002, "predictor.source": "declared"}
SERIAL = Workers(1)


def plan_of(rates: str = "4,8,12", policies: str = "round-robin,edf", seeds: int = 2, **more: Any) -> Plan:
    axes = [
        axis("rate", rates, ""),
        axis("policy", policies, ""),
        *(axis(name, raw, "") for name, raw in more.items()),
        seed_axis(seeds, ""),
    ]
    return assemble("grid", [Grid("", TINY, tuple(axes))])


def content(folder: Path) -> bytes:
    return (folder / "runs.parquet").read_bytes()


def count_runs(monkeypatch: pytest.MonkeyPatch, run: list[Scenario]) -> None:
    simulate_group = caps_fast.sweep.work.simulate_group

    def counted(configs: Sequence[Scenario]) -> Any:
        run.extend(configs)
        return simulate_group(configs)

    monkeypatch.setattr(caps_fast.sweep.work, "simulate_group", counted)


def command(*arguments: str) -> list[str]:
    code = "import caps_fast.cli as cli; cli.MODULES = ('grid', 'sweep', 'pareto', 'compare', 'tune'); cli.main()"
    return [sys.executable, "-c", code, *arguments]


def grid(folder: Path, *more: str) -> list[str]:
    tiny = [
        "--days",
        "0.002",
        "--set",
        "predictor.source=declared",
        "--policies",
        "round-robin,edf",
        "--rates",
        "4,8,12",
        "--seeds",
        "2",
    ]
    return command("grid", *tiny, "--out", str(folder), *more)
