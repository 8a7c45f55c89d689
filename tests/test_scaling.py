"""Fleets that grow and shrink: the kernel beside the reference engine, and the laws of scaling (docs/model.md,
section 9).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import scaled
from test_kernel_vs_naive import assert_same

POLICIES = ("edf", "caps")  # central queue and pools; more policies, more kernels to compile


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=25)
@given(data=st.data())
def test_scaled_fleets_are_the_same_as_token_by_token(policy: str, data: st.DataObject) -> None:
    assert_same(data.draw(scaled(policy)))


@settings(max_examples=10)
@given(data=st.data())
def test_scaled_engines_are_the_same_as_token_by_token(data: st.DataObject) -> None:
    """With memory that grows, residents that lose theirs while their replica drains, and iterations of all kinds."""
    assert_same(data.draw(scaled("caps", with_terms=True)))


SCALERS = ("edf-autoscale", "edf-lcp", "edf-power-down", "edf-power-limit", "caps-autoscale")


@pytest.mark.parametrize(("policy", "scaling"), [name.split("-", 1) for name in SCALERS])
@settings(max_examples=25)
@given(data=st.data())
def test_scalers_decide_the_same(policy: str, scaling: str, data: st.DataObject) -> None:
    assert_same(data.draw(scaled(policy, scaling)))
