"""Workload files: client groups with a share of the rate, a demand, a tier and lengths (docs/demand.md)."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from caps_fast.demand import Demand
from caps_fast.documents import read_toml
from caps_fast.errors import InputError, reason_of
from caps_fast.habits import Habits
from caps_fast.origins import Names
from caps_fast.section import Positive, Section, Share, Tokens, message_of

MOST_GROUPS = 1000
MOST_QUANTILES = 10_000
KEPT = 16
MOST_LENGTH = 10_000_000  # tokens, as in traces


class Lengths(Section):
    """A distribution of tokens, in one of four forms."""

    tokens: Tokens | None = Field(None, le=MOST_LENGTH, description="the same for all")
    log_mean: float | None = Field(None, ge=0, le=16, description="log-normal: mean of log tokens")
    log_sd: float | None = Field(None, ge=0, le=4, description="log-normal: standard deviation of log tokens")
    quantiles: tuple[tuple[Share, Positive], ...] | None = Field(
        None,
        min_length=2,
        max_length=MOST_QUANTILES,
        description="pairs of probability and tokens from 0 to 1, log-linear in between",
    )
    trace: str | None = Field(None, min_length=1, description="request trace to take the lengths from")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("tokens", "log_mean", "quantiles", "trace") if getattr(self, name) is not None]
        if len(ways) != 1:
            given = " and ".join(ways) or "nothing"
            raise ValueError(f"{given}: expected one of tokens, log_mean with log_sd, quantiles, trace")
        if (self.log_mean is None) != (self.log_sd is None):
            raise ValueError("expected log_mean and log_sd together")
        return self

    @field_validator("quantiles")
    @classmethod
    def _rise(cls, pairs: tuple[tuple[float, float], ...] | None) -> tuple[tuple[float, float], ...] | None:
        if pairs is None:
            return None
        shares, tokens = zip(*pairs, strict=True)
        if shares[0] != 0 or shares[-1] != 1:
            raise ValueError(f"probabilities from {shares[0]:g} to {shares[-1]:g}: expected them to rise from 0 to 1")
        for before, after in pairwise(pairs):
            if after[0] <= before[0]:
                raise ValueError(f"probability {after[0]:g} after {before[0]:g}: expected them to rise from 0 to 1")
            if after[1] < before[1]:
                raise ValueError(f"{after[1]:g} tokens after {before[1]:g}: expected them not to fall")
        if tokens[0] < 1 or tokens[-1] > MOST_LENGTH:
            raise ValueError(f"{tokens[0]:g} to {tokens[-1]:g} tokens: expected 1 to {MOST_LENGTH:,}")
        return pairs


class ClientGroup(Demand):
    """A group of similar requests: share of the rate, arrivals, tier, origin, lengths."""

    name: str = Field(min_length=1, max_length=100)
    share: Positive | None = Field(None, le=1, description="share of the workload's rate; none with sessions.users")
    tier: Literal["gold", "silver", "bronze"] | None = Field(None, description="tier; none = by the tiers' shares")
    origin: str | None = Field(None, description="origin, one of the scenario's; none = by the origins' shares")
    regions: Names | None = Field(
        None, min_length=1, description="regions that may serve its requests, whatever the policy; none = all"
    )
    input_tokens: Lengths
    output_tokens: Lengths
    length_correlation: float = Field(
        0.0,
        gt=-1,
        lt=1,
        allow_inf_nan=False,
        description="correlation of input and output length, both as normal scores (Gaussian copula)",
    )
    predictability: Share | None = Field(None, description="predictability of this group; none = the workload's")
    sessions: Habits | None = Field(
        None,
        description="conversations of several turns, to whose context a turn adds input_tokens; none = single requests",
    )

    @field_validator("input_tokens", "output_tokens", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """A single number means that length."""
        return {"tokens": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _has_a_rate_or_users(self) -> Self:
        if self.sessions is not None and self.length_correlation:
            raise ValueError(f"length_correlation {self.length_correlation:g} with sessions: expected none, or 0")
        if not self.users:
            if self.share is None:
                raise ValueError("share is missing: expected a number above 0, or sessions.users")
            return self
        for field in ("share", *self.said):
            if getattr(self, field) is not None:
                raise ValueError(f"{field} with sessions.users {self.users}: users come by themselves; expected none")
        return self

    @property
    def users(self) -> int:
        """Users who talk for ever; 0 where requests or conversations come at a rate."""
        return (self.sessions and self.sessions.users) or 0

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it names."""
        named = (self.input_tokens.trace, self.output_tokens.trace)
        return (*self.shape_files, *(path for path in named if path))


class Mix(Section):
    """The content of a workload file."""

    rate_rps: Positive | None = Field(None, le=1e9, description="mean arrivals per second, if the scenario sets none")
    clients: tuple[ClientGroup, ...] = Field(min_length=1, max_length=MOST_GROUPS)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        shares = [group.share for group in self.clients if group.share is not None]
        if shares and abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"shares of clients sum to {sum(shares):g}: expected 1")
        names = [group.name for group in self.clients]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"client {twice!r} appears twice: expected different names")
        return self


def mix_of(path: str) -> Mix:
    """The workload file at `path`. Raises InputError in one line with the file, the client and the field."""
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)}); expected a workload file in TOML") from None
    return _read(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(KEPT)
def _read(path: str, *state: int) -> Mix:
    data = read_toml(path, "a workload of client groups")
    try:
        return Mix.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        groups = data.get("clients")
        field = ".".join(_named(part, groups) if at == 1 else str(part) for at, part in enumerate(first["loc"]))
        value = first.get("input")
        shown = "" if first["type"] == "value_error" or isinstance(value, dict | list) else f" {repr(value)[:200]}:"
        message = message_of(first)
        raise InputError(f"{path}: {field}{shown} {message}" if field else f"{path}: {message}") from None


def _named(part: Any, groups: Any) -> str:
    """A part of a field's place; of a group, its name."""
    if isinstance(part, int) and isinstance(groups, list) and part < len(groups) and isinstance(groups[part], dict):
        return str(groups[part].get("name", part))
    return str(part)
