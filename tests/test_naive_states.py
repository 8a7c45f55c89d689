"""States and scaling in the reference engine, against numbers worked out by hand on the hardware of
`naive_cases.py`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from naive import play
from naive_cases import HW, column, request, setup
from naive_policies import Edf
from naive_scalers import Planned, Whole
from naive_states import play_scaled
from naive_world import Outcome

# Per replica (two GPUs): 200 W idle, waking, stopping; 40 W asleep; 300 W starting; 10 W off.
SLEEPER = replace(HW, sleep_w=20.0, wake_s=3.0, start_w=150.0, start_s=20.0, stop_s=5.0, off_w=5.0)


def seconds(outcome: Outcome) -> dict[str, float]:
    return {state: row[0] for (_, state), row in outcome.accounts.items()}


def watts(outcome: Outcome, state: str) -> float:
    found, energy_j, _ = outcome.accounts[0, state]
    return energy_j / found


def test_a_whole_fleet_is_a_fixed_one() -> None:
    requests = [request(float(i), 4 + i, 3) for i in range(9)]
    fixed, scaled = (
        run(setup(SLEEPER, pools=(2,)), requests, Edf(), *rule) for run, rule in ((play, ()), (play_scaled, (Whole(),)))
    )
    assert fixed == scaled


def test_sleep_and_wake() -> None:
    # Asleep at once, woken at 10, on at 13; the request of t = 5 waits for it: prompt of 4 takes 2.
    plan = Planned([(0.0, (0,)), (10.0, (1,))])
    out = play_scaled(
        setup(SLEEPER, control_step_s=1.0, scale_every_s=1.0, off_after_s=1e9), [request(5.0, 4, 1)], Edf(), plan
    )
    assert (out.records[0].admitted_s, out.records[0].finished_s) == (13.0, 15.0)
    assert seconds(out) == {"asleep": 10.0, "waking": 3.0, "busy": 2.0, "idle": 985.0}
    assert (watts(out, "asleep"), watts(out, "waking")) == (40.0, 200.0)
    assert out.energy_j == pytest.approx(10 * 40 + 3 * 200 + 2 * 400 + 985 * 200)


def test_off_after_a_while_and_start() -> None:
    # Asleep 0 to 4, stopping to 9, off to 30, starting to 50; idle from then on.
    plan = Planned([(0.0, (0,)), (30.0, (1,))])
    out = play_scaled(setup(SLEEPER, control_step_s=1.0, scale_every_s=1.0, off_after_s=4.0), [], Edf(), plan)
    assert seconds(out) == {"asleep": 4.0, "stopping": 5.0, "off": 21.0, "starting": 20.0, "idle": 950.0}
    assert [watts(out, state) for state in ("stopping", "off", "starting")] == [200.0, 10.0, 300.0]
    assert sum(row[1] for row in out.accounts.values()) == pytest.approx(out.energy_j)


def test_a_stopping_replica_is_not_called_back() -> None:
    plan = Planned([(0.0, (0,)), (6.0, (1,))])  # stopping 4 to 9, and asked again at 10
    out = play_scaled(setup(SLEEPER, control_step_s=1.0, scale_every_s=2.0, off_after_s=4.0), [], Edf(), plan)
    assert seconds(out)["off"] == 1.0


def test_residents_finish_before_their_replica_sleeps() -> None:
    # 2 replicas; the one with fewer residents drains: request 1 is on replica 1 alone and decodes to the end of its 3
    # tokens.
    plan = Planned([(0.0, (2,)), (1.0, (1,))])
    requests = [request(0.0, 4, 3), request(0.0, 4, 5), request(0.0, 4, 9), request(2.0, 4, 1)]
    out = play_scaled(
        setup(SLEEPER, pools=(2,), control_step_s=1.0, scale_every_s=1.0, off_after_s=1e9), requests, Edf(), plan
    )
    assert column(out, "gpu") == [0, 1, 0, 0]
    assert out.records[1].finished_s == 2.0 + 4 * 1.5
    assert seconds(out)["asleep"] == 1000.0 - out.records[1].finished_s


def test_a_node_is_off_as_a_whole() -> None:
    # Two nodes of two, 80 W of host each. The last node drains first; its second replica is wanted again at 10 and the
    # whole node starts.
    node = replace(SLEEPER, replicas_per_node=2, host_w=80.0)
    plan = Planned([(0.0, (3,)), (5.0, (2,)), (20.0, (3,))])
    out = play_scaled(setup(node, pools=(4,), control_step_s=1.0, scale_every_s=1.0, off_after_s=2.0), [], Edf(), plan)
    # Replica 3 sleeps at 0, 2 at 5; both stop at 7, are off from 12 to 20 and start; at 40, 2 is idle and 3 sleeps on.
    assert seconds(out) == {
        "asleep": 7 + 2 + 960.0,
        "stopping": 10.0,
        "off": 16.0,
        "starting": 40.0,
        "idle": 5 + 2 * 1000 + 960.0,
    }
    assert [watts(out, state) for state in ("asleep", "off", "starting", "idle")] == [80.0, 10.0, 340.0, 240.0]


def test_a_node_drains_together() -> None:
    # One resident on each of four replicas; two are to go: both of one node, though all are equally full.
    node = replace(SLEEPER, replicas_per_node=2)
    plan = Planned([(0.0, (4,)), (1.0, (2,))])
    requests = [request(0.0, 4, 9)] * 4
    out = play_scaled(
        setup(node, pools=(4,), control_step_s=1.0, scale_every_s=1.0, off_after_s=0.0),
        [*requests, request(1.5, 4, 1)],
        Edf(),
        plan,
    )
    assert out.records[4].gpu == 0
    assert seconds(out)["off"] == pytest.approx(2 * (1000.0 - 14.0 - 5.0))


def test_a_kind_that_cannot_sleep_stays_idle() -> None:
    plan = Planned([(0.0, (0,)), (10.0, (1,))])
    out = play_scaled(setup(control_step_s=1.0, scale_every_s=1.0), [request(5.0, 4, 1)], Edf(), plan)
    assert (out.records[0].admitted_s, seconds(out)) == (10.0, {"busy": 2.0, "idle": 998.0})
