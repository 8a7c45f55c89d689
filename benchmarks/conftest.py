"""Sizes of a full and of a quick run, and the fixtures of every benchmark."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .measure import Timing

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # the reference engine

said: dict[str, list[str]] = {}


class Sizes(NamedTuple):
    """How much is timed."""

    rounds: int
    days: float  # of the paper's scenario
    fleet_requests: float
    horizons_h: tuple[float, ...]
    overload_h: tuple[float, ...]
    queue_customers: int
    sweep_days: float


FULL = Sizes(5, 7.0, 3e6, (1, 6, 24, 7 * 24, 30 * 24), (0.5, 2, 8), 50_000, 0.25)
QUICK = Sizes(2, 0.25, 3e5, (1, 6, 24), (0.25, 1), 10_000, 0.04)


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--quick", action="store_true", help="small sizes, few rounds: rough ratios in two minutes")


@pytest.fixture(scope="session")
def quick(pytestconfig: Any) -> bool:
    return bool(pytestconfig.getoption("--quick"))


@pytest.fixture(scope="session")
def sizes(quick: bool) -> Sizes:
    return QUICK if quick else FULL


@pytest.fixture
def timing(benchmark: Any, sizes: Sizes) -> Timing:
    return Timing(benchmark, sizes.rounds)


def pytest_runtest_logreport(report: Any) -> None:
    """Keep what the benchmarks of loading print, which measure in processes of their own."""
    if report.when == "call" and "test_loading.py" in report.nodeid and report.capstdout.strip():
        said[report.nodeid] = report.capstdout.strip().splitlines()


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    output_json["said"] = said
