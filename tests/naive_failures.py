"""Replicas that fail, for the reference engine (docs/model.md, section 15)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from naive import Policy
from naive_state import Gpu
from naive_states import Scaler, ScalingEngine
from naive_world import Request, Setup


class FailingEngine(ScalingEngine):
    """`lives` of every replica: the time that it is on until its next failure, and the time that the repair takes
    then.
    """

    def __init__(
        self,
        setup: Setup,
        requests: Sequence[Request],
        policy: Policy,
        scaler: Scaler,
        lives: Sequence[list[tuple[float, float]]],
    ) -> None:
        super().__init__(setup, requests, policy, scaler)
        self.lives = [list(own) for own in lives]
        self.fails_s = [own[0][0] for own in self.lives]  # inf while it is not on
        self.left_s = [0.0 for _ in self.lives]

    def next_instant(self) -> float:
        return min(super().next_instant(), *self.fails_s)

    def end_changes(self) -> None:
        for gpu in self.gpus:
            if self.fails_s[gpu.index] == self.now:
                self.fail(gpu)
        for gpu in self.gpus:
            standing = self.standing[gpu.index]
            if standing.state == "failed" and standing.due_s == self.now:
                gpu.failed = False
                self.enter(gpu, "starting", self.now + gpu.hardware.start_s)
        super().end_changes()

    def fail(self, gpu: Gpu) -> None:
        if gpu.iteration:
            self.charge(gpu, gpu.iteration, self.now)
            gpu.iteration, gpu.barred = None, False
            self.follow_clock(gpu)
        claims, gpu.claims = gpu.claims, []
        for claimant, _ in claims:
            heapq.heappush(gpu.queue.waiting, (self.policy.order(self, gpu.queue, claimant), claimant.index, claimant))
        for job in list(gpu.residents):
            self.outcome.recomputed_tokens += job.lose_kv()
            self.put_back(gpu, job)
        _, repair_s = self.lives[gpu.index].pop(0)
        self.enter(gpu, "failed", self.now + repair_s)
        gpu.failed, self.left_s[gpu.index] = True, self.lives[gpu.index][0][0]
        self.outcome.failures += 1

    def enter(self, gpu: Gpu, state: str, due_s: float = math.inf) -> None:
        was_on = self.standing[gpu.index].state == "on"
        super().enter(gpu, state, due_s)
        if was_on and not gpu.on:
            self.left_s[gpu.index], self.fails_s[gpu.index] = self.fails_s[gpu.index] - self.now, math.inf
        elif gpu.on and not was_on:
            self.fails_s[gpu.index] = self.now + self.left_s[gpu.index]

    def standby_w(self, gpu: Gpu) -> float:
        if self.standing[gpu.index].state == "failed":
            return gpu.hardware.standby_watts(0.0 if math.isnan(gpu.hardware.off_w) else gpu.hardware.off_w)
        return super().standby_w(gpu)
