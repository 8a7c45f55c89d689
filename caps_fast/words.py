"""The meaning of a column's name, by whole words, never by a sequence of letters in it."""

from __future__ import annotations

import re
from functools import cache

VOCABULARY = "datetime|timestamp|timezone|interval|lifecycle|carbon|intensity|emissions|emission|factor|forecast|actual"
VOCABULARY += "|arrival|local|start|begin|ending|end|hour|time|date|stamp|zone|type|utc|gmt|per"
_COMPOUND = re.compile(rf"(?:{VOCABULARY}){{2,}}")
_PART = re.compile(VOCABULARY)
_SPLIT = {"datetime": ("date", "time"), "timestamp": ("time", "stamp"), "timezone": ("time", "zone")}

MASS = r"(?:grams?|g|kilograms?|kgs?|tonnes?|metric tons?|mt|t|pounds?|lbs?)"
GAS = r"(?:carbon dioxide|carbon|co2|co2e|co2eq|co2equiv|co2 ?e|eq|equiv|equivalents?|ghg|emissions?|of|c)"
_UNIT = re.compile(rf"(?<![a-z0-9])({MASS})(?: ?{GAS})*(?: per | ?/ ?| )(k|m|kilo|mega)(?:wh|watt ?hours?)(?![a-z])")
_ENERGY = re.compile(r"(?<![a-z])[kmg]wh(?![a-z])")
_PRICE = re.compile(
    r"[£€$¥¢]|(?<![a-z])(?:gbp|eur|euros?|usd|cad|aud|jpy|chf|sek|nok|dkk|pln|inr|cny|pounds? "
    r"sterling|pence|p|cents?|ct|cts|c|"
    r"dollars?|price|prices|cost|costs|tariff|lmp)(?![a-z])"
)
_OTHER_GAS = re.compile(
    r"(?<![a-z])(?:nox|no2|sox|so2|ch4|n2o|methane|pm|pm25|hg|mercury|water|fuel|coal|ash|waste)(?![a-z0-9])"
)
_MASSES = {"g": "g", "k": "kg", "t": "t", "m": "t", "p": "lb", "l": "lb"}
G_PER_KWH = {
    f"{mass}/{energy}": grams / kwh
    for energy, kwh in (("kWh", 1), ("MWh", 1000))
    for mass, grams in (("g", 1.0), ("kg", 1000.0), ("t", 1e6), ("lb", 453.59237))
}
"""Units of carbon intensity, each in g/kWh."""


LOCAL = {"local", "prevailing", "eastern", "central", "mountain", "pacific", "et", "ct", "pt", "cet", "cest", "bst"}
LOCAL |= {"pst", "pdt", "mst", "mdt", "cst", "cdt", "est", "edt", "ept", "cpt", "mpt", "ppt"}
UTC = {"utc", "gmt", "zulu"}


def plain(name: str) -> str:
    """The name in lower case, divided into words: `carbonIntensity`, `CO₂`, `intervalEndTime`."""
    text = name.translate(str.maketrans("₂⁻¹µ", "2-1u")).replace("CO2-e", "CO2e").replace("·", " ")
    text = re.sub(r"([kKmMgG])[wW][hH](?![a-z])", lambda unit: f" {unit[1]}wh".lower(), text)
    text = re.sub(r"\bm[tT](?=CO2)|\bmT\b", "t", text)
    text = re.sub(
        r"(?<=[a-z])(?=[A-Z])(?<!\bg)(?<!\bkg)(?<!\bt)(?<!\blb)(?<!\blbs)|(?<=[A-Z])(?=[A-Z][a-z]{2})", " ", text
    )
    text = re.sub(r"[\s_.\-:|,;()\[\]{}<>\"'^*]+", " ", text.lower()).strip()
    text = re.sub(r"(?<![a-z])((?:g|kg|t|mt|lbs?)(?:co2(?:e|eq)?)?|co2(?:e|eq)?)per(?= [km]wh)", r"\1 per", text)
    return re.sub(r"(?<![a-z])(g|kg|t|mt|lbs?)(?=co2)", r"\1 ", text).replace("grid intensity", "carbon intensity")


@cache
def words(name: str) -> tuple[str, ...]:
    """The words of a column's name, in lower case: `INTERVALENDTIME_GMT` has interval, end, time and gmt."""
    found: list[str] = []
    for word in re.findall(r"[a-z0-9]+|%", plain(name)):
        parts = _PART.findall(word) if _COMPOUND.fullmatch(word) else [word]
        found += (part for one in parts for part in _SPLIT.get(one, (one,)))
    return tuple(found)


def says(name: str, phrase: str) -> bool:
    """Whether the words of `phrase` follow one another in the name."""
    own, wanted = words(name), words(phrase)
    return any(own[at : at + len(wanted)] == wanted for at in range(len(own) - len(wanted) + 1))


def says_any(name: str, *phrases: str) -> bool:
    """Whether the name contains one of these phrases."""
    return any(says(name, phrase) for phrase in phrases)


def unit_of(text: str) -> str | None:
    """The unit of carbon intensity that a name or a cell states (one of `G_PER_KWH`), or None: a mass of gas per
    energy, not a price or a load.
    """
    spoken = plain(text)
    found = _UNIT.search(spoken)
    rest = "" if found is None else spoken[: found.start()] + " " + spoken[found.end() :]
    if found is None or _PRICE.search(rest) or _OTHER_GAS.search(spoken):
        return None
    mass = (
        "t" if found[1].startswith("metric") else "lb" if found[1].startswith(("pound", "lb")) else _MASSES[found[1][0]]
    )
    mass = "kg" if found[1].startswith("kilo") else mass
    return f"{mass}/{'kWh' if found[2].startswith('k') else 'MWh'}"


def other_unit(text: str) -> bool:
    """Whether the name states a unit other than of carbon intensity: energy, power, money, a percentage."""
    spoken = plain(text)
    power = re.search(r"(?<![a-z])(?:[kmg]w|mmbtu|mj|gj)(?![a-z])|%", spoken)
    states = _ENERGY.search(spoken) or _PRICE.search(spoken) or _OTHER_GAS.search(spoken) or power
    return bool(states) and unit_of(text) is None


def clock_of_name(name: str) -> str | None:
    """The time zone in a column's name: `UTC`, a fixed zone as in `Time (UTC+2)`, `local` if no zone is stated, or
    None.
    """
    if shift := re.search(r"(?i)(?:utc|gmt) ?([+-]) ?(\d{1,2})(?::?([0-5]\d))?(?!\d)", name):
        hours, minutes = int(shift[2]), int(shift[3] or 0)
        if (hours, minutes) == (0, 0):
            return "UTC"
        return "local" if minutes or hours > 12 else f"Etc/GMT{'-' if shift[1] == '+' else '+'}{hours}"
    own = set(words(name))
    return "UTC" if own & UTC else "local" if own & LOCAL else None
