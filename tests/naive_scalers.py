"""Scale rules for the reference engine, in the plainest way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from jumpy import CLOCKS, jump
from naive_state import Gpu
from naive_states import ScalingEngine
from naive_world import Hardware


@dataclass
class Whole:
    """All replicas, always."""

    def scale(self, engine: ScalingEngine, pool: int) -> int:
        return engine.setup.pools[pool].replicas


@dataclass
class Planned:
    """So many replicas from each time on, pool by pool: [(from_s, (replicas, ...)), ...]."""

    plan: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)

    def scale(self, engine: ScalingEngine, pool: int) -> int:
        return [replicas[pool] for from_s, replicas in self.plan if from_s <= engine.now][-1]


@dataclass
class Jumpy:
    """`jumpy.Jumpy`."""

    jump_seed: int

    def scale(self, engine: ScalingEngine, pool: int) -> int:
        return plain_jump(self.jump_seed, engine.scalings, pool, engine.setup.pools[pool].replicas)

    def clock(self, engine: ScalingEngine, pool: int) -> float:
        return plain_jump(self.jump_seed, engine.scalings, pool + 7, CLOCKS) / CLOCKS


plain_jump = getattr(jump, "py_func", jump)


def waiting_for(engine: ScalingEngine, pool: int) -> float:
    """Requests that wait for a replica of the pool and for no gate."""
    replicas = engine.of_pool(pool)
    queue = replicas[0].queue
    return len(queue.waiting) * (len(replicas) / len(queue.gpus)) if queue.open else 0.0


def load(engine: ScalingEngine, pool: int, utilization: float) -> float:
    """Replicas that the pool's work fills at that share of their slots."""
    replicas = engine.of_pool(pool)
    return (sum(len(gpu.residents) for gpu in replicas) + waiting_for(engine, pool)) / (
        utilization * replicas[0].hardware.max_batch
    )


def most_of_window(past: list[tuple[float, int]], from_s: float) -> int:
    return max(needed for at_s, needed in past[-256:] if at_s >= from_s)


def break_even_s(hw: Hardware) -> float:
    idle_w = hw.standby_watts(hw.idle_w)
    if not math.isnan(hw.sleep_w):
        change_j, saved_w = hw.wake_s * idle_w, idle_w - hw.standby_watts(hw.sleep_w)
    elif not math.isnan(hw.off_w):
        start_w = idle_w if math.isnan(hw.start_w) else hw.standby_watts(hw.start_w)
        change_j, saved_w = hw.start_s * start_w + hw.stop_s * idle_w, idle_w - hw.off_w * hw.gpus_per_replica
    else:
        return math.inf
    return change_j / saved_w if saved_w > 0 else math.inf


@dataclass
class Autoscale:
    utilization: float
    window_s: float
    min_replicas: int
    past: dict[int, list[tuple[float, int]]] = field(default_factory=dict)

    def scale(self, engine: ScalingEngine, pool: int) -> int:
        serving = sum(gpu.counts for gpu in engine.of_pool(pool))
        needed, past = load(engine, pool, self.utilization), self.past.setdefault(pool, [])
        desired = serving if not past or abs(needed - serving) <= 0.1 * serving else math.ceil(needed)
        past.append((engine.now, max(desired, self.min_replicas)))
        return most_of_window(past, engine.now - self.window_s)


@dataclass
class Lcp:
    utilization: float
    break_evens: float
    min_replicas: int
    past: dict[int, list[tuple[float, int]]] = field(default_factory=dict)

    def scale(self, engine: ScalingEngine, pool: int) -> int:
        past = self.past.setdefault(pool, [])
        past.append((engine.now, max(math.ceil(load(engine, pool, self.utilization)), self.min_replicas)))
        wait_s = break_even_s(engine.setup.pools[pool].hardware)
        return most_of_window(past, engine.now - (self.break_evens * wait_s if self.break_evens else 0.0))


@dataclass
class PowerDown:
    break_evens: float
    min_replicas: int

    def scale(self, engine: ScalingEngine, pool: int) -> int:
        replicas = engine.of_pool(pool)
        used = sum(gpu.counts and not self.gives_up(engine, gpu) for gpu in replicas)
        return max(used + math.ceil(waiting_for(engine, pool) / replicas[0].hardware.max_batch), self.min_replicas)

    def gives_up(self, engine: ScalingEngine, gpu: Gpu) -> bool:
        wait_s = break_even_s(gpu.hardware)
        if gpu.idle_since_s is None or math.isinf(wait_s):
            return False
        return engine.now - gpu.idle_since_s >= self.break_evens * wait_s


@dataclass
class PowerLimit:
    limit_kw: float
    reduced_kw: float
    from_h: float
    to_h: float
    ahead_s: float

    def scale(self, engine: ScalingEngine, pool: int) -> int:
        pools, own = engine.setup.pools, engine.setup.pools[pool]
        limit_kw = self.limit_kw
        if 3600 * self.from_h - self.ahead_s <= engine.now < 3600 * self.to_h:
            limit_kw = min(limit_kw, self.reduced_kw)
        limit_kw = min(limit_kw, own.region.limit_kw)
        if own.region.reduction:
            reduced_kw, from_h, to_h = own.region.reduction
            if 3600 * from_h - self.ahead_s <= engine.now < 3600 * to_h:
                limit_kw = min(limit_kw, reduced_kw)
        most_w, rest_w = self.most_w(own.hardware), own.hardware.standby_watts(own.hardware.idle_w)
        if not math.isnan(own.hardware.off_w) and not math.isnan(own.hardware.start_w):
            rest_w = max(rest_w, own.hardware.standby_watts(own.hardware.start_w))
        if most_w <= rest_w:
            return own.replicas
        region_w = sum(other.replicas * self.most_w(other.hardware) for other in pools if other.region == own.region)
        spare_w, lowest_w, serving = 1000 * limit_kw * (own.replicas * most_w / region_w), rest_w, 0
        for gpu in engine.of_pool(pool):
            away = engine.standing[gpu.index].state in ("asleep", "off")
            now_w = most_w if not gpu.draining else engine.standby_w(gpu) if away else rest_w
            spare_w -= now_w
            serving += not gpu.draining
            lowest_w = min(lowest_w, now_w)
        if spare_w < 0:
            return serving - math.ceil(min(-spare_w / (most_w - rest_w), own.replicas))
        return serving + math.floor(min(spare_w / (most_w - lowest_w), own.replicas))

    def most_w(self, hardware: Hardware) -> float:
        best = hardware.at(1.0)
        return max(best.watts(1.0), best.standby_watts(best.prefill_w or 0.0))


@dataclass
class Throttle(Whole):
    slo_share: float
    tiers: dict[int, set[int]] = field(default_factory=dict)  # served, by pool

    def clock(self, engine: ScalingEngine, pool: int) -> float:
        replicas, known = engine.of_pool(pool), self.tiers.setdefault(pool, set())
        known |= {job.request.tier for gpu in replicas for job in gpu.residents}
        clocks = engine.setup.pools[pool].hardware.clocks
        if waiting_for(engine, pool) > 0:
            return clocks[-1]
        return next(clock for clock in clocks if all(self.keeps(engine, gpu, clock, known) for gpu in replicas))

    def keeps(self, engine: ScalingEngine, gpu: Gpu, clock: float, tiers: set[int]) -> bool:
        """Is every limit kept at this clock that is kept at the highest?"""
        here, best = ([*self.margins(engine, gpu, gpu.hardware.at(level), tiers)] for level in (clock, 1.0))
        return all(left >= 0 or at_best < 0 for left, at_best in zip(here, best, strict=True))

    def margins(self, engine: ScalingEngine, gpu: Gpu, hw: Hardware, tiers: set[int]) -> Iterator[float]:
        """What each limit leaves of what it allows, s."""
        prompts = sum(job.prompt_at_admission for job in gpu.residents if job.prompt_left)
        context = sum(job.context for job in gpu.members if not job.prompt_left)
        for job in gpu.residents:
            limits, record = engine.setup.tiers[job.request.tier], job.record
            step = step_of(hw, len(gpu.residents), context)
            left = max(job.request.predicted_output_tokens - job.produced, 1)
            rounds = rounds_of(hw, prompts) if job.prompt_left else 1
            end_s = engine.now + hw.prompt_s * prompts + (rounds + left - 1) * step
            yield job.request.arrival_s + self.slo_share * limits.e2e_s - end_s
            if math.isnan(record.first_token_s):
                first_s = engine.now + hw.prompt_s * prompts + rounds * step
                yield job.request.arrival_s + self.slo_share * limits.ttft_s - first_s
                yield record.released_s + self.slo_share * limits.ttft_after_release_s - first_s
                yield self.slo_share * limits.tpot_s - step
            else:
                yield self.slo_share * limits.tpot_s * max(job.produced + left - 1, 1) - (end_s - record.first_token_s)
        for tier in tiers if gpu.counts else ():
            limits, prompt = engine.setup.tiers[tier], prompts + engine.setup.mean_input
            step = step_of(hw, min(len(gpu.residents) + 1, hw.max_batch), context)
            first_s = hw.prompt_s * prompt + (rounds_of(hw, prompt) + 0.5) * step
            yield self.slo_share * limits.ttft_s - first_s
            yield self.slo_share * limits.ttft_after_release_s - first_s
            yield self.slo_share * limits.e2e_s - first_s - (engine.setup.mean_output - 1) * step
            yield self.slo_share * limits.tpot_s - step


def step_of(hw: Hardware, members: int, context: int) -> float:
    return hw.base_s + hw.seq_s * members + hw.longer(hw.decode_s_per_context_token * context, hw.clock_decode_time)


def rounds_of(hw: Hardware, prompt_tokens: float) -> float:
    return max(1.0, prompt_tokens / hw.chunk_tokens) if hw.chunk_tokens else 1.0
