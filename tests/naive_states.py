"""States of a replica and scaling for the reference engine (docs/model.md, section 9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from naive import Engine, Policy
from naive_state import Gpu
from naive_world import Outcome, Request, Setup

COUNT_ALWAYS = {"waking", "starting", "stopping"}
COMES_UP = ["on", "waking", "starting", "asleep", "off"]  # whom a growing pool takes first
GOES_DOWN = ["starting", "waking", "on"]  # and a shrinking one


@dataclass
class Standing:
    """What a replica does beside serving."""

    state: str = "on"
    since_s: float = 0.0
    due_s: float = math.inf  # when its change of state, or its wait for being switched off, ends
    resting: bool = False  # drained and empty
    rested: bool = False  # for `off_after_s`


class Scaler(Protocol):
    """A scale rule; one that has a method `clock(engine, pool)` is a clock rule too."""

    def scale(self, engine: ScalingEngine, pool: int) -> int: ...


class ScalingEngine(Engine):
    """The engine with a scale rule. Every sum is made anew where it is needed, as there."""

    def __init__(self, setup: Setup, requests: Sequence[Request], policy: Policy, scaler: Scaler) -> None:
        super().__init__(setup, requests, policy)
        self.scaler, self.scalings = scaler, 0
        self.standing = [Standing() for _ in self.gpus]

    def of_pool(self, pool: int) -> list[Gpu]:
        return [gpu for gpu in self.gpus if gpu.pool == pool]

    def node(self, gpu: Gpu) -> list[Gpu]:
        of_pool, size = self.of_pool(gpu.pool), gpu.hardware.replicas_per_node
        number = of_pool.index(gpu) // size
        return of_pool[number * size : (number + 1) * size]

    # ------------------------------------------------ the clock

    def goes_on(self, t: float) -> bool:
        return t <= self.setup.horizon_s or super().goes_on(t)

    def next_instant(self) -> float:
        return min(super().next_instant(), *(standing.due_s for standing in self.standing))

    # ------------------------------------------------ scale

    def refresh(self) -> None:
        super().refresh()
        if self.now >= self.scalings * self.setup.scale_every_s:
            self.scalings += 1
            for pool in range(len(self.setup.pools)):
                self.follow(pool, self.scaler.scale(self, pool))
            for pool in range(len(self.setup.pools)):
                self.set_clock(pool)

    def set_clock(self, pool: int) -> None:
        """Ask the clock rule, and follow it (section 11)."""
        rule = getattr(self.scaler, "clock", None)
        if rule and self.setup.pools[pool].clock is None:
            wanted = rule(self, pool)
            for gpu in self.of_pool(pool):
                gpu.clock = gpu.hardware.level(wanted)
                if not gpu.iteration:
                    self.follow_clock(gpu)

    def follow(self, pool: int, wanted: int) -> None:
        replicas = self.of_pool(pool)
        wanted = min(max(wanted, 0), len(replicas))
        while (working := sum(gpu.counts for gpu in replicas)) != wanted:
            if working > wanted:
                min((gpu for gpu in replicas if gpu.counts), key=self.goes_down).draining = True
            else:
                spare = [gpu for gpu in replicas if gpu.draining and self.standing[gpu.index].state in COMES_UP]
                if not spare:
                    return
                self.want(min(spare, key=self.comes_up))

    def comes_up(self, gpu: Gpu) -> tuple[int, int, int]:
        of_node = sum(other.counts for other in self.node(gpu))
        return COMES_UP.index(self.standing[gpu.index].state), -of_node, gpu.index

    def goes_down(self, gpu: Gpu) -> tuple[int, int, int, int]:
        of_node = sum(other.counts for other in self.node(gpu))
        return GOES_DOWN.index(self.standing[gpu.index].state), of_node, len(gpu.residents), -gpu.index

    def want(self, gpu: Gpu) -> None:
        gpu.draining = False
        standing, hardware = self.standing[gpu.index], gpu.hardware
        if standing.state == "asleep":
            self.enter(gpu, "waking", self.now + hardware.wake_s)
        elif standing.state == "off":
            for other in self.node(gpu):
                self.enter(other, "starting", self.now + hardware.start_s)
        elif standing.state == "on":
            standing.resting, standing.rested, standing.due_s = False, False, math.inf

    # ------------------------------------------------ changes of state

    def end_changes(self) -> None:
        for gpu in self.gpus:
            standing = self.standing[gpu.index]
            if standing.due_s == self.now:
                standing.due_s = math.inf
                if standing.state in ("waking", "starting"):
                    self.enter(gpu, "on")
                elif standing.state == "stopping":
                    self.enter(gpu, "off")
                else:
                    standing.rested = True
                    self.stop_node(self.node(gpu))

    def stop_node(self, node: list[Gpu]) -> None:
        if all(self.standing[gpu.index].rested for gpu in node):
            for gpu in node:
                self.enter(gpu, "stopping", self.now + gpu.hardware.stop_s)

    def begin_or_idle(self, gpu: Gpu) -> None:
        standing = self.standing[gpu.index]
        if standing.state != "on":
            return
        super().begin_or_idle(gpu)
        if gpu.draining and not gpu.residents and not standing.resting:
            if not math.isnan(gpu.hardware.sleep_w):
                self.enter(gpu, "asleep")
            standing = self.standing[gpu.index]
            standing.resting = True
            if not math.isnan(gpu.hardware.off_w):
                standing.due_s = self.now + self.setup.off_after_s

    def enter(self, gpu: Gpu, state: str, due_s: float = math.inf) -> None:
        self.close_state(gpu, self.now)
        self.standing[gpu.index] = Standing(state, self.now, due_s)
        gpu.on = state == "on"
        gpu.queue.blocked &= not gpu.on
        gpu.idle_since_s = self.now if gpu.on else None
        gpu.watts.append((self.now, self.standby_w(gpu), state in COUNT_ALWAYS))

    # ------------------------------------------------ energy and carbon

    def standby_w(self, gpu: Gpu) -> float:
        hardware, state = gpu.hardware, self.standing[gpu.index].state
        if state == "off":
            return hardware.off_w * hardware.gpus_per_replica
        if state == "asleep":
            return hardware.standby_watts(hardware.sleep_w)
        if state == "starting" and not math.isnan(hardware.start_w):
            return hardware.standby_watts(hardware.start_w)
        return hardware.standby_watts(hardware.idle_w)

    def close_state(self, gpu: Gpu, until_s: float) -> None:
        standing = self.standing[gpu.index]
        if standing.state == "on":
            self.charge_idle(gpu, self.now if gpu.idle_since_s is None else gpu.idle_since_s, until_s)
            return
        if standing.state not in COUNT_ALWAYS:
            until_s = min(until_s, self.setup.horizon_s)
        if standing.since_s < until_s:
            self.account(gpu, standing.state, self.standby_w(gpu), standing.since_s, until_s)

    def settle(self, limit: float) -> Outcome:
        out = super().settle(limit)
        for gpu in self.gpus:
            if self.standing[gpu.index].state != "on":
                self.close_state(gpu, max(out.end_s, self.setup.horizon_s))
        return out


def play_scaled(setup: Setup, requests: Sequence[Request], policy: Policy, scaler: Scaler) -> Outcome:
    """Play one run out under a scale rule."""
    return ScalingEngine(setup, requests, policy, scaler).run()
