"""Carbon files to read: real ones where they are at hand, and small ones of several formats."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from caps_fast.grid_section import Carbon
from caps_fast.scenario import preset

DATA = Path(__file__).parents[2] / "shared" / "data" / "carbon"
CAISO, CARBONCAST = DATA / "US-CAL-CISO_2024_hourly.csv", DATA / "CISO_carboncast_lifecycle_2021H2.csv"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared data are not at hand")
NOON = datetime(2024, 8, 5, 12, tzinfo=UTC)
MAPS = """Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO₂eq/kWh (direct),\
Carbon Intensity gCO₂eq/kWh (LCA),Low Carbon Percentage
2024-08-05 12:00:00,USA,CAISO,US-CAL-CISO,210.5,290.25,40.1
2024-08-05 13:00:00,USA,CAISO,US-CAL-CISO,205,280,41.9
"""


def write(folder: Path, content: str | bytes | object, name: str = "carbon") -> str:
    raw = (
        content
        if isinstance(content, bytes)
        else (content if isinstance(content, str) else json.dumps(content)).encode()
    )
    (folder / name).write_bytes(raw)
    return str(folder / name)


def config(file: str | Path, **fields: object) -> Carbon:
    return (
        preset("measured")
        .replace({"carbon.file": str(file)} | {f"carbon.{name}": value for name, value in fields.items()})
        .carbon
    )
