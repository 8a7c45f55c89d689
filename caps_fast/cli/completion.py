"""Shell completion of the values of options and arguments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def complete_scenario(incomplete: str) -> Iterator[str]:
    """Presets, and scenario files in the typed folder."""
    from importlib.resources import files

    presets = (
        entry.name.removesuffix(".toml")
        for entry in files("caps_fast.presets").iterdir()
        if entry.name.endswith(".toml")
    )
    yield from (name for name in sorted(presets) if name.startswith(incomplete))
    folder = incomplete.rpartition("/")[0]
    for path in sorted(Path(folder or ".").glob("*")):
        name = f"{folder}/{path.name}" if folder else path.name
        if name.startswith(incomplete) and (path.suffix == ".toml" or path.is_dir()):
            yield f"{name}/" if path.is_dir() else name


def complete_policies(incomplete: str) -> Iterator[str]:
    """Policies, after those before the last comma."""
    from caps_fast.policy_names import ABOUT

    before, comma, last = incomplete.rpartition(",")
    for name in ("main", "ablations", "all", *ABOUT):
        if name.startswith(last):
            yield f"{before}{comma}{name}"


def complete_profile(incomplete: str) -> Iterator[str]:
    """Built-in GPU profiles."""
    from importlib.resources import files

    names = (
        entry.name.removesuffix(".toml")
        for entry in files("caps_fast.profiles").iterdir()
        if entry.name.endswith(".toml")
    )
    yield from (name for name in sorted(names) if name.startswith(incomplete))


def complete_metric(incomplete: str) -> Iterator[str]:
    """Metrics of a run."""
    from caps_fast.metrics import METRICS

    yield from (name for name in METRICS if name.startswith(incomplete))
