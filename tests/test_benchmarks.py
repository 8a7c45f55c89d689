"""The benchmarks compute the right thing, and their check notices what has become worse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pytest_benchmark", reason="benchmarks are not installed")

from benchmarks import outcome, page, peers, scenarios
from benchmarks.measure import TURN_S, Work, exponent, turns_of
from benchmarks.outcome import Benchmark, Outcome, Ratio
from caps_fast.arrays import BUSY

LESS = Ratio(2.0, 4.0, more_is_better=False)
MORE = Ratio(2.0, 4.0, more_is_better=True)


@pytest.mark.parametrize(
    ("ratio", "stored", "worse"),
    [
        (LESS, 2.0, False),
        (LESS, 1.6, False),
        (LESS, 1.5, True),
        (LESS, 9.0, False),
        (MORE, 2.0, False),
        (MORE, 2.5, False),
        (MORE, 2.7, True),
        (MORE, 1.0, False),
    ],
)
def test_check_notices_what_is_worse_by_more_than_the_margin(ratio: Ratio, stored: float, worse: bool) -> None:
    lines = outcome.regressions({"a / b": ratio}, {"a / b": stored, "gone": 1.0}, margin=0.3)
    assert bool(lines) == worse
    assert all("a / b" in line and "margin 30%" in line for line in lines)


def test_check_lets_new_ratios_pass() -> None:
    assert outcome.regressions({"new": LESS}, {}) == []


def test_targets() -> None:
    assert LESS.meets_target is True
    assert MORE.meets_target is False
    assert Ratio(1.0, None, more_is_better=False).meets_target is None


def test_stored_ratios_come_back_by_mode(tmp_path: Path) -> None:
    path, found = tmp_path / "stored.json", _outcome()
    outcome.store(path, "full", found)
    outcome.store(path, "quick", found)
    assert outcome.stored_ratios(path, "full") == outcome.stored_ratios(path, "quick") == {"a / b": 2.0, "c / d": 2.0}
    assert outcome.stored_ratios(tmp_path / "none.json", "full") == {}
    assert outcome.regressions(found.ratios, outcome.stored_ratios(path, "full")) == []


def test_report_of_pytest_benchmark_is_understood(tmp_path: Path) -> None:
    ratios = {"a / b": {"value": 2.0, "target": 4.0, "more_is_better": False}}
    extra = {
        "unit": "request",
        "seconds": {"a": 2e-7, "b": 1e-7},
        "ratios": ratios,
        "figures": {},
        "notes": ["same"],
        "spread": 0.01,
    }
    machine = {"cpu": {"brand_raw": "a processor", "count": 2}, "python_version": "3.11.7", "node": "secret"}
    benchmarks = [{"name": "test_a[b]", "extra_info": extra}, {"name": "plain", "extra_info": {}}]
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"machine_info": machine, "benchmarks": benchmarks}))
    found = outcome.read(report)
    assert found.ratios == {"a / b": Ratio(2.0, 4.0, more_is_better=False)}
    assert found.seconds("test_a[b]") == {"a": 2e-7, "b": 1e-7}
    assert "secret" not in str(found.machine)


def test_page_keeps_its_prose_and_says_what_misses_its_target() -> None:
    measured = page.tables(_outcome(), {"c / d": 1.9}, None, "full")
    written = page.put(page.put(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", "older"), measured)
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "old" not in written.replace("threshold", "")
    assert "| c / d | 2 | at least 4 | **no** |" in written
    assert "200 ns a request" in written


def test_exponent_of_a_power() -> None:
    sizes = [1.0, 10.0, 300.0]
    assert exponent(sizes, [3.0 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_scenarios_are_what_their_names_say() -> None:
    config = scenarios.fleet("edf", 100, 5000.0, pools=30)
    assert len(config.fleet.pools) == 30
    assert config.fleet.replicas == sum(config.fleet.sizes) == 100
    assert [config.fleet.roles.count(role) for role in ("LP", "CP", "BP")] == [10, 10, 10]
    assert config.workload.rate_rps == pytest.approx(100 * 10 / 24)
    assert scenarios.drawing(config).units == pytest.approx(5000, rel=0.1)
    assert scenarios.paper(scenarios.LEARNED, 1.0).predictor.source == "learned"
    assert scenarios.paper("round-robin", 1.0).policy.name == "round-robin"


def test_common_queue_is_the_same_in_every_simulator() -> None:
    """Service times are right here; that waits are is checked at length before the benchmark times them."""
    waits_s = peers.our_waits_s(0, 2000)
    assert (waits_s >= 0).all()
    assert len(waits_s) == len(peers.simpy_waits_s(0, 2000)) == 2000
    busy = peers.our_queue(0, 2000).spent["seconds"][:, BUSY].sum() / 2000
    assert busy == pytest.approx(peers.SERVICE_S, rel=0.1)
    assert peers.expected_wait_s() == pytest.approx(0.4531, abs=1e-4)


def test_turns_last_about_as_long_as_each_other() -> None:
    now_s = [0.0]

    def lasting(seconds: float) -> Work:
        return Work(lambda: now_s.append(now_s[-1] + seconds), 5.0)

    def timer() -> float:
        return now_s[-1]

    works = {
        "long": lasting(1.5 * TURN_S),
        "short": lasting(TURN_S / 8),
        "full": lasting(TURN_S),
        "brief": lasting(0.01)._replace(once=True),
    }
    turns = turns_of(works, timer)
    assert {label: turn.units for label, turn in turns.items()} == {
        "long": 5.0,
        "short": 40.0,
        "full": 5.0,
        "brief": 5.0,
    }
    before_s = timer()
    turns["short"].run()
    assert timer() - before_s == pytest.approx(TURN_S)
    alone = {"short": works["short"]}
    assert turns_of(alone, timer) == alone


def _outcome() -> Outcome:
    ratios = {"a / b": LESS, "c / d": MORE}
    benchmark = Benchmark(
        "test_a",
        "request",
        {"a": 2e-7},
        ratios,
        {"help": {"value": 0.2, "unit": "s", "limit": 0.3, "more_is_better": False}},
        ["checked"],
        0.02,
    )
    return Outcome({"cpu": "a processor", "cores": "2", "python": "3.11"}, [benchmark])
