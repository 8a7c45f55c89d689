"""The sections of a scenario: typed, validated, frozen, in user units. Fields are documented at their definition."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from caps_fast.client_groups import ClientGroup, mix_of
from caps_fast.clock_section import Clock
from caps_fast.demand import Demand, laid_over
from caps_fast.origins import Names
from caps_fast.replica_section import BlockTokens, expect_a_block
from caps_fast.section import LATER, Limit, Positive, Section, Share, Tokens
from caps_fast.sessions import Sessions

Role = Literal["LP", "CP", "BP"]
ROLES: tuple[Role, ...] = ("LP", "CP", "BP")
TIERS = ("gold", "silver", "bronze")
CATEGORIES = ("short", "long", "agentic")

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # of a pool, a kind, a region: part of a dotted field
SYNTHETIC_RPS = 10.0
LEAST_RPS = 1e-12


class Cluster(Section):
    """GPUs (serving replicas), their pools and their batching."""

    gpus: int = Field(24, ge=1, le=100_000, description="total number of serving replicas")
    split: str = Field("8/8/8", description="GPUs per pool, in order")
    roles: str = Field("LP/CP/BP", description="role of each pool: LP low latency, CP low carbon, BP batch")
    max_batch: int = Field(32, ge=1, le=4096, description="most residents per GPU")
    prefill: Literal["chunked", "unchunked"] = "chunked"
    chunk_tokens: Tokens = Field(512, description="token budget of a chunked iteration")
    kv_capacity_tokens: Tokens | None = Field(None, description="most KV tokens per GPU; none = no limit")
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
        expect_a_block(self.kv, self.kv_capacity_tokens, self.kv_block_tokens)
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


class Pool(Section):
    """A number of replicas of one kind in one region."""

    name: str = Field(pattern=NAME)
    role: Role
    replicas: int = Field(ge=1, le=100_000)
    gpu: str = Field(description="kind of the replicas; optional if there is one kind")
    region: str = Field(description="their region; optional if there is one region")
    clock: Clock | None = Field(
        None,
        json_schema_extra=LATER,
        description="fixed clock, of their kind's; none = the highest, or set by a rule",
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
    """The default mean rate. Raises InputError for a bad workload file."""
    if trace:
        return None
    return (file and mix_of(file).rate_rps) or SYNTHETIC_RPS


class Workload(Demand):
    """Requests: drawn, or replayed from a trace, with tiers, tenants and tasks drawn if it has none."""

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
        default_factory=dict, description="our names to the file's column names, for other layouts (docs/traces.md)"
    )
    trace_time_unit: str | None = Field(
        None, description="unit of the time column with trace_columns: s, ms, us, ns or datetime"
    )
    trace_time_zone: str | None = Field(
        None, description="time zone of the trace's dates without an offset; none = UTC"
    )
    trace_time_format: str | None = Field(
        None, description="format of the trace's dates, as for strptime; none = detect from content"
    )
    trace_tiers: dict[str, str] = Field(
        default_factory=dict, description="classes in the trace's tier column to gold, silver or bronze; * = others"
    )
    trace_fit: Literal["loop", "stretch", "once"] = Field("loop", description="how a trace fills the horizon")
    sessions: Sessions | None = Field(
        None, json_schema_extra=LATER, description="conversations of several turns; none = independent requests"
    )
    by_tier: dict[Literal["gold", "silver", "bronze"], Demand] = Field(
        default_factory=dict,
        description="demand of a tier if it differs: any field from rate_profile to batch_size_law",
    )
    by_category: dict[Literal["short", "long", "agentic"], Demand] = Field(
        default_factory=dict, description="demand of a category if it differs; overrides by_tier"
    )
    category_shares: tuple[Share, Share, Share] = Field((0.5, 0.35, 0.15), description="short, long, agentic")
    input_token_edges: tuple[Tokens, Tokens, Tokens, Tokens] = Field(
        (8, 256, 2048, 8192), description="short in [e0, e1), long in [e1, e2), agentic in [e2, e3); log-uniform"
    )
    output_log_mean: float = Field(4.8, ge=0, le=12, description="mu of log output tokens")
    output_log_sd: float = Field(1.1, ge=0, le=3, description="sigma of log output tokens")
    max_output_tokens: Tokens = 32768
    tenants: int = Field(
        60, ge=3, le=100_000, description="number of tenants, distributed over the tiers by their shares"
    )
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
                f"by_tier or by_category together with file {self.file}: expected each client group to set its own"
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
            raise ValueError("trace_fit 'stretch' sets the rate itself: expected no rate_rps with it")
        return self

    @property
    def asked_rps(self) -> float | None:
        """The rate of the scenario; None if a trace or users set it."""
        return None if self.users else self.rate_rps

    @property
    def has_sessions(self) -> bool:
        """Whether requests are turns of conversations, all or those of some client groups."""
        return self.sessions is not None or any(group.sessions for group in self._groups)

    @property
    def users(self) -> int:
        """Number of users with endless conversations, in place of a rate; 0 if anything arrives at a rate."""
        if any(group.share is not None for group in self._groups):
            return 0
        return (self.sessions and self.sessions.users) or sum(group.users for group in self._groups)

    @property
    def _groups(self) -> tuple[ClientGroup, ...]:
        return mix_of(self.file).clients if self.file else ()

    def demand_of(self, tier: str, category: str) -> Demand:
        """The demand of a tier's requests of a category."""
        parts = (self, self.by_tier.get(tier), self.by_category.get(category))  # type: ignore[call-overload]
        return laid_over(part for part in parts if part is not None)

    @property
    def demands(self) -> tuple[Demand, ...]:
        """Every demand of the scenario."""
        return (self, *self.by_tier.values(), *self.by_category.values())

    @property
    def is_steady(self) -> bool:
        """Whether all arrivals are one Poisson process of constant rate."""
        return self.file is None and all(demand.is_flat for demand in self.demands)

    @property
    def files(self) -> tuple[str, ...]:
        """All files that it names, and those that a workload file names."""
        named = [path for path in (self.trace, self.file) if path]
        named += self.sessions.files if self.sessions else ()
        named += [path for demand in self.demands for path in demand.shape_files]
        return (*named, *(path for group in self._groups for path in group.files))
