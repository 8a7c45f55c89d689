"""Parity of regional cases under several policies, played as Python: run with NUMBA_DISABLE_JIT=1 by
test_regions.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from caps_fast.origins import Origin
from cases import fleets, play_fast
from failing import with_failures
from grouped import with_groups
from regional_cases import assert_same_regions, regional

POLICIES = ("edf", "slo-aware", "round-robin", "caps", "caps-geo", "greencourier", "follow-the-sun", "gaia")
EXAMPLES = int(sys.argv[1]) if len(sys.argv) > 1 else 5


SETTINGS = settings(
    deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


@settings(max_examples=EXAMPLES, parent=SETTINGS)
@given(data=st.data())
def parity(data: st.DataObject) -> None:
    for policy in POLICIES:
        assert_same_regions(data.draw(regional(policy)))


@settings(max_examples=EXAMPLES, parent=SETTINGS)
@given(data=st.data())
def parity_of_fleets_that_change(data: st.DataObject) -> None:
    """Scale rules and failures beside origins and links; the policies of publications without either."""
    for policy, scaling in (("slo-aware", "autoscale"), ("caps", "power-down"), ("carbon-scaler", "none")):
        assert_same_regions(data.draw(regional(policy, scaling)))
    assert_same_regions(with_failures(data.draw, data.draw(regional("green"))))
    with TemporaryDirectory() as folder:
        assert_same_regions(with_groups(data.draw, data.draw(regional("edf")), Path(folder)))


@settings(max_examples=2 * EXAMPLES, parent=SETTINGS)
@given(data=st.data())
def one_origin_without_a_round_trip_changes_no_bit(data: st.DataObject) -> None:
    case = data.draw(fleets())
    placed = replace(case, config=case.config.model_copy(update={"origins": {"here": Origin()}}))
    before, after = play_fast(case), play_fast(placed)
    np.testing.assert_equal(after.metrics, before.metrics)
    for name in ("first_token_s", "finished_s", "carbon_g"):
        np.testing.assert_array_equal(after.requests[name], before.requests[name])  # type: ignore[index]


if __name__ == "__main__":
    parity()
    parity_of_fleets_that_change()
    one_origin_without_a_round_trip_changes_no_bit()
