"""The arrays of a scaled fleet (docs/model.md, section 9). No logic."""

from __future__ import annotations

from caps_fast.records import Record, f8, i1, i4, i8


class Standing(Record):
    """The state of a replica for scaling."""

    draining: i1
    rested: i1  # has drained and been without residents for `off_after_s`
    ready_s: f8  # stalled until then, because its clock has changed
    fails_s: f8  # time of its next failure, if it stays on; inf while it is not on, or if it never fails
    left_s: f8  # remaining time on until then, while it is not on
    life: i8  # row of `lives` that it is in


class Life(Record):
    """A replica's time on from one failure to the next, and the time of the repair."""

    up_s: f8
    repair_s: f8


class Strength(Record):
    """A pool's replicas first_gpu .. end_gpu - 1, how many of them neither drain nor have failed, and how often
    they changed their state.
    """

    first_gpu: i4
    end_gpu: i4
    serving: i4
    starts: i8  # of a replica from off
    wakes: i8
    kind: i4  # row of its kind at the clock that its replicas are to have
    keeps_clock: i1  # the scenario says which
    clock_changes: i8  # of a replica
    clock_s: f8  # clock multiplied by busy replica-seconds
    failures: i8


class Change(Record):
    """Power of replicas of a kind at one of its clocks by state, including the share of the host, and times of state
    changes.
    """

    standby_w: f8  # idle, waking or stopping
    rise_w: f8  # from there to the peak, Eq. 2
    power_exponent: f8
    asleep_w: f8
    off_w: f8  # without the host
    failed_w: f8
    starting_w: f8
    host_w: f8  # the share of the host
    busy_share: f8  # power of busy GPUs at this clock over that at the full clock
    wake_s: f8
    start_s: f8
    stop_s: f8
    replicas_per_node: i4
    can_sleep: i1
    can_stop: i1
    can_fail: i1
    clock: f8  # over the highest
    clock_change_s: f8
    first_clock: i4  # rows of the kind at all its clocks, and the end
    end_clock: i4


class Scaling(Record):
    """Times of scale decisions, and the rule for switching off."""

    every_s: f8
    off_after_s: f8  # after draining
    decisions: i8  # so far
    clock_decisions: i8
    failure_s: f8  # time of the next failure; inf if there is none
    fails_next: i8  # which
