"""The terms of an engine (speed, lag, growing memory, power by phase), one group alone and all at once: the kernel
against the reference engine.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import engines, play_fast, play_slow
from slow_engine import ENGINE_TERMS, Case
from test_determinism import assert_same_bits
from test_kernel_vs_naive import assert_same


@pytest.mark.parametrize(
    "policy", ["edf", "caps"]
)  # one queue over several kinds, and claims; more policies, more kernels to compile
@pytest.mark.parametrize("group", ENGINE_TERMS)
@settings(max_examples=15)
@given(data=st.data())
def test_a_group_of_terms_is_the_same_as_token_by_token(group: str, policy: str, data: st.DataObject) -> None:
    assert_same_work(data.draw(engines(policy, [group])))


@pytest.mark.parametrize("policy", ["round-robin", "edf", "caps"])
@settings(max_examples=30)
@given(data=st.data())
def test_all_terms_are_the_same_as_token_by_token(policy: str, data: st.DataObject) -> None:
    assert_same_work(data.draw(engines(policy)))


@settings(max_examples=20)
@given(case=engines("caps"), block=st.integers(1, 20))
def test_blocks_of_requests_change_nothing(case: Case, block: int) -> None:
    assert_same_bits(play_fast(case), play_fast(case, block))


def assert_same_work(case: Case) -> None:
    assert_same(case)
    assert play_fast(case).metrics["recomputed_tokens"] == play_slow(case).recomputed_tokens
