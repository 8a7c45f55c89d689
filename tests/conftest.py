"""Hypothesis profiles: `ci` (the default) draws the same examples every time; `pytest --hypothesis-profile explore`
looks for new ones, at length.
"""

from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, settings

from caps_fast import pack
from caps_fast.cli import talk
from caps_fast.traits import Traits, traits

# The first example may compile a kernel, which is no sign of a slow test.
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("ci"), derandomize=False, max_examples=5000, print_blob=True)
settings.load_profile("ci")


def _few_traits(**has: bool) -> Traits:
    """As `traits`, but a run that is not plain has all of those that every fleet may use."""
    return traits(**has | dict.fromkeys(("fleet", "terms", "growth"), any(has.values())))


@pytest.fixture(autouse=True, scope="session")
def _few_kernels(request: pytest.FixtureRequest) -> None:
    """Compile fewer kernels: for a policy the plain one and the general one, where users get one of eight.

    `explore` compiles what users get.
    """
    if request.config.getoption("--hypothesis-profile") != "explore":
        pack.traits = _few_traits  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def _messages() -> None:
    """Messages are printed as the program prints them, also where a test calls a command by itself."""
    talk.start()


def pytest_sessionfinish() -> None:
    """Undo the freezing at the end of `cli.main`: libraries look for leaks when the interpreter ends."""
    gc.unfreeze()
