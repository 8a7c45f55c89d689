"""Limits of what may wait (docs/model.md, section 12): the kernel against the reference engine and against Erlang's
formula.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast import Recording, preset, scenario, simulate
from caps_fast.errors import InputError
from caps_fast.sections import TIERS
from cases import cases, play_fast, play_slow
from plain import case, cluster, requests
from test_kernel_vs_naive import assert_same
from test_queueing import ONE_AT_A_TIME, assert_within_interval, poisson, tokens_of

LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "max_waiting": st.integers(0, 6),
        "max_waiting_tokens": st.integers(0, 400),
        "max_ttft_s": st.floats(0.05, 20),
    },
)
SHORT = preset("measured").replace({"days": 0.01, "policy.name": "edf", "workload.rate_rps": 60})


@settings(max_examples=25)
@given(data=st.data())
def test_same_as_token_by_token(data: st.DataObject) -> None:
    """Who is rejected, and all else; INV-1: every request finishes, is rejected or is unfinished."""
    found = data.draw(cases(data.draw(st.sampled_from(["edf", "caps"]))))
    by_tier = data.draw(st.dictionaries(st.sampled_from(TIERS), LIMITS, max_size=3))
    found = replace(found, config=found.config.replace({"admission": data.draw(LIMITS) | {"by_tier": by_tier}}))
    assert_same(found)
    fast, slow = play_fast(found), play_slow(found)
    assert fast.requests is not None
    assert (fast.requests["outcome"] == 1).tolist() == [record.rejected for record in slow.records]
    books = fast.accounts
    assert books["requests"].sum() == books["finished"].sum() + fast.rejected + fast.unfinished == len(found.requests)


def blocked(servers: int, room: int, offered: float) -> float:
    """Probability that all places of M/M/c/K are taken, `room` of them to wait."""
    weights = [1.0]
    for n in range(1, servers + room + 1):
        weights.append(weights[-1] * offered / min(n, servers))
    return weights[-1] / sum(weights)


@pytest.mark.parametrize(("room", "load"), [(0, 0.8), (0, 1.5), (3, 1.2)])
def test_m_m_c_k_rejects_as_erlang_says(room: int, load: float) -> None:
    """Erlang B without a place to wait."""
    rng, count, servers = np.random.default_rng(5), 300_000, 4
    block = requests(poisson(rng, servers * load, count), 1, tokens_of(rng.exponential(1.0, count)))
    result = play_fast(case(ONE_AT_A_TIME | cluster(servers, 1) | {"admission": {"max_waiting": room}}, block))
    assert result.requests is not None
    rejected = (result.requests["outcome"] == 1).astype(float)
    assert_within_interval(rejected, blocked(servers, room, servers * load))
    assert result.rejected == rejected.sum()


def test_those_who_come_together_come_one_after_another() -> None:
    """Two servers, room for one to wait, five at once: three stay."""
    block = requests([1.0] * 5, 1, [4, 4, 4, 4, 4])
    result = play_fast(case(ONE_AT_A_TIME | cluster(2, 1) | {"admission": {"max_waiting": 1}}, block))
    assert result.requests is not None
    assert result.requests["outcome"].tolist() == [0, 0, 0, 1, 1]


def test_limits_keep_the_wait_short() -> None:
    """In overload a limit by predicted wait bounds TTFT, up to who overtakes; without one it grows with the run."""
    without, limited = simulate(SHORT), simulate(SHORT.replace({"admission.max_ttft_s": 3.0}))
    assert without.metrics["ttft_p99_s"] > 30
    assert 1.5 < limited.metrics["ttft_p99_s"] < 6.0
    assert limited.metrics["slo_attainment"] > without.metrics["slo_attainment"]
    assert limited.metrics["rejected"] == sum(limited.metrics[f"rejected_{tier}"] for tier in TIERS) > 0


def test_a_tier_with_less_room_is_turned_away_first() -> None:
    limits = {"max_waiting": 50, "by_tier": {"bronze": {"max_waiting": 5}}}
    result = simulate(SHORT.replace({"admission": limits}), Recording(requests=True))
    metrics = result.metrics
    shares = [
        metrics[f"rejected_{tier}"] / result.outcome.books.of_tier("requests", at) for at, tier in enumerate(TIERS)
    ]
    assert shares[2] > 3 * max(shares[0], shares[1])
    table = result.outcome.request_table
    assert len(table) == metrics["requests"] == len(table.filter(pl.col("outcome") == "finished")) + metrics["rejected"]
    turned_away = table.filter(pl.col("outcome") == "rejected")
    assert len(turned_away) == metrics["rejected"]
    for name in ("pool", "gpu", "admitted_s", "first_token_s", "finished_s"):
        assert turned_away[name].null_count() == len(turned_away)
    assert not turned_away["met_slo"].any()


def test_no_limits_move_no_bit_and_no_hash() -> None:
    plain, far = simulate(SHORT), simulate(SHORT.replace({"admission.max_waiting": 10**9}))
    assert str(plain.metrics) == str(far.metrics)  # there nan is nan
    assert SHORT.replace({"admission": None}).hash == SHORT.hash != far.scenario.hash
    by_path = SHORT.replace({"admission.by_tier.bronze.max_waiting": 3}).admission
    assert by_path is not None
    assert by_path.of_tier("bronze")[0] == 3 < by_path.of_tier("gold")[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_waiting": -1}, "admission.max_waiting -1"),
        ({"max_ttft_s": 0}, "admission.max_ttft_s 0"),
        ({"by_tier": {"iron": {}}}, "admission.by_tier.iron"),
        ({"max_wating": 3}, "admission.max_wating"),
    ],
)
def test_bad_limits_are_refused_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        scenario.build(SHORT.model_dump(mode="json") | {"admission": given}, "scenario")
    assert "\n" not in str(error.value)
