"""Round Robin: every request to the next GPU, blind to state."""

from __future__ import annotations

from typing import NamedTuple

from caps_fast.policy import policy


@policy(layout="cyclic")
class RoundRobin(NamedTuple):
    """Deals requests to the GPUs cyclically."""
