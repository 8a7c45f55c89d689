"""The section of a kind of replica: hardware, model and engine limits, in user units."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from caps_fast.clock_section import Clocks
from caps_fast.failure_section import FAILURE_FIELDS, Failures
from caps_fast.section import NonNegative, Positive, Tokens

SLOWEST_S = 100.0  # a token or an iteration
SLOWEST_CHANGE_S = 86400.0  # of a replica's state
MOST_W = 1e9  # of a GPU: above any real one, and sums stay finite


def _power_of_two(tokens: int) -> int:
    if tokens & (tokens - 1):
        raise ValueError(f"{tokens}: expected a power of two, like 16")
    return tokens


BlockTokens = Annotated[int, Field(ge=1, le=1024), AfterValidator(_power_of_two)]


def expect_a_block(kv: str, capacity_tokens: int | None, block_tokens: int) -> None:
    """Raise ValueError if KV memory grows by blocks and no block fits."""
    if kv == "grow" and (capacity_tokens or 0) < block_tokens:
        shown = "is missing" if capacity_tokens is None else str(capacity_tokens)
        raise ValueError(
            f"kv_capacity_tokens {shown}: with kv 'grow', expected at least kv_block_tokens = {block_tokens}"
        )


class Gpu(Clocks, Failures):
    """Speed and power of one serving replica. A `profile` sets the fields that are not given."""

    profile: str | None = Field(None, description="a built-in profile by name, or a profile file")
    prefill_s_per_token: Positive = Field(le=SLOWEST_S, description="a_p of Eq. 1")
    decode_base_s: Positive = Field(le=SLOWEST_S, description="d0: least seconds per iteration")
    decode_s_per_seq: NonNegative = Field(le=SLOWEST_S, description="d1: additional seconds per decoding sequence")
    decode_s_per_context_token: NonNegative = Field(
        0.0, le=0.01, description="d2: additional seconds per token of context"
    )
    overhead_s: NonNegative = Field(
        0.0, le=SLOWEST_S, description="o: part of decode_base_s that overlaps with nothing: scheduling, CPU time"
    )
    overlap_exponent: float = Field(
        1.0,
        ge=1,
        le=1e6,
        description="p: how memory and compute time combine; 1 = their sum, large = the longer of them (roofline)",
    )
    mixed_s_per_context_token: NonNegative = Field(
        0.0, le=0.01, description="d2m: seconds per token of context, in addition to d2, in iterations with a prompt"
    )
    prefill_s_per_token_pair: NonNegative = Field(
        0.0, le=0.01, description="q: seconds per pair of a prompt token and a token before it (quadratic prefill)"
    )
    first_token_overhead_s: NonNegative = Field(
        0.0, le=SLOWEST_S, description="delay of every token outside the engine, in TTFT and E2E"
    )
    lag_iterations: int = Field(
        0,
        ge=0,
        le=1,
        description="iterations by which a request admitted to a busy replica joins late; 1 = async scheduling",
    )
    idle_w: NonNegative = Field(100.0, le=MOST_W, description="P_idle of Eq. 2, one GPU")
    peak_w: Positive = Field(400.0, le=MOST_W, description="P_peak of Eq. 2, one GPU")
    power_exponent: Positive = Field(0.7, description="eta of Eq. 2")
    prefill_w: Positive | None = Field(
        None, le=MOST_W, description="power while prompts are processed at full compute, one GPU; none = as Eq. 2"
    )
    gpus_per_replica: int = Field(
        1, ge=1, le=100_000, description="tensor-parallel GPUs in a replica; multiplies power"
    )
    embodied_kg: NonNegative = Field(0.0, le=1e6, description="carbon of making one GPU; 0 = not counted")
    lifetime_years: Positive = Field(5.0, le=100, description="years over which embodied_kg is spread")
    price_per_replica_hour: NonNegative = Field(
        0.0, le=1e9, description="price of an hour of a replica that is not off, without energy; any currency"
    )
    sleep_w: NonNegative | None = Field(
        None, le=MOST_W, description="power asleep (weights and KV kept), one GPU; none = cannot sleep"
    )
    wake_s: NonNegative = Field(0.0, le=SLOWEST_CHANGE_S, description="seconds from asleep to serving, at idle_w")
    off_w: NonNegative | None = Field(
        None, le=MOST_W, description="power when off, one GPU; none = cannot be switched off"
    )
    start_s: NonNegative = Field(0.0, le=SLOWEST_CHANGE_S, description="seconds from off to serving: boot and load")
    start_w: NonNegative | None = Field(None, le=MOST_W, description="power while starting, one GPU; none = idle_w")
    stop_s: NonNegative = Field(
        0.0, le=SLOWEST_CHANGE_S, description="seconds from serving or asleep to off, at idle_w"
    )
    replicas_per_node: int = Field(
        1, ge=1, le=100_000, description="replicas that share a host and can only be off together"
    )
    host_w: NonNegative = Field(0.0, le=MOST_W, description="power of a node without its GPUs, unless it is off")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, power_w in (("peak_w", self.peak_w), ("prefill_w", self.prefill_w)):
            if power_w is not None and power_w < self.idle_w:
                raise ValueError(f"{name} {power_w:g}: expected at least idle_w = {self.idle_w:g}")
        if self.overhead_s > self.decode_base_s:
            raise ValueError(
                f"overhead_s {self.overhead_s:g}: expected at most decode_base_s = {self.decode_base_s:g}, which "
                "it is part of"
            )
        return self


STATE_FIELDS = (
    "sleep_w",
    "wake_s",
    "off_w",
    "start_s",
    "start_w",
    "stop_s",
    "replicas_per_node",
    "host_w",
    *FAILURE_FIELDS,
)


class Kind(Gpu):
    """A kind of serving replica: hardware, model and engine limits together."""

    max_batch: int = Field(32, ge=1, le=4096, description="most residents per replica")
    prefill: Literal["chunked", "unchunked"] = "chunked"
    chunk_tokens: Tokens = Field(512, description="token budget of a chunked iteration")
    kv_capacity_tokens: Tokens | None = Field(None, description="most KV tokens per replica; none = no limit")
    kv: Literal["reserve", "grow"] = Field(
        "reserve",
        description=(
            "KV memory: reserve input and output at admission, or grow block by block and pre-empt by recompute"
        ),
    )
    kv_block_tokens: BlockTokens = Field(16, description="kv grow: tokens per block, a power of two")

    @model_validator(mode="after")
    def _memory_fits(self) -> Self:
        expect_a_block(self.kv, self.kv_capacity_tokens, self.kv_block_tokens)
        return self


ENGINE_LIMITS = ("max_batch", "prefill", "chunk_tokens", "kv_capacity_tokens", "kv", "kv_block_tokens")
