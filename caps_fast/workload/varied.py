"""Requests whose rate changes over time or whose arrivals are bursty: drawn in parts, each with its own streams, and
merged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from caps_fast import scenario
from caps_fast.clock import told_start
from caps_fast.demand import Demand, laid_over
from caps_fast.errors import InputError
from caps_fast.habits import parts_of
from caps_fast.moments import parse_utc
from caps_fast.records import Array
from caps_fast.sections import CATEGORIES, TIERS
from caps_fast.workload.arrivals import Arrivals
from caps_fast.workload.intensity import Rate
from caps_fast.workload.merged import Merged
from caps_fast.workload.profile_file import table_of
from caps_fast.workload.shapes import BUILT_IN_WEEK, local_time, shape_of
from caps_fast.workload.synthetic import Features, seed_of

FIRST_CLIENT = 16  # number of the streams of the first client group; lower ones belong to tiers and categories
TOLERANCE = 0.05  # of the mean rate


class Drawer(Protocol):
    """Draws everything but the arrivals of a part's requests."""

    @property
    def mean_tokens(self) -> tuple[float, float]: ...

    def fill(self, arrivals_s: Array) -> Array: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Part:
    """Requests of one demand."""

    share: float  # of the rate
    arrivals: Arrivals
    features: Drawer
    turns: float = 1.0  # requests that an arrival means: those of a conversation

    def take(self, size: int) -> Array:
        """About `size` further requests (REQUEST); none at the end."""
        return self.features.fill(self.arrivals.take(size))

    def state(self) -> dict[str, Any]:
        """The position of the streams, as plain data."""
        return {"arrivals": self.arrivals.state(), "features": self.features.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        self.arrivals.restore(state["arrivals"])
        self.features.restore(state["features"])


class VariedWorkload:
    """Draws a scenario's requests from t = 0 up to its horizon, or before t = 0, with the same demand, for training.

    Raises InputError for bad profiles and workload files, and if no request is expected.
    """

    drawn = True

    def __init__(self, config: scenario.Scenario, start_s: float = 0.0, end_s: float | None = None) -> None:
        self._now_s = start_s
        span_s = (start_s, config.horizon_s if end_s is None else end_s)
        self.parts, self._users = (
            _client_parts(config, span_s) if config.workload.file else (_parts(config, span_s), [])
        )
        self._merged, self._horizon_s, self._rate_rps = (
            Merged(self.parts),
            config.horizon_s,
            config.workload.rate_rps or 1.0,
        )
        if start_s >= 0 and self.expected_requests <= 0 and not self._users:
            raise InputError(f"workload: its rate is 0 over the whole run, {config.days:g} days: expected requests")
        self.notes = tuple(_notes(config, self.expected_requests)) if start_s >= 0 else ()

    @property
    def expected_requests(self) -> float:
        """How many requests are expected."""
        return math.fsum(part.arrivals.expected_requests * part.turns for part in self.parts)

    @property
    def spread(self) -> float | None:
        """Long-run variance of the number of requests over its mean; None where the rate jumps or there are sessions,
        so that it is not known.
        """
        if self._users or any(part.turns > 1 for part in self.parts):
            return None
        known = [part.arrivals.dispersion for part in self.parts]
        return None if None in known else max(one for one in known if one is not None)

    @property
    def mean_input_tokens(self) -> float:
        """Mean of the declared distribution of input tokens."""
        return self._mean_of(0)

    @property
    def mean_output_tokens(self) -> float:
        """Mean of the declared distribution of output tokens."""
        return self._mean_of(1)

    def _mean_of(self, at: int) -> float:
        """Mean over all parts; users count by the turns that they would have if answers took no time."""
        if not self._users:
            return math.fsum(part.share * part.features.mean_tokens[at] for part in self.parts)
        open_rps = self._rate_rps if self.parts else 0.0
        pairs = [(part.share * open_rps, part.features.mean_tokens[at]) for part in self.parts]
        pairs += [(kind.habits.most_rps, kind.mean_tokens[at]) for kind in self._users]
        return math.fsum(rps * mean for rps, mean in pairs) / math.fsum(rps for rps, _ in pairs)

    def blocks(self, size: int) -> Iterator[Array]:
        """REQUEST arrays of at most `size` requests, in order of arrival; the same requests whatever the size."""
        for block in self._merged.blocks(size):
            self._now_s = float(block["arrival_s"][-1])
            yield block

    def parts_s(self) -> Iterator[float]:
        """Times up to which to play where there are users only, who come by themselves."""
        if not self.parts:
            for until_s in parts_of([kind.habits for kind in self._users], self._now_s, self._horizon_s):
                self._now_s = until_s
                yield until_s

    def state(self) -> dict[str, Any]:
        """The position of the streams, as plain data, for `restore`."""
        return {"now_s": self._now_s, **self._merged.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same workload."""
        self._now_s = state["now_s"]
        self._merged.restore(state)


def rate_of(config: scenario.Scenario, demand: Demand, share: float = 1.0) -> Rate:
    """The rate of requests with a demand and a share of the mean rate. Raises InputError for a bad profile."""
    told = told_start(config)
    shape = shape_of(demand, table_of(demand, config.workload), parse_utc(*told) if told else None)
    return Rate((config.workload.rate_rps or 1.0) * share, shape, demand.growth_per_month or 0.0, demand.surges or ())


def _parts(config: scenario.Scenario, span_s: tuple[float, float]) -> list[Part]:
    """Tiers and categories with the same demand are drawn as one part; a single part uses the streams of a steady
    workload.
    """
    cells: dict[Demand, list[tuple[int, int, float]]] = {}
    for t, tier in enumerate(config.slo.all):
        for c, share in enumerate(config.workload.category_shares):
            if tier.share * share > 0:
                cells.setdefault(_demand(config, TIERS[t], CATEGORIES[c]), []).append((t, c, tier.share * share))
    seed, found = seed_of(config, span_s[0]), []
    for number, (demand, own) in enumerate(cells.items()):
        part = 1 + own[0][0] * len(CATEGORIES) + own[0][1] if number else 0
        share = math.fsum(weight for _, _, weight in own) if len(cells) > 1 else 1.0
        features = Features(config, seed, part, own if len(cells) > 1 else None)
        found.append(Part(share, Arrivals(demand, rate_of(config, demand, share), seed, part, *span_s), features))
    return found


def _demand(config: scenario.Scenario, tier: str, category: str) -> Demand:
    try:
        return config.workload.demand_of(tier, category)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"workload.by_tier.{tier} and by_category.{category} together: {message}") from None


def _client_parts(config: scenario.Scenario, span_s: tuple[float, float]) -> tuple[list[Part], list[Any]]:
    """A part per client group that has a rate, and the kinds of sessions of the others' users."""
    from caps_fast.workload.clients import ClientFeatures, mix_of  # noqa: PLC0415 - brings SciPy
    from caps_fast.workload.session_kinds import GroupStarts, kinds_of  # noqa: PLC0415

    seed, found, kinds = seed_of(config, span_s[0]), [], kinds_of(config)
    at_of = {kind.group.name: at for at, kind in enumerate(kinds) if kind.group}
    for number, group in enumerate(mix_of(str(config.workload.file)).clients):
        if group.share is None:
            continue
        demand, part = laid_over((config.workload, group)), FIRST_CLIENT + number
        features, turns = ClientFeatures(config, group, seed, part), 1.0
        drawer: Drawer = features
        if group.sessions:
            turns, at = group.sessions.turns_mean, at_of[group.name]
            drawer = GroupStarts(features, at, kinds[at])
        rate = rate_of(config, demand, group.share / turns)
        found.append(Part(group.share, Arrivals(demand, rate, seed, part, *span_s), drawer, turns))
    return found, [kind for kind in kinds if kind.habits.users]


def _notes(config: scenario.Scenario, expected: float) -> Iterator[str]:
    """Notes on t = 0 of profiles, and on the mean rate over the run if it is not that of the profile."""
    groups = config.workload.demands
    if config.workload.file:
        from caps_fast.client_groups import mix_of  # noqa: PLC0415

        groups = (*groups, *mix_of(config.workload.file).clients)
    tied = [
        demand
        for demand in groups
        if (table := table_of(demand, config.workload)) is not None and table.begins != "start"
    ]
    told = told_start(config)
    if tied and told is None:
        zones = dict.fromkeys(demand.profile_zone or "UTC" for demand in tied)
        local = (f"{local_time(BUILT_IN_WEEK, zone):%A %H:%M} in {zone}" for zone in zones if zone != "UTC")
        yield ", ".join(["workload: no start is given: t = 0 is Monday 00:00 UTC for its profiles", *local])
    for surge in (surge for demand in groups for surge in demand.surges or ()):
        if surge.at_h * 3600 >= config.horizon_s or surge.at_h + surge.hours <= 0:
            yield f"workload: the surge at_h {surge.at_h:g} lies outside the run, 0 to {config.horizon_s / 3600:g} h"
    mean_rps, asked = expected / config.horizon_s, config.workload.rate_rps or 1.0
    if expected and abs(mean_rps - asked) > TOLERANCE * asked:
        found = f"{mean_rps:.4g} requests per second are expected over this run"
        yield f"workload: {found}; rate_rps {asked:g} is the mean of its profiles"
