"""JSON for other programs."""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(data: Any, indent: int | None = None) -> str:
    """`data` as JSON; NaN and infinite numbers, which JSON cannot express, are null."""
    return json.dumps(_defined(data), indent=indent, allow_nan=False)


def _defined(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _defined(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_defined(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
