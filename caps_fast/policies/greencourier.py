"""GreenCourier: every request to the region of the best carbon score.

Chadha, Subramanian, Arima, Gerndt, Schulz, Abboud, "GreenCourier: Carbon-Aware Scheduling for Serverless Functions",
WoSC 2023 (arXiv 2310.20375). The score is the min-max normalisation of marginal emissions over the regions, in whole
points from 100 (cleanest) to 0, as the authors' metrics collector computes it (github.com/thandayuthapani/GreenCourier,
metrics-collector/api/watttime.go, `NormaliseMap`), and the scheduler's plug-in refreshes it every five minutes
(carbon-scheduler/pkg/plugins/carbon/carbon.go). Nodes without room are filtered out before, as Kubernetes does. The
published score ignores latency; `points_per_ms` subtracts points for the round trip, 0 as published.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from caps_fast._jit import inlined
from caps_fast.arrays import State
from caps_fast.policies.geo import Worth, first_of_its_roles, is_better, is_due, may_join, used
from caps_fast.policy import policy, rules
from caps_fast.reach import away_s

MOST_POINTS = 100.0


@policy(layout="pools", memory=Worth)
class GreenCourier(NamedTuple):
    """Lifetime of a score, s, and points subtracted per millisecond of round trip."""

    score_every_s: float = 300.0
    points_per_ms: float = 0.0


@rules.route(GreenCourier)
def best_score(policy: Any, t_s: float, r: int, s: State) -> int:
    if is_due(t_s, policy.score_every_s, s):
        _score(s)
    best = -1
    best_worth = 0.0
    for q in range(s.queues.shape[0]):
        if may_join(r, q, s):
            worth = s.memory[q].worth - policy.points_per_ms * 1000.0 * away_s(s, q, r)
            if best < 0 or is_better(worth, used(q, s), best_worth, used(best, s)):
                best = q
                best_worth = worth
    return best if best >= 0 else first_of_its_roles(r, s)


@inlined
def _score(s: State) -> None:
    """100 - round(100 (x - min) / (max - min)) of the intensity that policies see, for every region; 100 for all
    where they are equal.
    """
    least = math.inf
    most = -math.inf
    for z in range(s.regions.shape[0]):
        least = min(least, s.regions[z].gamma)
        most = max(most, s.regions[z].gamma)
    for q in range(s.queues.shape[0]):
        above = s.regions[s.queues[q].region].gamma - least
        share = above / (most - least) if most > least else 0.0
        s.memory[q].worth = MOST_POINTS - math.floor(share * MOST_POINTS + 0.5)
