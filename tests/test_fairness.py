"""Virtual token counters (docs/model.md, section 13): the kernel against the reference engine, and the paper's
bound.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast import preset, simulate
from caps_fast.arrays import Array
from caps_fast.errors import InputError
from caps_fast.simulation import Recording, Run, prepare
from cases import cases, play_fast
from plain import case, cluster, requests
from slow_engine import Case
from stopped import stopped_and_resumed
from test_checkpoint import RECORD
from test_kernel_vs_naive import assert_same

TWO_TENANTS = {"policy.fairness": "tenant"}


@settings(max_examples=25)
@given(data=st.data())
def test_same_as_token_by_token(data: st.DataObject) -> None:
    found = data.draw(cases("edf"))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    found.requests["tenant"] = rng.integers(0, data.draw(st.sampled_from([2, 5, 60])), len(found.requests))
    weights = {
        f"policy.fair_{name}_weight": data.draw(st.sampled_from([0.0, 1.0, 2.0])) for name in ("input", "output")
    }
    changes = weights | {"policy.fairness": data.draw(st.sampled_from(["tenant", "tier"]))}
    assert_same(replace(found, config=found.config.replace(changes)))


def backlogged(count: int = 400) -> Case:
    """Tenant 1's requests have ten times the prompt and four times the answer of tenant 0's; all come within a
    second.
    """
    block = requests(np.linspace(0, 1, 2 * count), np.tile([20, 200], count), np.tile([10, 40], count))
    block["tenant"] = np.tile([0, 1], count)
    steady = {"gpu.decode_base_s": 0.03, "gpu.decode_s_per_seq": 0.0, "gpu.prefill_s_per_token": 1e-9}
    return case(cluster(1, 8) | steady, block)


def differences(rows: Array) -> Array:
    """Weighted service of tenant 0 less that of tenant 1, at each admission while both wait."""
    both_until_s = min(rows["admitted_s"][rows["tenant"] == tenant].max() for tenant in (0, 1))
    found = []
    for t_s in np.unique(rows["admitted_s"][(rows["admitted_s"] > 1.0) & (rows["admitted_s"] < both_until_s)]):
        decoded = (
            (t_s - rows["first_token_s"]) / (rows["finished_s"] - rows["first_token_s"]) * (rows["output_tokens"] - 1)
        )
        tokens = np.where(rows["first_token_s"] > t_s, 0, 1 + np.clip(decoded, 0, rows["output_tokens"] - 1))
        served = rows["input_tokens"] * (rows["admitted_s"] <= t_s) + 2 * tokens
        found.append(served[rows["tenant"] == 0].sum() - served[rows["tenant"] == 1].sum())
    return np.array(found)


def test_service_of_two_that_wait_differs_by_no_more_than_the_bound() -> None:
    """Sheng et al., OSDI 2024: 2 max(w_p L, w_q M) over any interval; first come first served breaks it."""
    found = backlogged()
    bound = 2 * max(1 * 200, 2 * 8 * (200 + 40))
    fair = replace(found, config=found.config.replace(TWO_TENANTS))
    by_arrival, in_turn = play_fast(found).requests, play_fast(fair).requests
    assert by_arrival is not None
    assert in_turn is not None
    assert np.ptp(differences(by_arrival)) > 3 * bound
    assert len(differences(in_turn)) > 50
    assert np.ptp(differences(in_turn)) <= bound


def test_who_floods_the_queue_delays_itself() -> None:
    """A tenant of one request a second keeps its wait while another sends sixty."""
    rng = np.random.default_rng(7)
    flood, calm = np.sort(rng.uniform(0, 200, 12_000)), np.arange(0, 200, 1.0)
    arrival_s = np.concatenate([flood, calm])
    order = np.argsort(arrival_s)
    block = requests(arrival_s[order], 100, 50)
    block["tenant"] = np.concatenate([np.zeros(len(flood)), np.ones(len(calm))])[order]
    found = case(cluster(2, 8), block)
    waits = {}
    for name in ("none", "tenant"):
        rows = play_fast(replace(found, config=found.config.replace({"policy.fairness": name}))).requests
        assert rows is not None
        own = rows[rows["tenant"] == 1]
        waits[name] = (own["admitted_s"] - own["arrival_s"]).mean()
    assert waits["none"] > 60
    assert waits["tenant"] < 2


def test_same_bits_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In overload, with lines of many tenants in the queue; what is saved is looked through."""
    config = preset("paper").replace({"days": 0.02, "policy.name": "edf", "workload.rate_rps": 60, **TWO_TENANTS})
    whole = simulate(config, RECORD, block=20_000)
    again = stopped_and_resumed(20, config, RECORD, tmp_path / "run.npz", monkeypatch, (3000, 4000))
    assert str(whole.metrics) == str(again.metrics)
    np.testing.assert_array_equal(whole.outcome.requests, again.outcome.requests)


def test_more_tenants_than_the_scenario_says_are_refused() -> None:
    found = backlogged(3)
    found.requests["tenant"][-1] = 60
    run = Run.start(prepare(found.config.replace(TWO_TENANTS), found.means, found.monitors), Recording())
    with pytest.raises(InputError, match=r"workload.tenants 60: .*tenant number 60: expected at least 61"):
        run.feed(found.requests, 10.0)


def test_the_hash_does_not_change_without_it() -> None:
    config = preset("paper")
    assert config.replace({"policy.fairness": "none"}).hash == config.hash != config.replace(TWO_TENANTS).hash
