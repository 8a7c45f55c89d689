"""The measured part of docs/benchmarks.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

from .outcome import Outcome, Ratio
from .profile import Profile

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PACKAGES = ("numba", "numpy", "lightgbm", "simpy", "ciw")


def tables(outcome: Outcome, stored: Mapping[str, float], profile: Profile | None, mode: str) -> str:
    """Markdown: the machine, targets, every measurement, where the time goes, and what was checked before timing."""
    machine = outcome.machine
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        f"Machine: {machine['cpu']}, {machine['cores']} cores; Python {machine['python']}, {packages}. A {mode} run.",
        "",
        "## Targets",
        "",
    ]
    lines += _table(["ratio within the run", "measured", "target", "met"], _target_rows(outcome.ratios))
    lines += ["", "Absolute figures, which depend on the machine:", ""]
    lines += _table(["figure", "measured", "limit", "met"], _figure_rows(outcome))
    others = [
        [name, f"{ratio.value:.3g}", _stored(name, stored)]
        for name, ratio in outcome.ratios.items()
        if ratio.target is None
    ]
    lines += ["", "## Other ratios", "", *_table(["ratio within the run", "measured", "stored"], others)]
    lines += [
        "",
        "## Measurements",
        "",
        *_table(["benchmark", "what", "a unit", "units a second", "spread"], _measured(outcome)),
    ]
    if outcome.said:
        lines += [
            "",
            "Loading ten million requests, each in a process of its own:",
            "",
            *(f"- {line}" for said in outcome.said.values() for line in said),
        ]
    if profile:
        whole = f"CAPS with its learned predictor, {profile.total_ns:.0f} ns a request, by leaving parts out:"
        parts = (
            [part.name, f"{part.ns:z.0f}", f"{part.ns / profile.total_ns:z.0%}", part.how] for part in profile.parts
        )
        lines += [
            "",
            "## Where the time goes",
            "",
            whole,
            "",
            *_table(["part", "ns a request", "share", "found by"], parts),
        ]
        lines += ["", *(f"- {fact}" for fact in profile.facts)]
    notes = dict.fromkeys(f"- {benchmark.name}: {note}" for benchmark in outcome.benchmarks for note in benchmark.notes)
    return "\n".join([*lines, "", "## Checked before timing", "", *notes])


def put(page: str, measured: str) -> str:
    """The page with its measured part replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}"


def _target_rows(ratios: Mapping[str, Ratio]) -> Iterable[Sequence[str]]:
    for name, ratio in ratios.items():
        if ratio.target is not None:
            yield (
                name,
                f"{ratio.value:.3g}",
                f"{_bound(ratio.more_is_better)} {ratio.target:g}",
                _met(ratio.meets_target),
            )


def _figure_rows(outcome: Outcome) -> Iterable[Sequence[str]]:
    for name, figure in outcome.figures.items():
        value, limit, unit = figure["value"], figure["limit"], figure["unit"]
        if limit is None:
            yield name, f"{value:.3g} {unit}", "", ""
            continue
        more_is_better = figure["more_is_better"]
        yield (
            name,
            f"{value:.3g} {unit}",
            f"{_bound(more_is_better)} {limit:g} {unit}",
            _met(value >= limit if more_is_better else value <= limit),
        )


def _measured(outcome: Outcome) -> Iterable[Sequence[str]]:
    for benchmark in outcome.benchmarks:
        for label, seconds in benchmark.seconds.items():
            spread = "" if math.isnan(benchmark.spread) else f"{benchmark.spread:.0%}"
            yield (
                benchmark.name.removeprefix("test_"),
                label,
                f"{_time(seconds)} a {benchmark.unit}",
                _count(1 / seconds),
                spread,
            )


def _bound(more_is_better: bool) -> str:
    return "at least" if more_is_better else "at most"


def _met(met: bool | None) -> str:
    return "yes" if met else "**no**"


def _stored(name: str, stored: Mapping[str, float]) -> str:
    return f"{stored[name]:.3g}" if name in stored else ""


def _count(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.10g}"


def _time(seconds: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]
