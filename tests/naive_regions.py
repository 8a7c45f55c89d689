"""Origins, regions that requests are bound to, and links for the reference engine (docs/model.md, section 10)."""

from __future__ import annotations

import heapq
import math
from typing import Any

from naive import Engine
from naive_policies import may_hold
from naive_state import Gpu, Job, Queue
from naive_world import JOULES_PER_KWH, Region


class RegionsEngine(Engine):
    """The engine over several regions."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.on_the_way: list[tuple[float, int, Queue, Job]] = []

    def next_instant(self) -> float:
        return min([super().next_instant(), *(due_s for due_s, *_ in self.on_the_way)])

    # ------------------------------------------------ who may serve whom, and how far away that is

    def may_serve(self, region: Region, job: Job) -> bool:
        sets = (self.setup.tiers[job.request.tier].regions, job.request.origin.regions)
        return all(allowed is None or region.name in allowed for allowed in sets)

    def rtt_s(self, region: Region, job: Job) -> float:
        return job.request.origin.rtt_s.get(region.name, 0.0)

    def delay_s(self, gpu: Gpu, job: Job) -> float:
        return super().delay_s(gpu, job) + self.rtt_s(gpu.region, job)

    def away_s(self, queue: Queue, job: Job) -> float:
        times_s = [self.rtt_s(gpu.region, job) for gpu in queue.gpus if self.may_serve(gpu.region, job)]
        return min(times_s) if times_s else self.rtt_s(queue.gpus[0].region, job)

    # ------------------------------------------------ arrival

    def arrive(self, job: Job) -> None:
        queue = self.kept_within(self.queues[self.policy.route(self, job)], job)
        if not self.sets_out(queue, job):
            self.join(queue, job)

    def kept_within(self, queue: Queue, job: Job) -> Queue:
        """The policy's choice, or else the least used of the queues that may serve the request, rather one of the
        same role.
        """
        if may_hold(self, queue, job):
            return queue
        others = [other for other in self.queues if may_hold(self, other, job)]
        return min(
            others,
            key=lambda other: (
                other.role != queue.role,
                (other.residents + len(other.waiting)) / other.slots,
                other.index,
            ),
        )

    def sets_out(self, queue: Queue, job: Job) -> bool:
        home, region = job.request.origin.home, queue.gpus[0].region
        if home is None or home == region.name or not self.setup.move_s:
            return False
        way, tokens = (home, region.name), job.request.input_tokens
        energy_j = self.setup.move_j[way] * tokens
        ends = [self.at_home(home), region]
        self.outcome.moved.append(
            (energy_j, sum(energy_j / 2 * end.carbon.at(self.now) for end in ends) / JOULES_PER_KWH)
        )
        takes_s = self.setup.move_s[way] * tokens
        if takes_s:
            heapq.heappush(self.on_the_way, (self.now + takes_s, job.index, queue, job))
        return takes_s > 0

    def at_home(self, home: str) -> Region:
        return next(region for region in self.regions if region.name == home)

    def take_in(self) -> None:
        while self.on_the_way and self.on_the_way[0][0] == self.now:
            _, _, queue, job = heapq.heappop(self.on_the_way)
            self.join(queue, job)


def marginal_g(engine: Engine) -> float:
    """Carbon of all energy by marginal intensity, whose samples are at the times of the other, PUE included, links
    left out.
    """
    end_s = max(engine.outcome.end_s, engine.setup.horizon_s)
    pieces = ((gpu.region, *piece) for gpu in engine.gpus for piece in engine.power_pieces(gpu, end_s))
    return (
        math.fsum(
            region.pue * watts * (t1 - t0) * region.marginal.at(t0)
            for region, t0, t1, watts in pieces
            if region.marginal
        )
        / JOULES_PER_KWH
    )
