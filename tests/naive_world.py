"""What goes into the reference engine and what comes out of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

JOULES_PER_KWH = 3.6e6
T = TypeVar("T")


def in_force(samples: Sequence[tuple[float, T]], t: float, default: T) -> T:
    """The last sample at or before t; the first one if all are later."""
    found = [value for from_s, value in samples if from_s <= t]
    return found[-1] if found else samples[0][1] if samples else default


# ---------------------------------------------------------------- what goes in


@dataclass(frozen=True)
class Hardware:
    prefill_s_per_token: float
    decode_base_s: float
    decode_s_per_seq: float
    decode_s_per_context_token: float
    idle_w: float
    peak_w: float
    power_exponent: float
    gpus_per_replica: int
    max_batch: int
    chunk_tokens: int = 0  # 0: unchunked
    kv_capacity_tokens: float = math.inf
    kv: str = "reserve"
    kv_block_tokens: int = 16
    overhead_s: float = 0.0
    overlap_exponent: float = 1.0
    mixed_s_per_context_token: float = 0.0
    prefill_s_per_token_pair: float = 0.0
    first_token_overhead_s: float = 0.0
    lag_iterations: int = 0
    prefill_w: float | None = None
    sleep_w: float = math.nan  # nan: cannot sleep
    wake_s: float = 0.0
    start_s: float = 0.0
    start_w: float = math.nan  # nan: idle_w
    stop_s: float = 0.0
    off_w: float = math.nan  # nan: cannot be switched off
    replicas_per_node: int = 1
    host_w: float = 0.0
    clocks: tuple[float, ...] = (1.0,)
    clock_decode_time: float = 0.25
    clock_prefill_time: float = 1.0
    clock_decode_power: float = 0.55
    clock_prefill_power: float = 0.7
    clock_change_s: float = 0.05
    clock: float = 1.0  # that the times and powers below are for

    # ------------------------------------------------ clocks (section 11)

    def level(self, wanted: float) -> float:
        """The lowest clock that is not below the one wanted, or the highest."""
        return next((clock for clock in self.clocks if clock >= wanted), self.clocks[-1])

    def at(self, clock: float) -> Hardware:
        return replace(self, clock=clock)

    def longer(self, seconds: float, share: float) -> float:
        """Of which a share goes with 1 / clock."""
        return (1 - share) * seconds + share * seconds / self.clock

    @property
    def prompt_s(self) -> float:
        """Of a prompt token, at the clock."""
        return self.longer(self.prefill_s_per_token, self.clock_prefill_time)

    @property
    def seq_s(self) -> float:
        """Of a decoding sequence."""
        return self.longer(self.decode_s_per_seq, self.clock_decode_time)

    @property
    def weights_s(self) -> float:
        return self.longer(self.decode_base_s - self.overhead_s, self.clock_decode_time)

    @property
    def base_s(self) -> float:
        """Of an iteration that does nothing."""
        return self.overhead_s + self.weights_s

    # ------------------------------------------------ speed (section 2)

    def step_s(self, decoding: int, context: int, prompts: Sequence[tuple[int, int]]) -> float:
        """Length of an iteration; `prompts` are (tokens taken, tokens done before) of every prompt that takes any."""
        taken = sum(k for k, _ in prompts)
        pairs = sum(k * (done + k / 2) for k, done in prompts)
        per_context = self.decode_s_per_context_token + (self.mixed_s_per_context_token if taken else 0.0)
        context_s = self.longer(per_context * context, self.clock_decode_time)
        return (
            self.memory_and_compute_s(decoding, taken)
            + context_s
            + self.longer(self.prefill_s_per_token_pair * pairs, self.clock_prefill_time)
        )

    def memory_and_compute_s(self, decoding: int, taken: int) -> float:
        compute_s = self.seq_s * decoding + self.prompt_s * taken
        if self.overlap_exponent == 1:
            return self.base_s + compute_s
        less, more = sorted([self.weights_s, compute_s])
        p = self.overlap_exponent
        return self.overhead_s + (more * math.pow(1 + math.pow(less / more, p), 1 / p) if more else 0.0)

    # ------------------------------------------------ KV memory (section 2)

    @property
    def grows(self) -> bool:
        return self.kv == "grow"

    @property
    def capacity(self) -> float:
        """In tokens, or in blocks where memory grows by blocks."""
        return self.kv_capacity_tokens // self.kv_block_tokens if self.grows else self.kv_capacity_tokens

    def room(self, tokens: int) -> int:
        """What so many tokens take of the capacity."""
        return math.ceil(tokens / self.kv_block_tokens) if self.grows else tokens

    def first_chunk(self, prompt: int) -> int:
        return min(prompt, self.chunk_tokens) if self.chunk_tokens else prompt

    def can_hold(self, request: Request) -> bool:
        """Does it fit, whole, into the empty replica?"""
        return self.room(request.tokens) <= self.capacity

    # ------------------------------------------------ power (section 3)

    def power(self, u: float) -> float:
        """Eq. 2, of one device."""
        return self.idle_w + (self.peak_w - self.idle_w) * math.pow(u, self.power_exponent)

    def watts(self, u: float) -> float:
        """Of a replica that decodes, its share of the host included."""
        return self.standby_watts(self.throttled(self.power(u), self.clock_decode_power))

    def throttled(self, gpu_w: float, d: float) -> float:
        """Of one device that draws so much at the highest clock (section 11)."""
        return max(self.idle_w, gpu_w * (1 - d * (1 - self.clock**3)))

    def standby_watts(self, gpu_w: float) -> float:
        """Of a replica whose GPUs draw so much."""
        return gpu_w * self.gpus_per_replica + self.host_w / self.replicas_per_node

    def replica_watts(self, members: int, taken: int = 0) -> float:
        """Of a replica with so many members, in an iteration that takes so many prompt tokens."""
        if not members:
            return self.standby_watts(self.idle_w)
        by_members = self.power(members / self.max_batch)
        decoding_w = self.throttled(by_members, self.clock_decode_power)
        prompts_w = self.throttled(max(by_members, self.prefill_w or 0.0), self.clock_prefill_power)
        share = self.prompt_s * taken / (self.base_s + self.prompt_s * taken)
        return self.standby_watts(decoding_w + (prompts_w - decoding_w) * share)


@dataclass(frozen=True)
class Tier:
    ttft_s: float = math.inf
    tpot_s: float = math.inf
    e2e_s: float = math.inf
    ttft_after_release_s: float = math.inf
    roles: frozenset[str] = frozenset({"LP", "CP", "BP"})
    regions: frozenset[str] | None = None  # that may serve it; None: all


@dataclass(frozen=True)
class Origin:
    """Where requests come from (section 10)."""

    rtt_s: dict[str, float] = field(default_factory=dict)  # by region; 0 to others
    home: str | None = None  # region where their context lies
    regions: frozenset[str] | None = None


@dataclass(frozen=True)
class Request:
    arrival_s: float
    tier: int
    category: int
    tenant: int
    input_tokens: int
    output_tokens: int
    predicted_output_tokens: float
    origin: Origin = Origin()

    @property
    def tokens(self) -> int:
        """What it reserves of the KV cache."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True)
class Carbon:
    """Piecewise constant intensity: each sample from its time to the next one's, the last for ever."""

    times_s: list[float]
    g_per_kwh: list[float]

    def at(self, t: float) -> float:
        return self.g_per_kwh[max(bisect_right(self.times_s, t) - 1, 0)]

    def integral(self, t0: float, t1: float) -> float:
        """Of the intensity over [t0, t1], in s g/kWh."""
        total, i = 0.0, max(bisect_right(self.times_s, t0) - 1, 0)
        while t0 < t1:
            end = min(self.times_s[i + 1], t1) if i + 1 < len(self.times_s) else t1
            total += self.g_per_kwh[i] * (end - t0)
            t0, i = end, i + 1
        return total


@dataclass
class Region:
    """A grid, and what the scheduler sees of it."""

    carbon: Carbon
    name: str = ""
    seen: Carbon | None = None  # the signal that decisions are made on, where that is not `carbon`
    marginal: Carbon | None = None
    pue: float = 1.0
    limit_kw: float = math.inf
    reduction: tuple[float, float, float] | None = None  # kW, from h, to h
    thresholds: list[tuple[float, float]] = field(default_factory=list)  # (from_s, g_per_kwh)
    forecasts: list[tuple[float, float, list[float]]] = field(default_factory=list)  # (issued_s, step_s, values)
    gamma_mean: float = 1.0
    # what the controller saw at the last control step
    gamma: float = 0.0
    threshold: float = math.inf
    forecast: tuple[float, float, list[float]] = (0.0, math.inf, [])


@dataclass
class Pool:
    role: str
    replicas: int
    hardware: Hardware
    region: Region
    clock: float | None = None


@dataclass(frozen=True)
class Limits:
    """Of what may wait in a queue (section 12)."""

    waiting: float = math.inf
    waiting_tokens: float = math.inf
    ttft_s: float = math.inf


@dataclass(frozen=True)
class Fairness:
    """Whose requests take turns, and what a token counts (section 13)."""

    by: str  # field of a request: tenant or tier
    input_weight: float
    output_weight: float


@dataclass
class Setup:
    pools: list[Pool]
    tiers: list[Tier]
    horizon_s: float
    drain_s: float
    control_step_s: float
    mean_input: float = 1.0
    mean_output: float = 1.0
    placement: str = "residents"
    tokens_per_resident: float = 64.0
    pack_below: float = 0.75
    scale_every_s: float = 60.0
    off_after_s: float = 0.0
    limits: list[Limits] | None = None  # of what may wait, by tier
    fairness: Fairness | None = None
    level_edges: tuple[float, float] = (math.inf, math.inf)
    move_s: dict[tuple[str, str], float] = field(default_factory=dict)  # per input token, from one region to another
    move_j: dict[tuple[str, str], float] = field(default_factory=dict)


# ---------------------------------------------------------------- what comes out


@dataclass
class Record:
    """One request's outcome; nan or -1 where it has not happened."""

    admitted_s: float = math.nan  # the first admission
    released_s: float = math.nan
    first_token_s: float = math.nan
    finished_s: float = math.nan
    gpu: int = -1
    pool: int = -1
    energy_j: float = 0.0
    carbon_g: float = 0.0
    met_slo: bool = False
    rejected: bool = False
    preempted: int = 0
    level: int = 0  # carbon level at its arrival: 0 low, 1 mid, 2 high


@dataclass
class Outcome:
    records: list[Record]
    end_s: float = 0.0
    accounts: dict[tuple[int, str], list[float]] = field(default_factory=dict)  # by pool and state: seconds, J, g
    energy_j: float = 0.0  # the integral of all power, taken independently of the accounts
    carbon_g: float = 0.0
    member_seconds: float = 0.0
    unfinished: int = 0
    preemptions: int = 0
    failures: int = 0
    recomputed_tokens: int = 0  # prompt and answer tokens whose KV was lost
    moved: list[tuple[float, float]] = field(
        default_factory=list
    )  # energy, J, and carbon, g, of each context that was moved
