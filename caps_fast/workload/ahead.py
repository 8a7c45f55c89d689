"""What needs requests before they come cannot have sessions."""

from __future__ import annotations

from caps_fast.errors import InputError
from caps_fast.scenario import Scenario


def expect_requests_ahead(config: Scenario, who: str) -> None:
    """Raise InputError if requests must be known in advance but follow answers."""
    if config.workload.has_sessions:
        raise InputError(f"workload.sessions: turns follow answers, so {who}")
