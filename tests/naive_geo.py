"""The policies over several regions for the reference engine, in the plainest way (docs/model.md, section 10)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from naive import Engine
from naive_policies import Caps, Plain, may_hold
from naive_state import Job, Queue
from naive_world import Region, in_force


@dataclass
class ByWorth(Plain):
    """A pool of the worthiest region that is not full, looked at again every so often."""

    look_every_s: float = 300.0
    next_s: float = 0.0
    worths: dict[str, float] = field(default_factory=dict)

    def layout(self) -> str:
        return "pools"

    def worths_now(self, engine: Engine) -> dict[str, float]:
        raise NotImplementedError

    def worth(self, engine: Engine, queue: Queue, job: Job) -> float:
        return self.worths[queue.gpus[0].region.name]

    def route(self, engine: Engine, job: Job) -> int:
        if engine.now >= self.next_s:
            self.worths, self.next_s = self.worths_now(engine), engine.now + self.look_every_s
        roles = engine.setup.tiers[job.request.tier].roles
        of_roles = [queue for queue in engine.queues if queue.role in roles]
        able = [queue for queue in of_roles if may_hold(engine, queue, job)]
        if not able:
            return of_roles[0].index
        load = {queue.index: (queue.residents + len(queue.waiting)) / queue.slots for queue in able}
        free = [queue for queue in able if load[queue.index] < 1]
        if not free:
            return min(able, key=lambda queue: (load[queue.index], queue.index)).index
        return min(free, key=lambda queue: (-self.worth(engine, queue, job), load[queue.index], queue.index)).index


@dataclass
class GreenCourier(ByWorth):
    points_per_ms: float = 0.0

    def worths_now(self, engine: Engine) -> dict[str, float]:
        seen = {region.name: region.gamma for region in engine.regions}
        least, most = min(seen.values()), max(seen.values())
        return {
            name: 100.0 - (math.floor((gamma - least) / (most - least) * 100 + 0.5) if most > least else 0)
            for name, gamma in seen.items()
        }

    def worth(self, engine: Engine, queue: Queue, job: Job) -> float:
        return super().worth(engine, queue, job) - self.points_per_ms * 1000.0 * engine.away_s(queue, job)


@dataclass
class FollowTheSun(ByWorth):
    longitudes: dict[str, float] = field(
        default_factory=dict
    )  # of regions on the equator, at the equinox, from midnight on

    def worths_now(self, engine: Engine) -> dict[str, float]:
        return {
            name: -math.cos(2 * math.pi * (engine.now / 86400 + east / 360)) for name, east in self.longitudes.items()
        }


@dataclass
class CapsGeo(Caps):
    def route(self, engine: Engine, job: Job) -> int:
        roles = self.tier(engine, job.request.tier).roles
        scores = [
            (self.score(engine, queue, job), -queue.index)
            for queue in engine.queues
            if queue.role in roles and may_hold(engine, queue, job)
        ]
        return -max(scores)[1] if scores else next(queue.index for queue in engine.queues if queue.role in roles)

    def score(self, engine: Engine, queue: Queue, job: Job) -> float:
        hw, setup, region = queue.gpus[0].hardware, engine.setup, queue.gpus[0].region
        m = job.request.predicted_output_tokens
        batch = self.batch(engine, queue)
        step = hw.decode_base_s + hw.decode_s_per_seq * batch
        hold, after = self.waits(engine, queue, job, step)
        way_s = engine.away_s(queue, job) + self.moving(engine, region, job, setup.move_s)
        limits = self.tier(engine, job.request.tier)
        if hold + way_s >= min(limits.ttft_s, limits.e2e_s) or way_s >= limits.ttft_after_release_s:
            risk = 1.0
        else:
            risk = 1.0
            against = [
                (after + way_s, limits.ttft_s - hold),
                (after + way_s, limits.ttft_after_release_s),
                (step, limits.tpot_s),
                (after + way_s + (m - 1) * step, limits.e2e_s - hold),
            ]
            for value, limit in against:
                if math.isfinite(limit):
                    risk *= 1 / (1 + min(value / limit, 1e6) ** self.risk_sharpness)
            risk = 1 - risk
        tau = hw.prefill_s_per_token * job.request.input_tokens + step * m
        norm = min(
            pool.region.gamma_mean * pool.hardware.watts(1 / pool.hardware.max_batch) * engine.alone_s(pool.hardware)
            for pool in setup.pools
        )
        carbon = (
            self.start_gamma(queue, region, engine.now, hold)
            * self.relative_pue(engine, region)
            * hw.watts(batch / hw.max_batch)
            / batch
            * tau
        )
        moved_j = self.moving(engine, region, job, setup.move_j)
        if moved_j:
            home = next(one for one in engine.regions if one.name == job.request.origin.home)
            carbon += (home.gamma + region.gamma) / 2 * moved_j
        return self.alpha * m * (1 - risk) / setup.mean_output - self.beta * carbon / norm - self.lambda_ * risk

    def moving(self, engine: Engine, region: Region, job: Job, per_token: dict[tuple[str, str], float]) -> float:
        home = job.request.origin.home
        return (
            0.0
            if home is None or home == region.name or not per_token
            else per_token[home, region.name] * job.request.input_tokens
        )

    def start_gamma(self, queue: Queue, region: Region, now: float, hold: float) -> float:
        if queue.role == "BP":
            return queue.start_gamma
        if hold == 0:
            return region.gamma
        issued_s, step_s, values = region.forecast
        return in_force([(issued_s + i * step_s, value) for i, value in enumerate(values)], now + hold, values[0])

    def relative_pue(self, engine: Engine, region: Region) -> float:
        return region.pue / min(one.pue for one in engine.regions)


@dataclass
class Gaia(Plain):
    wait_h: float = 24.0
    carbon_time: int = 1
    reserved_share: float = 0.0

    def layout(self) -> str:
        return "pools"

    def timed(self) -> bool:
        return True

    def route(self, engine: Engine, job: Job) -> int:
        roles = engine.setup.tiers[job.request.tier].roles
        of_roles = [queue for queue in engine.queues if queue.role in roles]
        able = [queue for queue in of_roles if may_hold(engine, queue, job)]
        return (
            min(able, key=lambda queue: ((queue.residents + len(queue.waiting)) / queue.slots, queue.index)).index
            if able
            else of_roles[0].index
        )

    def order(self, engine: Engine, queue: Queue, job: Job) -> tuple[float, ...]:
        tier, hw, region = engine.setup.tiers[job.request.tier], queue.gpus[0].hardware, queue.gpus[0].region
        step_s = hw.decode_base_s + hw.decode_s_per_seq * hw.max_batch
        length_s = hw.prefill_s_per_token * engine.setup.mean_input + step_s * engine.setup.mean_output
        wait_s = min(
            self.wait_h * 3600, job.request.arrival_s + tier.e2e_s - engine.now - length_s - engine.away_s(queue, job)
        )
        if (
            math.isfinite(tier.ttft_s)
            or wait_s < 3600
            or (queue.residents + len(queue.waiting)) / queue.slots < self.reserved_share
        ):
            return (engine.now,)
        means = [mean_forecast(region, engine.now + 3600 * i, length_s) for i in range(int(wait_s // 3600) + 1)]
        best, most = 0, 0.0
        for i, mean in enumerate(means):
            worth = (means[0] - mean) / (3600 * i + length_s if self.carbon_time else 1)
            if means[0] - mean > 1e-9 * means[0] and worth > most * (1 + 1e-9):
                best, most = i, worth
        return (engine.now + 3600 * best,)


def mean_forecast(region: Region, from_s: float, length_s: float) -> float:
    """Of the forecast in force, whose first and last slots hold on."""
    issued_s, step_s, values = region.forecast
    ends = [issued_s + step_s * i for i in range(1, len(values))]
    cuts = [from_s, *(end_s for end_s in ends if from_s < end_s < from_s + length_s), from_s + length_s]
    total = 0.0
    for a, b in pairwise(cuts):
        total += in_force([(issued_s + i * step_s, value) for i, value in enumerate(values)], a, values[0]) * (b - a)
    return total / length_s
