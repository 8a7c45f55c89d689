"""The simulator compared with real engines: logs of measured requests, their replay, and the errors."""

from __future__ import annotations

from caps_fast.validation.compare import Comparison, compare
from caps_fast.validation.log import RequestLog, read_log
from caps_fast.validation.replay import Played, Replay

__all__ = ["Comparison", "Played", "Replay", "RequestLog", "compare", "read_log"]
