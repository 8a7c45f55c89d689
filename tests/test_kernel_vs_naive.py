"""The kernel leaps; the reference engine plays every iteration out. They must not differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast.arrays import STATES
from cases import POLICIES, cases, fleets, play_fast, play_slow
from slow_engine import Case


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60)
@given(data=st.data())
def test_same_as_token_by_token(policy: str, data: st.DataObject) -> None:
    case = data.draw(cases(policy))
    assert_same(case)


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60)
@given(data=st.data())
def test_fleets_are_the_same_as_token_by_token(policy: str, data: st.DataObject) -> None:
    assert_same(data.draw(fleets(policy)))


def assert_same(case: Case) -> None:
    fast, slow = play_fast(case), play_slow(case)
    rows = fast.requests
    assert rows is not None
    finished = [index for index, record in enumerate(slow.records) if np.isfinite(record.finished_s)]
    assert rows["seq"].tolist() == list(range(len(slow.records)))
    for name in ("admitted_s", "first_token_s", "finished_s", "energy_j", "carbon_g"):
        expected = np.array([getattr(record, name) for record in slow.records])
        np.testing.assert_allclose(rows[name], expected, rtol=1e-9, atol=1e-9, err_msg=name)
    rows = rows[np.isfinite(rows["finished_s"])]
    assert rows["seq"].tolist() == finished
    np.testing.assert_allclose(
        rows["released_s"], [slow.records[index].released_s for index in finished], rtol=1e-9, atol=1e-9
    )
    for name in ("gpu", "pool"):
        assert rows[name].tolist() == [getattr(slow.records[index], name) for index in finished], name
    assert rows["met"].astype(bool).tolist() == [slow.records[index].met_slo for index in finished]
    assert fast.unfinished == slow.unfinished
    assert fast.preemptions == slow.preemptions
    assert fast.end_s == pytest.approx(slow.end_s, rel=1e-9)
    for p, row in enumerate(fast.spent):
        for state, account in zip(STATES, row, strict=True):
            expected = slow.accounts.get((p, state), [0.0, 0.0, 0.0])
            np.testing.assert_allclose(
                account.tolist()[:3], expected, rtol=1e-9, atol=1e-6, err_msg=f"pool {p}, {state}"
            )
    assert fast.spent["energy_j"].sum() == pytest.approx(slow.energy_j, rel=1e-9)
    assert fast.spent["carbon_g"].sum() == pytest.approx(slow.carbon_g, rel=1e-9)
    assert fast.pools["member_s"].sum() == pytest.approx(slow.member_seconds, rel=1e-9)
