"""Layouts of carbon files, each holding the same hours and values."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

START = datetime(2024, 8, 5, tzinfo=UTC)
HOURS = 30
HOUR = timedelta(hours=1)
G = [100.0 + 10 * (hour % 24) + hour / 8 for hour in range(HOURS)]
TIMES = [START + hour * HOUR for hour in range(HOURS)]
LOS_ANGELES = ZoneInfo("America/Los_Angeles")
Row = Callable[[datetime, float], Sequence[Any]]


def csv(header: str, row: Row, separator: str = ",") -> str:
    lines = [separator.join(str(cell) for cell in row(at, g)) for at, g in zip(TIMES, G, strict=True)]
    return "\n".join([header, *lines]) + "\n"


def iso(at: datetime, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return f"{at:{form}}"


AMERICAN = "%m/%d/%Y %I:%M:%S %p"
SPACED = "%Y-%m-%d %H:%M:%S"
OASIS = "%Y-%m-%dT%H:%M:%S-00:00"


def local(at: datetime) -> str:
    return f"{at.astimezone(LOS_ANGELES):%m/%d/%Y %I:%M:%S %p}"


def both(at: datetime) -> tuple[str, str]:
    return at.astimezone(LOS_ANGELES).isoformat(" "), at.isoformat(" ")


def document(**more: Any) -> dict[str, Any]:
    return {
        "zone": "DE",
        "history": [{"datetime": iso(at), "carbonIntensity": g} | more for at, g in zip(TIMES, G, strict=True)],
    }


WATTTIME = {
    "meta": {"region": "X", "signal_type": "co2_moer", "units": "lbs_co2_per_mwh"},
    "data": [{"point_time": iso(at), "value": g / 0.45359237} for at, g in zip(TIMES, G, strict=True)],
}
UK = {
    "data": [
        {"from": iso(at), "to": iso(at + HOUR), "intensity": {"forecast": 1, "actual": g}}
        for at, g in zip(TIMES, G, strict=True)
    ]
}
# name: text, options of read_carbon, kind, scope
LAYOUTS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "research": (csv("time,carbon_intensity", lambda at, g: (iso(at), g)), {"unit": "g/kWh"}, "average", "unknown"),
    "research, semicolons": (
        csv("Time;Carbon Intensity", lambda at, g: (iso(at), g), ";"),
        {"unit": "g/kWh"},
        "average",
        "unknown",
    ),
    "research, tabs": (
        csv("Time\tCarbon Intensity", lambda at, g: (iso(at), g), "\t"),
        {"unit": "g/kWh"},
        "average",
        "unknown",
    ),
    "unit in the name": (
        csv("timestamp,carbon_intensity_g_per_kwh", lambda at, g: (iso(at), g)),
        {},
        "average",
        "unknown",
    ),
    "kg/kWh": (
        csv("time,grid_carbon_intensity_kg_per_kwh", lambda at, g: (iso(at), g / 1000)),
        {},
        "average",
        "unknown",
    ),
    "kgCO2e/kWh": (csv("time,GHG intensity (kgCO2e/kWh)", lambda at, g: (iso(at), g / 1000)), {}, "average", "unknown"),
    "kg/MWh": (csv("time,co2_kg_per_mwh", lambda at, g: (iso(at), g)), {}, "average", "unknown"),
    "t/MWh": (csv("time,Emissions intensity (tCO2/MWh)", lambda at, g: (iso(at), g / 1000)), {}, "average", "unknown"),
    "lb/MWh": (csv("time,lbs_co2_per_mwh", lambda at, g: (iso(at), g / 0.45359237)), {}, "average", "unknown"),
    "lb/kWh": (csv("time,CO2 lb/kWh", lambda at, g: (iso(at), g / 453.59237)), {}, "average", "unknown"),
    "gCO2eqPerKWh": (csv("dateTime,carbonIntensityGCO2eqPerKWh", lambda at, g: (iso(at), g)), {}, "average", "unknown"),
    "a unit column": (csv("time,intensity,unit", lambda at, g: (iso(at), g, "gCO2/kWh")), {}, "average", "unknown"),
    "moer": (csv("timestamp,MOER lbs CO2/MWh", lambda at, g: (iso(at), g / 0.45359237)), {}, "marginal", "unknown"),
    "marginal": (csv("time,marginal_intensity_g_per_kwh", lambda at, g: (iso(at), g)), {}, "marginal", "unknown"),
    "life cycle": (csv("time,intensity LCA g/kWh", lambda at, g: (iso(at), g)), {}, "average", "lifecycle"),
    "beside load and prices": (
        csv("time,Load (MW),price EUR/MWh,carbon g/kWh,Demand GWh", lambda at, g: (iso(at), 800, 15, g, 3)),
        {},
        "average",
        "unknown",
    ),
    "utc and local, ends": (
        csv(
            "Local Time at End of Hour,UTC Time at End of Hour,intensity g/kWh",
            lambda at, g: (local(at + HOUR), iso(at + HOUR, AMERICAN), g),
        ),
        {},
        "average",
        "unknown",
    ),
    "local ends with a zone": (
        csv("Hour Ending (Local),intensity g/kWh", lambda at, g: (local(at + HOUR), g)),
        {"time_zone": "America/Los_Angeles"},
        "average",
        "unknown",
    ),
    "a time zone column": (
        csv("timezone,datetime_local,intensity g/kWh", lambda at, g: ("America/Los_Angeles", local(at), g)),
        {},
        "average",
        "unknown",
    ),
    "a zone in the name": (
        csv("Time (UTC-7),intensity g/kWh", lambda at, g: (iso(at - 7 * HOUR, SPACED), g)),
        {},
        "average",
        "unknown",
    ),
    "start and end": (
        csv("end,start,carbon g/kWh", lambda at, g: (iso(at + HOUR), iso(at), g)),
        {},
        "average",
        "unknown",
    ),
    "caiso": (
        csv(
            "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_HR,GHG_KG_PER_MWH",
            lambda at, g: (iso(at, OASIS), iso(at + HOUR, OASIS), 1, g),
        ),
        {},
        "average",
        "unknown",
    ),
    "date and hour ending 1 to 24": (
        csv("Data Date,Hour,Time Zone,g_co2_per_kwh", lambda at, g: (iso(at, "%m/%d/%Y"), at.hour + 1, "UTC", g)),
        {"time_format": "%m/%d/%Y"},
        "average",
        "unknown",
    ),
    "date and hour from 0": (
        csv("Date,Hour,g_co2_per_kwh", lambda at, g: (iso(at, "%Y-%m-%d"), at.hour, g)),
        {},
        "average",
        "unknown",
    ),
    "date and time of day": (
        csv("Date,Time,gCO2/kWh", lambda at, g: (iso(at, "%d.%m.%Y"), iso(at, "%H:%M"), g)),
        {},
        "average",
        "unknown",
    ),
    "declared ends": (
        csv("time,g_per_kwh", lambda at, g: (iso(at + HOUR), g)),
        {"interval": "end"},
        "average",
        "unknown",
    ),
    "offsets": (
        csv("time,g_per_kwh", lambda at, g: (at.astimezone(LOS_ANGELES).isoformat(), g)),
        {},
        "average",
        "unknown",
    ),
    "digits": (csv("time,g_per_kwh", lambda at, g: (iso(at, "%Y%m%d%H"), g)), {}, "average", "unknown"),
    "unix seconds": (csv("time,g_per_kwh", lambda at, g: (int(at.timestamp()), g)), {}, "average", "unknown"),
    "unix milliseconds": (
        csv("time,g_per_kwh", lambda at, g: (int(at.timestamp() * 1000), g)),
        {},
        "average",
        "unknown",
    ),
    "american dates": (
        csv("time_utc,g_per_kwh", lambda at, g: (iso(at, "%m/%d/%Y %I:%M %p"), g)),
        {},
        "average",
        "unknown",
    ),
    "told dates": (
        csv("time,g_per_kwh", lambda at, g: (iso(at, "%d/%m/%Y %Hh"), g)),
        {"time_format": "%d/%m/%Y %Hh"},
        "average",
        "unknown",
    ),
    "told columns": (
        csv("a,b,c,d", lambda at, g: (g + 1, iso(at + HOUR), iso(at), g)),
        {"columns": {"time": "c", "value": "d"}, "unit": "g/kWh"},
        "average",
        "unknown",
    ),
    "maps": (
        csv(
            "Datetime (UTC),Zone Id,Carbon Intensity gCO₂eq/kWh (direct),Data Estimated",
            lambda at, g: (iso(at, SPACED), "DE", g, "false"),
        ),
        {},
        "average",
        "direct",
    ),
    "maps, flattened": (
        csv(
            "zone,carbonIntensity,datetime,updatedAt,emissionFactorType,isEstimated",
            lambda at, g: ("DE", g, iso(at), iso(at), "lifecycle", True),
        ),
        {},
        "average",
        "lifecycle",
    ),
    "uk": (
        csv("from,intensity.forecast,intensity.actual", lambda at, g: (iso(at, "%Y-%m-%dT%H:%MZ"), 1, g)),
        {},
        "average",
        "direct",
    ),
    "uk, short": (
        csv("datetime,forecast,actual,index", lambda at, g: (iso(at), 1, g, "very low")),
        {},
        "average",
        "direct",
    ),
    "common": (
        csv("zone,valid_at,g_per_kwh,kind,scope", lambda at, g: ("X", iso(at), g, "marginal", "direct")),
        {},
        "marginal",
        "direct",
    ),
    "carboncast": (
        csv(
            "UTC time,actual_carbon_intensity_direct,forecasted_carbon_intensity_direct",
            lambda at, g: (iso(at, "%Y-%m-%d %H:%M:%S"), g, 1),
        ),
        {},
        "average",
        "direct",
    ),
    "maps, history": (json.dumps(document(emissionFactorType="direct")), {}, "average", "direct"),
    "maps, latest": (json.dumps([{"zone": "DE"} | item for item in document()["history"]]), {}, "average", "unknown"),
    "maps, a line an answer": (
        "\n".join(json.dumps({"zone": "DE"} | item) for item in document()["history"]),
        {},
        "average",
        "unknown",
    ),
    "watttime": (json.dumps(WATTTIME), {}, "marginal", "direct"),
    "uk, json": (json.dumps(UK), {}, "average", "direct"),
}
