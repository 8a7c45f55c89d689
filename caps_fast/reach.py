"""The regions that may serve a request, and its round trips to them (docs/model.md, section 10)."""

from __future__ import annotations

import math

from caps_fast._jit import inlined
from caps_fast.arrays import NONE, State
from caps_fast.traits import has_origins


@inlined
def may_serve(s: State, z: int, r: int) -> bool:
    """Whether live request `r` may be served in region `z`."""
    if not has_origins(s):
        return True
    return bool(s.tiers[s.live[r].tier].regions & s.origins[s.live[r].origin].regions & (1 << z))


@inlined
def round_trip_s(s: State, z: int, r: int) -> float:
    """The round trip of live request `r` to region `z`, s."""
    rtt_s: float = s.rtt_s[s.live[r].origin, z] if has_origins(s) else 0.0
    return rtt_s


@inlined
def moves_from(s: State, q: int, r: int) -> int:
    """The region from which the context of live request `r` must move to queue `q`; NONE if nothing moves."""
    if not has_origins(s):
        return NONE
    home: int = s.origins[s.live[r].origin].home
    return NONE if home == s.queues[q].region else home


@inlined
def away_s(s: State, q: int, r: int) -> float:
    """The round trip of live request `r` to queue `q`, s: the least to the regions of the queue that may serve it, if
    any.
    """
    if not has_origins(s):
        return 0.0
    least_s = math.inf
    for at in range(s.queues[q].first_span, s.queues[q].end_span):
        if may_serve(s, s.spans[at].region, r):
            least_s = min(least_s, round_trip_s(s, s.spans[at].region, r))
    return least_s if least_s < math.inf else round_trip_s(s, s.spans[s.queues[q].first_span].region, r)
