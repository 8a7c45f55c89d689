"""The sections of a scenario: typed, validated, frozen, in user units. Fields are documented where they stand."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from caps_fast.client_groups import mix_of
from caps_fast.clock_section import Clock, Clocks
from caps_fast.demand import Demand, laid_over
from caps_fast.failure_section import FAILURE_FIELDS, Failures
from caps_fast.origins import Names
from caps_fast.section import LATER, Limit, NonNegative, Positive, Section, Share, Tokens
from caps_fast.sessions import Sessions

Role = Literal["LP", "CP", "BP"]
ROLES: tuple[Role, ...] = ("LP", "CP", "BP")
TIERS = ("gold", "silver", "bronze")
CATEGORIES = ("short", "long", "agentic")

Intensity = Annotated[float, Field(ge=0, le=5000, allow_inf_nan=False)]  # g/kWh; no grid comes near the end
MOST_PRICE = 1e6
Price = Annotated[float, Field(ge=-MOST_PRICE, le=MOST_PRICE, allow_inf_nan=False)]  # of a kWh; on some days below 0
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # of a pool, a kind, a region: part of a dotted field
SYNTHETIC_RPS = 10.0
SLOWEST_S = 100.0  # a token or an iteration
SLOWEST_CHANGE_S = 86400.0  # of a replica's state
MOST_W = 1e9  # of a GPU: beyond any, and sums of it stay finite
LEAST_RPS = 1e-12


def _power_of_two(tokens: int) -> int:
    if tokens & (tokens - 1):
        raise ValueError(f"{tokens}: expected a power of two, like 16")
    return tokens


BlockTokens = Annotated[int, Field(ge=1, le=1024), AfterValidator(_power_of_two)]


def _expect_a_block(own: Cluster | Kind) -> None:
    """Raise ValueError where KV memory is to grow by blocks and none fits."""
    if own.kv == "grow" and (own.kv_capacity_tokens or 0) < own.kv_block_tokens:
        said = "is missing" if own.kv_capacity_tokens is None else str(own.kv_capacity_tokens)
        raise ValueError(
            f"kv_capacity_tokens {said}: with kv 'grow', expected at least kv_block_tokens = {own.kv_block_tokens}"
        )


class Cluster(Section):
    """GPUs (serving replicas), their pools and their batching."""

    gpus: int = Field(24, ge=1, le=100_000, description="serving replicas in all")
    split: str = Field("8/8/8", description="GPUs a pool, in order")
    roles: str = Field("LP/CP/BP", description="role of each pool: LP low latency, CP low carbon, BP batch")
    max_batch: int = Field(32, ge=1, le=4096, description="residents a GPU at most")
    prefill: Literal["chunked", "unchunked"] = "chunked"
    chunk_tokens: Tokens = Field(512, description="token budget of a chunked iteration")
    kv_capacity_tokens: Tokens | None = Field(None, description="KV tokens a GPU at most; none = no limit")
    kv: Literal["reserve", "grow"] = Field(
        "reserve",
        description=(
            "KV memory: reserve input and output at admission, or grow block by block and pre-empt by recompute"
        ),
    )
    kv_block_tokens: BlockTokens = Field(16, description="kv grow: tokens per block, a power of two")

    @cached_property
    def pools(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.split.split("/"))

    @cached_property
    def pool_roles(self) -> tuple[str, ...]:
        return tuple(self.roles.split("/"))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _expect_a_block(self)
        parts = self.split.split("/")
        if not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
            raise ValueError(f"split {self.split!r}: expected whole numbers like 8/8/8")
        if sum(self.pools) != self.gpus or 0 in self.pools:
            raise ValueError(
                f"split {self.split} sums to {sum(self.pools)}: expected pools of at least one GPU that sum to "
                f"cluster.gpus = {self.gpus}"
            )
        if len(self.pool_roles) != len(self.pools) or not set(self.pool_roles) <= set(ROLES):
            raise ValueError(
                f"roles {self.roles!r}: expected one of LP, CP, BP for each of the {len(self.pools)} pools"
            )
        return self


class Gpu(Clocks, Failures):
    """Speed and power of one serving replica. A `profile` fills what is not given."""

    profile: str | None = Field(None, description="a built-in profile by name, or a profile file")
    prefill_s_per_token: Positive = Field(le=SLOWEST_S, description="a_p of Eq. 1")
    decode_base_s: Positive = Field(le=SLOWEST_S, description="d0: seconds an iteration takes at the least")
    decode_s_per_seq: NonNegative = Field(le=SLOWEST_S, description="d1: seconds more a decoding sequence")
    decode_s_per_context_token: NonNegative = Field(0.0, le=0.01, description="d2: seconds more a token of context")
    overhead_s: NonNegative = Field(
        0.0, le=SLOWEST_S, description="o: of decode_base_s, what nothing overlaps with: scheduling, CPU time"
    )
    overlap_exponent: float = Field(
        1.0,
        ge=1,
        le=1e6,
        description="p: how memory and compute time combine; 1 = their sum, large = the longer of them (roofline)",
    )
    mixed_s_per_context_token: NonNegative = Field(
        0.0, le=0.01, description="d2m: seconds per token of context, beside d2, in iterations that carry a prompt"
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
        description="iterations by which who is admitted to a busy replica joins late; 1 = async scheduling",
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
        0.0, le=1e9, description="of an hour of a replica that is not off, energy apart; any currency"
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
        1, ge=1, le=100_000, description="replicas that share a host and are off together only"
    )
    host_w: NonNegative = Field(0.0, le=MOST_W, description="power of a node beside its GPUs, unless it is off")

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

    max_batch: int = Field(32, ge=1, le=4096, description="residents per replica at most")
    prefill: Literal["chunked", "unchunked"] = "chunked"
    chunk_tokens: Tokens = Field(512, description="token budget of a chunked iteration")
    kv_capacity_tokens: Tokens | None = Field(None, description="KV tokens per replica at most; none = no limit")
    kv: Literal["reserve", "grow"] = Field(
        "reserve",
        description=(
            "KV memory: reserve input and output at admission, or grow block by block and pre-empt by recompute"
        ),
    )
    kv_block_tokens: BlockTokens = Field(16, description="kv grow: tokens per block, a power of two")

    @model_validator(mode="after")
    def _memory_fits(self) -> Self:
        _expect_a_block(self)
        return self


ENGINE_LIMITS = ("max_batch", "prefill", "chunk_tokens", "kv_capacity_tokens", "kv", "kv_block_tokens")


class Pool(Section):
    """A number of replicas of one kind in one region."""

    name: str = Field(pattern=NAME)
    role: Role
    replicas: int = Field(ge=1, le=100_000)
    gpu: str = Field(description="kind of the replicas; may be left out where there is one kind")
    region: str = Field(description="where they are; may be left out where there is one region")
    clock: Clock | None = Field(
        None,
        json_schema_extra=LATER,
        description="clock that they keep, of their kind's; none = the highest, or as a rule says",
    )


class Tier(Section):
    """One SLO tier: its share of traffic, its limits from arrival, the roles of the pools that CAPS may send it to."""

    share: Share
    ttft_s: Limit = None
    tpot_s: Limit = None
    e2e_s: Limit = None
    ttft_after_release_s: Limit = None
    roles: str = "LP/CP/BP"
    regions: Names | None = Field(
        None,
        min_length=1,
        json_schema_extra=LATER,
        description="regions that may serve its requests, whatever the policy; none = all",
    )

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        if not set(value.split("/")) <= set(ROLES):
            raise ValueError(f"roles {value!r}: expected some of LP/CP/BP")
        return value


class Tiers(Section):
    """The tenant SLO registry."""

    gold: Tier
    silver: Tier
    bronze: Tier

    @model_validator(mode="after")
    def _shares_sum(self) -> Self:
        total = sum(tier.share for tier in self.all)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"shares of gold, silver and bronze sum to {total:g}: expected 1")
        return self

    @property
    def all(self) -> tuple[Tier, Tier, Tier]:
        return self.gold, self.silver, self.bronze


def _default_rps(trace: str | None, file: str | None) -> float | None:
    """The mean rate where none is given. Raises InputError for a bad workload file."""
    if trace:
        return None
    return (file and mix_of(file).rate_rps) or SYNTHETIC_RPS


class Workload(Demand):
    """Requests: drawn, or replayed from a trace with tiers, tenants and tasks drawn where it has none."""

    trace: str | None = Field(None, description="request trace file; none = synthetic")
    file: str | None = Field(
        None, min_length=1, description="workload of client groups in TOML, in place of the drawn one (docs/demand.md)"
    )
    rate_rps: Positive | None = Field(
        default_factory=lambda known: _default_rps(known.get("trace"), known.get("file")),
        le=1e9,
        description=(
            "mean arrivals per second; none = the trace's own rate. Default: that of `file`, or 10 without a "
            "trace, none with one"
        ),
    )
    trace_format: str | None = Field(None, description="name of the trace's format; none = detect from content")
    trace_columns: dict[str, str] = Field(
        default_factory=dict, description="our names to the file's, for other layouts (docs/traces.md)"
    )
    trace_time_unit: str | None = Field(
        None, description="unit of the time column with trace_columns: s, ms, us, ns or datetime"
    )
    trace_time_zone: str | None = Field(
        None, description="time zone of the trace's dates without an offset; none = UTC"
    )
    trace_time_format: str | None = Field(
        None, description="format of the trace's dates, as strptime has it; none = detect from content"
    )
    trace_tiers: dict[str, str] = Field(
        default_factory=dict, description="classes in the trace's tier column to gold, silver or bronze; * = others"
    )
    trace_fit: Literal["loop", "stretch", "once"] = Field("loop", description="how a trace fills the horizon")
    sessions: Sessions | None = Field(
        None, json_schema_extra=LATER, description="conversations of several turns; none = requests by themselves"
    )
    by_tier: dict[Literal["gold", "silver", "bronze"], Demand] = Field(
        default_factory=dict,
        description="demand of a tier where it differs: any field from rate_profile to batch_size_law",
    )
    by_category: dict[Literal["short", "long", "agentic"], Demand] = Field(
        default_factory=dict, description="demand of a category where it differs; goes before by_tier"
    )
    category_shares: tuple[Share, Share, Share] = Field((0.5, 0.35, 0.15), description="short, long, agentic")
    input_token_edges: tuple[Tokens, Tokens, Tokens, Tokens] = Field(
        (8, 256, 2048, 8192), description="short in [e0, e1), long in [e1, e2), agentic in [e2, e3); log-uniform"
    )
    output_log_mean: float = Field(4.8, ge=0, le=12, description="mu of log output tokens")
    output_log_sd: float = Field(1.1, ge=0, le=3, description="sigma of log output tokens")
    max_output_tokens: Tokens = 32768
    tenants: int = Field(60, ge=3, le=100_000, description="tenants in all, spread over the tiers by their shares")
    predictability: Share = Field(
        0.9665,
        description=(
            "share of the variance of log output tokens that the features explain; 0.9665: the learned model's "
            "MAPE is the paper's 18.2 %"
        ),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if abs(sum(self.category_shares) - 1) > 1e-9:
            raise ValueError(f"category_shares sum to {sum(self.category_shares):g}: expected 1")
        edges = self.input_token_edges
        if not 1 <= edges[0] < edges[1] < edges[2] < edges[3]:
            raise ValueError(f"input_token_edges {edges}: expected four rising whole numbers from 1")
        if self.trace and self.file:
            raise ValueError(f"trace {self.trace} and file {self.file}: expected one of them")
        if self.file and (self.by_tier or self.by_category):
            raise ValueError(
                f"by_tier or by_category beside file {self.file}: expected each client group to say its own"
            )
        if self.rate_rps is not None and self.rate_rps < LEAST_RPS:
            raise ValueError(f"rate_rps {self.rate_rps:g}: expected at least {LEAST_RPS:g}")
        if self.rate_rps is None and self.trace is None:
            raise ValueError("rate_rps is missing: expected a number above 0 unless a trace is given")
        if self.sessions is not None:
            self.sessions.expect_beside(
                self.trace or self.file, bool(self.by_tier or self.by_category), next(iter(self.said), None)
            )
        if self.trace and self.trace_fit == "stretch" and self.rate_rps is not None:
            raise ValueError("trace_fit 'stretch' sets the rate itself: expected no rate_rps beside it")
        return self

    @property
    def asked_rps(self) -> float | None:
        """The rate that is asked for; None where a trace or users set it."""
        return None if self.sessions and self.sessions.users else self.rate_rps

    def demand_of(self, tier: str, category: str) -> Demand:
        """The demand of a tier's requests of a category."""
        parts = (self, self.by_tier.get(tier), self.by_category.get(category))  # type: ignore[call-overload]
        return laid_over(part for part in parts if part is not None)

    @property
    def demands(self) -> tuple[Demand, ...]:
        """Every demand that is written down."""
        return (self, *self.by_tier.values(), *self.by_category.values())

    @property
    def is_steady(self) -> bool:
        """Whether all arrivals are one Poisson process of constant rate."""
        return self.file is None and all(demand.is_flat for demand in self.demands)

    @property
    def files(self) -> tuple[str, ...]:
        """All files that it names, and those that a workload file names."""
        mix = mix_of(self.file).clients if self.file else ()
        named = [path for path in (self.trace, self.file) if path]
        named += self.sessions.files if self.sessions else ()
        named += [path for demand in self.demands for path in demand.shape_files]
        return (*named, *(path for group in mix for path in group.files))


class Carbon(Section):
    """Grid carbon intensity: built in (CAISO-shaped) or from a file."""

    file: str | None = Field(None, description="carbon file; none = built in")
    format: str | None = Field(None, description="name of the file's format; none = detect from content")
    columns: dict[str, str] = Field(
        default_factory=dict, description="time, value, zone, issued_at to the file's names, where these do not say"
    )
    time_zone: str | None = Field(None, description="time zone of dates without an offset; none = UTC")
    time_format: str | None = Field(
        None, description="format of the file's dates, as strptime has it; none = detect from content"
    )
    interval: Literal["start", "end"] | None = Field(
        None, description="which end of its interval a time is; none = as the file says, else start"
    )
    zone: str | None = Field(None, description="zone to take, where the file has several")
    scope: Literal["lifecycle", "direct"] = "lifecycle"
    kind: Literal["average", "marginal"] = "average"
    start: str | None = Field(
        None,
        description=(
            "date or time of the file (UTC) that is t = 0; none = where it meets the trace's date or `start`, else "
            "its first sample"
        ),
    )
    fill_gaps: Literal["no", "previous", "linear"] = "no"
    unit: Literal["g/kWh", "kg/kWh", "t/kWh", "lb/kWh", "g/MWh", "kg/MWh", "t/MWh", "lb/MWh"] | None = Field(
        None, description="unit of the values, where the file does not say"
    )
    scale_to_g_per_kwh: tuple[Intensity, Intensity] | None = Field(
        None, description="built-in trace: stretch its range to these two figures"
    )
    day_to_day_sd: Share = Field(0.06, description="built-in trace: standard deviation of a day's level")

    @model_validator(mode="after")
    def _scale_rises(self) -> Self:
        if self.scale_to_g_per_kwh and self.scale_to_g_per_kwh[0] >= self.scale_to_g_per_kwh[1]:
            raise ValueError(f"scale_to_g_per_kwh {self.scale_to_g_per_kwh}: expected low < high")
        return self


class Monitor(Section):
    """The carbon and energy monitor: what the scheduler sees of the grid."""

    window_h: Positive = Field(168.0, le=1e6, description="rolling window of intensity behind the quantile")
    gate_quantile: Share = Field(0.5, description="gate threshold as a quantile of the rolling window")
    gate_g_per_kwh: NonNegative | None = Field(None, description="gate threshold as a value; overrides the quantile")
    forecast: str = Field("perfect", description="perfect, persistence, yesterday, last-week, noisy, learned, or file")
    forecast_file: str | None = Field(None, description="forecasts with issue times (CarbonCast, or the common schema)")
    forecast_hours: int = Field(96, ge=1, le=240)
    forecast_error: tuple[NonNegative, ...] = Field(
        (0.065, 0.147, 0.197, 0.218), description="noisy: mean absolute percentage error by lead day, 0..1"
    )


class Region(Section):
    """A grid, what the scheduler sees of it, and what the building adds."""

    carbon: Carbon = Carbon()
    marginal: Carbon | None = Field(
        None,
        json_schema_extra=LATER,
        description="marginal intensity beside the average of `carbon`; the bill is in both then",
    )
    decide_on: Literal["average", "marginal"] = Field(
        "average", json_schema_extra=LATER, description="which of the two policies see; the accounts have both"
    )
    monitor: Monitor = Monitor()
    pue: float = Field(1.0, ge=1, le=10, description="power usage effectiveness: the bill counts energy times this")
    price_per_kwh: Price = Field(0.0, description="price of a kWh, in any currency")
    price_by_hour: tuple[Price, ...] | None = Field(
        None, description="price of a kWh by hour of the day (UTC), 24 figures, in place of price_per_kwh"
    )
    price_file: str | None = Field(
        None, description="CSV with columns time and price_per_kwh, in place of price_per_kwh"
    )
    water_l_per_kwh: NonNegative = Field(0.0, le=1000, description="litres of water per kWh of the replicas (WUE)")
    latitude: float | None = Field(
        None, ge=-90, le=90, json_schema_extra=LATER, description="degrees north, for follow-the-sun; none = 0"
    )
    longitude: float | None = Field(
        None, ge=-180, le=180, json_schema_extra=LATER, description="degrees east, for follow-the-sun"
    )

    @field_validator("marginal", mode="before")
    @classmethod
    def _is_marginal(cls, value: Any) -> Any:
        return {"kind": "marginal", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _two_signals(self) -> Self:
        if self.marginal is not None and (self.carbon.kind, self.marginal.kind) != ("average", "marginal"):
            raise ValueError(
                f"carbon.kind {self.carbon.kind}, marginal.kind {self.marginal.kind}: expected average and marginal"
            )
        if self.marginal is None and self.decide_on == "marginal":
            raise ValueError("decide_on marginal: expected a marginal beside carbon")
        return self

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        said = [name for name in ("price_per_kwh", "price_by_hour", "price_file") if getattr(self, name)]
        if len(said) > 1:
            raise ValueError(f"{said[0]} beside {said[1]}: expected one of them")
        if self.price_by_hour is not None and len(self.price_by_hour) != 24:
            raise ValueError(
                f"price_by_hour: {len(self.price_by_hour)} prices: expected 24, one for each hour of the day"
            )
        return self
