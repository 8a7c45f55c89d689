"""What a report says in words: who wins, by how much, whether it is significant."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from caps_fast.report import reading, summary
from caps_fast.report.phrases import Difference
from page_runs import series_of

NAN = float("nan")


def runs_of(costs: dict[str, tuple[float, ...]], slos: dict[str, tuple[float, ...]]) -> pl.DataFrame:
    """Runs by policy and seed."""
    rows = [
        {
            "policy": policy,
            "rate_rps": 4.0,
            "seed": seed,
            "split": "8/8",
            "days": 2.0,
            "preset": "paper",
            "requests": 10,
        }
        | {
            "slo_attainment": slos[policy][seed],
            "bill_kg": cost,
            "carbon_g_per_1k_tokens": cost / 100,
            "ttft_after_release_p95_s": 1.0 + seed,
        }
        for policy, values in costs.items()
        for seed, cost in enumerate(values)
    ]
    return pl.DataFrame(rows)


def test_who_wins_by_how_much_and_whether_it_is_significant() -> None:
    costs = {
        "round-robin": (100.0, 110.0, 120.0),
        "caps": (50.0, 56.0, 59.0),
        "edf": (101.0, 109.0, 122.0),
        "carbon-aware": (20.0, 22.0, 24.0),
    }
    slos = {
        "round-robin": (0.9, 0.91, 0.92),
        "caps": (0.899, 0.911, 0.92),
        "edf": (0.9, 0.91, 0.92),
        "carbon-aware": (0.5, 0.5, 0.5),
    }
    found = summary.compared(runs_of(costs, slos))
    assert found is not None
    assert found.baseline == "round-robin"
    assert found.eligible == ["caps", "round-robin", "edf"]
    own = found.differences["caps"]["bill_kg"]
    gaps = np.array([-50.0, -54.0, -61.0])
    half = 4.302653 * gaps.std(ddof=1) / np.sqrt(3)  # Student's t of two degrees
    assert (own.mean, own.low, own.high) == pytest.approx(
        (gaps.mean(), gaps.mean() - half, gaps.mean() + half), rel=1e-6
    )
    assert own.verdict == "better"
    assert found.differences["edf"]["bill_kg"].verdict == "not significant"
    assert found.differences["edf"]["slo_attainment"].verdict == "equal"
    assert found.differences["carbon-aware"]["slo_attainment"].verdict == "worse"
    first, second, third, fourth = summary.verdicts(found)
    assert first.startswith(
        "CAPS has the lowest carbon bill of the policies that keep SLO attainment within 0.5 points of Round "
        "Robin's: 55 kg, "
    )
    assert "50.0 % less than Round Robin's (95 % interval " in first
    assert first.endswith("3 paired seeds: significant).")
    assert (
        second
        == f"Its SLO attainment is 91.0 %, {found.differences['caps']['slo_attainment'].sentence('Round Robin')}."
    )
    assert third.startswith("Next comes Round Robin: its carbon bill is 100.0 % more than CAPS's (95 % interval +")
    assert "Carbon-Aware (carbon bill -80.0 %" in fourth
    table = summary.comparison_table(found, "Preset paper")
    assert [row["name"] for row in table["rows"]] == ["Carbon-Aware", "CAPS", "Round Robin (baseline)", "EDF"]
    figure = summary.difference_figure(found)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["Carbon-Aware", "CAPS", "EDF"]
    assert figure.axes[1].containers[1].lines[0].get_xdata()[0] == pytest.approx(-50.0)
    assert summary.difference_sentence(found).startswith(
        "The carbon bill is significantly lower for CAPS and Carbon-Aware than for Round Robin."
    )


def test_one_seed_is_no_evidence() -> None:
    found = summary.compared(
        runs_of({"round-robin": (100.0,), "caps": (50.0,)}, {"round-robin": (0.9,), "caps": (0.9,)})
    )
    assert found is not None
    assert found.differences["caps"]["bill_kg"].verdict == "one seed"
    assert "one seed: no interval, so it may be chance" in summary.verdicts(found)[0]
    assert "(" not in found.differences["caps"]["bill_kg"].text
    assert summary.difference_sentence(found).startswith("One seed has no intervals")


def test_the_baseline_may_win_and_one_policy_has_no_rival() -> None:
    found = summary.compared(
        runs_of({"round-robin": (100.0, 99.0), "caps": (50.0, 51.0)}, {"round-robin": (0.9, 0.9), "caps": (0.8, 0.8)})
    )
    assert found is not None
    said = summary.verdicts(found)
    assert said[0].startswith("Round Robin has the lowest carbon bill of the policies that keep")
    assert said[-1].startswith("Lower in carbon bill, but lower in SLO attainment too: CAPS")
    alone = runs_of({"caps": (50.0, 51.0)}, {"caps": (0.8, 0.9)})
    assert summary.compared(alone) is None
    assert summary.single(alone) == ["CAPS keeps the SLO of 85.0 % of requests, with 50.5 kg of carbon bill."]


@pytest.mark.parametrize(
    ("mean", "low", "high", "larger", "verdict", "text"),
    [
        (-5.0, -6.0, -4.0, False, "better", "-5.0 % (-6.0 to -4.0)"),
        (-5.0, -6.0, -4.0, True, "worse", "-5.0 % (-6.0 to -4.0)"),
        (-5.0, -11.0, 1.0, False, "not significant", "-5.0 % (-11.0 to +1.0)"),
        (5.0, NAN, NAN, False, "one seed", "+5.0 %"),
    ],
)
def test_differences_in_words(mean: float, low: float, high: float, larger: bool, verdict: str, text: str) -> None:
    own = Difference(mean, low, high, 3, larger, 1.0, "%")
    assert (own.verdict, own.text) == (verdict, text)
    assert ("less" if mean < 0 else "more") in own.sentence("EDF")


def test_sentences_on_sweeps() -> None:
    """Two rates: CAPS is cleaner at one of them."""
    runs = pl.DataFrame(
        {
            "policy": ["edf", "caps", "edf", "caps"],
            "rate_rps": [2.0, 2.0, 8.0, 8.0],
            "slo_attainment": [0.9, 0.95, 0.8, 0.7],
            "carbon_g_per_1k_tokens": [1.0, 0.5, 1.0, 1.5],
        }
    )
    said = reading.of_rates(runs)
    assert "has the lowest attributed carbon per token at 1 of 2 rates" in said
    assert "at the highest, 8 requests per second, SLO attainment goes from 70.0% (CAPS) to 80.0% (EDF)." in said
    assert "no other policy beats CAPS in both" in reading.of_plane(runs.filter(pl.col("rate_rps") == 2))
    told = reading.of_timeline(series_of())
    assert told == "Mean power is 2 kW. At most 7 requests wait; gates are closed for LP 25.0 % of the time."
    counts = pl.DataFrame(
        {"latency": "ttft", "tier": "gold", "from_s": [0.0, 1.0, 2.0], "to_s": [1.0, 2.0, 4.0], "requests": [90, 6, 4]}
    )
    assert reading.of_latencies(counts) == "One request in twenty waits longer for its first token than: Gold 2 s."
