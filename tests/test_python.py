"""The Python interface as its user sees it: what there is, what it prints, frames, pictures, and the examples in
docstrings.
"""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from typing import Any

import polars as pl
import pytest

import caps_fast
from caps_fast import InputError, Recording, Result, compare, preset, simulate
from caps_fast.errors import did_you_mean

QUICK = {"days": 0.01, "policy.name": "round-robin"}
RECORDED = Recording(requests=True, sample_every_s=30.0)
DOCUMENTED = (
    "caps_fast",
    *(f"caps_fast.{name}" for name in ("scenario", "simulation", "results", "study", "sizing", "bounds", "policy")),
    *(f"caps_fast.{name}" for name in ("carbon.formats", "traces.reading")),
)


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(preset("paper").replace(QUICK), RECORDED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_in_docstrings(name: str) -> None:
    module = sys.modules.get(name) or import_module(name)
    failed, tried = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
    assert tried > 0


@pytest.mark.parametrize("name", [name for name in caps_fast.__all__ if name != "__version__"])
def test_what_there_is_is_documented(name: str) -> None:
    found: Any = getattr(caps_fast, name)
    assert name in dir(caps_fast)
    assert (found.__doc__ or "").strip()
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = caps_fast.simulat


def test_the_names_of_packages_are_functions_too() -> None:
    code = """
        from caps_fast import policy, preset, rules, sweep
        import caps_fast.policy, caps_fast.sweep, caps_fast.study
        from typing import NamedTuple
        assert caps_fast.policy is policy or callable(policy)
        assert callable(sweep) and sweep.Workers(1).count == 1
        @policy(layout="central")
        class Mine(NamedTuple):
            margin: float = 1.0
        from caps_fast import policy as again, sweep as too
        again(layout="central")(Mine)
        try:
            too(preset("paper"), {"rate": [0]}, seeds=1)
        except caps_fast.InputError as error:
            print(error)
    """
    lines = "\n".join(line[8:] for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert "workload.rate_rps 0: expected a number greater than 0" in done.stdout


def test_a_result_prints_on_one_screen(result: Result) -> None:
    text = repr(result)
    assert text.startswith("round-robin on paper: 8,524 requests in 0.01 days, 24 replicas in 8/8/8, seed 0\n")
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 100
    assert text.endswith("frames: cells, histograms, series, requests")
    html = result._repr_html_()
    assert html.count("<tr>") == len(text.splitlines()) - 2
    mean = simulate(preset("paper").replace(QUICK, policy__options={"a<b": 1.0}))
    assert "<b" not in mean._repr_html_().replace("<body", "")


def test_a_result_has_frames_and_no_arrays(result: Result) -> None:
    frames = {name: getattr(result, name) for name in ("cells", "histograms", "series", "requests")}
    assert {name: type(frame) for name, frame in frames.items()} == dict.fromkeys(frames, pl.DataFrame)
    assert frames["requests"].height == result.metrics["requests"]
    assert frames["histograms"].filter(latency="ttft")["requests"].sum() == frames["cells"]["finished"].sum()
    assert "outcome" not in dir(result)
    bare = simulate(result.scenario)
    assert "series (not recorded), requests (not recorded)" in repr(bare)
    for name, option in (("requests", "requests=True"), ("series", "sample_every_s=60")):
        with pytest.raises(
            InputError, match=rf"{name} not recorded: expected simulate\(scenario, Recording\({option}\)\)"
        ):
            getattr(bare, name)
    with pytest.raises(InputError, match="series not recorded"):
        bare.plot.timeline()


def test_a_result_is_drawn(result: Result) -> None:
    timeline, latency, overview = result.plot.timeline(), result.plot.latency(), result.plot.overview()
    assert [len(figure.axes) for figure in (timeline, latency)] == [4, 4]
    assert "Round Robin: preset paper, 24 replicas" in overview.get_suptitle()
    assert simulate(result.scenario).plot.latency().axes


def test_policies_compared() -> None:
    base = preset("paper").replace(QUICK, predictor__source="declared")
    found = compare(base, ["caps"], seeds=2, baseline="round-robin", metrics=["bill_kg", "slo_attainment"], jobs=1)
    assert found.columns == ["policy", "metric", "pairs", "baseline", "mean", "difference", "low", "high", "relative"]
    assert found["metric"].to_list() == ["bill_kg", "slo_attainment"]
    assert (found["low"] <= found["difference"]).all()
    assert (found["difference"] - (found["mean"] - found["baseline"])).abs().max() < 1e-12
    with pytest.raises(InputError, match=r"metric 'bill_kgs' \(did you mean bill_kg\?\)"):
        compare(base, ["caps"], seeds=2, baseline="round-robin", metrics=["bill_kgs"], jobs=1)
    with pytest.raises(InputError, match=r"confidence 95: expected a number between 0 and 1"):
        compare(base, confidence=95)


def test_fields_are_replaced_by_keyword_too() -> None:
    base = preset("paper")
    assert base.replace(days=1, workload__rate_rps=12, policy__lambda=1) == base.replace(
        {"days": 1, "workload.rate_rps": 12, "policy.lambda": 1}
    )
    assert base.replace() == base
    with pytest.raises(InputError, match=r"days appears twice"):
        base.replace({"days": 1}, days=2)
    with pytest.raises(InputError, match=r"workload\.rate \(did you mean workload\.rate_rps\?\): unknown field"):
        base.replace(workload__rate=3)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("round_robin", "round-robin"),
        ("CAPS", "caps"),
        ("carbon", "carbon-aware"),
        ("edff", "edf"),
        ("x", ""),
        ("nonsense", ""),
    ],
)
def test_what_was_meant(word: str, meant: str) -> None:
    known = ["round-robin", "edf", "carbon-aware", "caps", "caps-no-carbon"]
    assert did_you_mean(word, known) == (f" (did you mean {meant}?)" if meant else "")
