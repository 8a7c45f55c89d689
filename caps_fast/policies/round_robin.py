"""Round Robin: every request to the next GPU, whatever its state."""

from __future__ import annotations

from typing import NamedTuple

from caps_fast.policy import policy


@policy(layout="cyclic")
class RoundRobin(NamedTuple):
    """Sends requests to the GPUs in turn."""
