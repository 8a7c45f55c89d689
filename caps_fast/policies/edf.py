"""Earliest Deadline First: by arrival plus the tier's deadline, over all GPUs (or dealt to them cyclically)."""

from __future__ import annotations

from typing import NamedTuple

from caps_fast.policy import rules


class Edf(NamedTuple):
    """Orders by deadline."""

    stride: int = 1

    layout = "central"
    gated = False
    preempts = False


@rules.route(Edf)
def queue_of(policy, t_s, r, s):
    return s.live[r]["seq"] * policy.stride % s.queues.shape[0]


@rules.order(Edf)
def by_deadline(policy, t_s, r, q, s):
    return s.live[r]["arrival_s"] + s.tiers[s.live[r]["tier"]]["deadline_s"]
