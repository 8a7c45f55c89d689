"""Exploration: the loads and outcomes from which the risk of missing an SLO is learned."""

from __future__ import annotations

import numpy as np
import pytest

from caps_fast import arrays, records
from caps_fast.arrays import BP, CP, LP
from caps_fast.errors import InputError
from caps_fast.policies.risk import CLOSED, OPEN
from caps_fast.predictor import train
from caps_fast.predictor.explore import RISK_FEATURES, explore, missed
from caps_fast.predictor.risk import GATE, RESIDENTS
from test_predictor_runs import SMALL


@pytest.fixture(scope="module")
def lessons() -> train.Lessons:
    return train.lessons_of(SMALL)


def test_exploration_sees_loads_from_idle_to_overload(lessons: train.Lessons) -> None:
    requests = lessons.requests
    found = explore(SMALL, requests, lessons.means, tiered=True)
    rows = dict(zip(RISK_FEATURES, found.rows.T, strict=True))
    assert len(found.rows) == len(requests)
    assert np.bincount(rows["tier"].astype(int), minlength=3)[:3].tolist() == pytest.approx(
        np.bincount(requests["tier"]).tolist(), rel=0.1
    )
    assert set(rows["input_tokens"]) <= set(requests["input_tokens"])
    assert set(rows["predicted_tokens"]) <= set(requests["predicted_tokens"])
    assert (rows["ahead_tokens"] >= rows["input_tokens"]).all()
    assert rows["residents"].min() < 0.05
    assert rows["residents"].max() == 1
    assert rows["waiting"].max() > 1
    assert set(np.unique(rows["role"])) == {LP, CP, BP}
    assert not (rows["role"] == BP)[rows["tier"] != arrays.BRONZE].any(), "only Bronze may enter BP"
    assert not (rows["gate"][rows["role"] == LP] > 0).any(), "LP is always open"
    assert (rows["gate"] == CLOSED).any()
    calm = (rows["gate"] == 0) & (rows["ahead_tokens"] < 500) & (rows["residents"] < 0.3)
    assert found.missed[calm].mean() < 0.05 < found.missed[(rows["gate"] == 0) & (rows["ahead_tokens"] > 20_000)].mean()


def test_exploration_reaches_the_loads_it_is_to(lessons: train.Lessons) -> None:
    """Several worlds' days follow one another; the load of what came of them must still be as drawn."""
    found = explore(SMALL, lessons.requests, lessons.means, tiered=True)
    calm = found.rows[:, GATE] == OPEN
    assert 0.1 < found.rows[calm, RESIDENTS].mean() < 0.6
    assert (found.rows[calm, RESIDENTS] > 0.5).mean() > 0.1
    busy, idle = calm & (found.rows[:, RESIDENTS] > 0.9), calm & (found.rows[:, RESIDENTS] < 0.2)
    assert found.missed[busy].mean() > 3 * found.missed[idle].mean()


def test_exploration_is_repeatable_and_other_rules_give_other_outcomes(lessons: train.Lessons) -> None:
    first, again, flat = (explore(SMALL, lessons.requests, lessons.means, tiered) for tiered in (True, True, False))
    assert (first.rows == again.rows).all()
    assert (first.missed == again.missed).all()
    assert (flat.rows[:, 0] == 3).all()
    assert (flat.rows[:, 1] == BP).mean() > 0.2, "without tiers all may enter all pools"


def test_exploration_leaves_out_what_can_never_fit(lessons: train.Lessons) -> None:
    config = SMALL.replace({"cluster.kv_capacity_tokens": 3000})
    found = explore(config, lessons.requests, lessons.means, tiered=True)
    fitting = lessons.requests["input_tokens"] + lessons.requests["output_tokens"] <= 3000
    assert len(found.rows) == len(found.missed) == fitting.sum() < len(lessons.requests)


def test_a_capacity_that_leaves_too_little_to_learn_from(lessons: train.Lessons) -> None:
    with pytest.raises(
        InputError, match=r"kv_capacity_tokens 2: 0 of [\d,]+ requests .*; expected a capacity of at least (\d+)"
    ) as told:
        explore(SMALL.replace({"cluster.kv_capacity_tokens": 2}), lessons.requests, lessons.means, tiered=True)
    enough = int(str(told.value).split()[-1])
    assert (
        len(
            explore(
                SMALL.replace({"cluster.kv_capacity_tokens": enough}), lessons.requests, lessons.means, tiered=True
            ).rows
        )
        >= 500
    )


def test_missed_by_hand() -> None:
    tiers = records.zeros(arrays.Tier, 4)
    for name in ("ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s"):
        tiers[name] = np.inf
    tiers[0]["ttft_s"], tiers[1]["tpot_s"], tiers[2]["e2e_s"], tiers[3]["ttft_after_release_s"] = 1.0, 0.1, 10.0, 2.0
    done = np.zeros(8, arrays.DONE)
    done["output_tokens"] = 11
    done["arrival_s"], done["released_s"] = 0.0, 5.0
    done["first_token_s"] = [5.9, 6.1, 6.0, 6.0, 6.0, 6.0, 6.9, 7.1]
    done["finished_s"] = [99, 99, 6.9, 7.1, 14.9, 15.1, 99, 99]
    notes = np.zeros((8, len(RISK_FEATURES)))
    notes[:, 0] = [0, 0, 1, 1, 2, 2, 3, 3]
    assert missed(done, notes, tiers).tolist() == [False, True] * 4
    done["output_tokens"] = 1
    assert not missed(done, notes, tiers)[3], "one token has no time per output token"
