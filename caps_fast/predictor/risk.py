"""The SLO-risk model: the probability that a request misses its SLO in a pool under its present load, tabulated for
the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caps_fast.policies.risk import Risk, guide_to
from caps_fast.predictor.explore import RISK_FEATURES
from caps_fast.predictor.forest import Tables, look_up, padded
from caps_fast.records import Array

TIER, ROLE, GATE, INPUT, OUTPUT, RESIDENTS, WAITING, AHEAD = range(len(RISK_FEATURES))
GROUPS = ((TIER, ROLE, INPUT, OUTPUT), (TIER, ROLE, GATE, RESIDENTS, WAITING), (TIER, ROLE, GATE, RESIDENTS, AHEAD))
BINS = (8, 8, 8, 63, 63, 63, 63, 63)
TIERS, ROLES, GATES = 4, 3, 3


@dataclass(frozen=True)
class RiskModel:
    """The classifier. Its features are `explore.RISK_FEATURES`."""

    forest: Tables

    def predict(self, rows: Array) -> Array:
        """Probability of a miss, float64 (n,), of rows (n, len(RISK_FEATURES))."""
        return np.asarray(1.0 / (1.0 + np.exp(-look_up(rows, self.forest))))

    def arrays(self) -> Risk:
        """The tables that the kernel reads."""
        edges = self.forest.edges
        tier, role, gate = (
            np.searchsorted(edges[feature], np.arange(count))
            for feature, count in ((TIER, TIERS), (ROLE, ROLES), (GATE, GATES))
        )
        request, queue, prompts = (np.exp(table) for table in self.forest.tables)
        in_context = np.ix_(tier, role, gate)
        by_feature = padded([edges[feature] for feature in (INPUT, OUTPUT, RESIDENTS, WAITING, AHEAD)])
        return Risk(
            edges=by_feature,
            guide=guide_to(by_feature),
            request=np.ascontiguousarray(request[np.ix_(tier, role)].reshape(TIERS * ROLES, *request.shape[2:])),
            queue=np.ascontiguousarray(queue[in_context].reshape(TIERS * ROLES * GATES, *queue.shape[3:])),
            prompts=np.ascontiguousarray(prompts[in_context].reshape(TIERS * ROLES * GATES, *prompts.shape[3:])),
        )
