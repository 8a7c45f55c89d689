"""Readers of API answers saved as JSON; each converts one document, or a list of them, to the canonical schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from caps_fast.carbon.frame import SCHEMA, UNKNOWN, finish, number_rows, parse_times, parse_values
from caps_fast.errors import InputError
from caps_fast.instants import INSTANT
from caps_fast.words import G_PER_KWH, unit_of

if TYPE_CHECKING:
    from caps_fast.carbon.declared import Declared

FIRST_ITEM = 1
SCOPE_OF = {"direct": "direct", "lifecycle": "lifecycle", None: UNKNOWN}
SIGNALS = {"co2_moer": "marginal", "co2_aoer": "average"}
WATTTIME_UNIT = "lbs_co2_per_mwh"
LATEST = "carbonIntensity"  # an answer that is an item itself

Items = list[dict[str, Any]]


def detect_json(documents: list[Any], path: str) -> str:
    """The name of the JSON format of the first document. Raises InputError for an unknown format."""
    first = documents[0] if documents else None
    if isinstance(first, dict):
        if "meta" in first and "data" in first:
            return "watttime"
        items = next(
            (first[key] for key in ("history", "forecast", "data") if isinstance(first.get(key), list)), [first]
        )
        keys = set(items[0]) if items and isinstance(items[0], dict) else set()
        if "carbonIntensity" in keys or {"zone", "history"} <= set(first) or {"zone", "forecast"} <= set(first):
            return "electricitymaps-json"
        if {"from", "intensity"} <= keys:
            return "uk"
    raise InputError(
        f"{path}: JSON in no known carbon format; expected an answer of Electricity Maps, WattTime v3 or UK Carbon "
        "Intensity"
    )


def read_electricitymaps(documents: list[Any], path: str, declared: Declared) -> pl.DataFrame:
    """Electricity Maps' API answers: `history`, `data` (past range), `forecast` (issued at its `updatedAt`), or
    single latest ones.
    """
    rows: list[tuple[Any, ...]] = []
    estimated = 0
    for document in _objects(documents, path):
        zone = _zone(document, "zone", declared, path)
        _expect_grams(document, path)
        for key in ("history", "data", "forecast", LATEST):
            issued = _text(document, "updatedAt", path) if key == "forecast" and key in document else None
            for item in [document] if key == LATEST and key in document else _items(document, key, path):
                estimated += item.get("isEstimated") is True
                scope = item.get("emissionFactorType", document.get("emissionFactorType"))
                if scope not in list(SCOPE_OF):  # not in the dict: JSON has values without a hash
                    raise InputError(
                        f"{path}: row {len(rows) + 1}, emissionFactorType: {_shown(scope)}; expected direct or "
                        "lifecycle"
                    )
                rows.append(
                    (zone, issued, item.get("datetime"), item.get("carbonIntensity"), "average", SCOPE_OF[scope])
                )
    if estimated:
        declared.notes.append(f"{path}: {estimated:,} of {len(rows):,} samples are estimated (isEstimated)")
    return _frame(rows, path, 1.0)


def read_watttime(documents: list[Any], path: str, declared: Declared) -> pl.DataFrame:
    """WattTime v3 answers, historical or forecast, in pounds per MWh: `co2_moer` is marginal, `co2_aoer` average,
    both direct (at the plant).
    """
    rows: list[tuple[Any, ...]] = []
    for document in _objects(documents, path):
        meta = document.get("meta")
        if not isinstance(meta, dict):
            raise InputError(f"{path}: meta {meta!r}; expected an object with region, signal_type and units")
        signal, units = meta.get("signal_type"), meta.get("units")
        if signal not in list(SIGNALS):
            raise InputError(f"{path}: signal_type {_shown(signal)}; expected {' or '.join(SIGNALS)}")
        if units != WATTTIME_UNIT:
            raise InputError(f"{path}: units {units!r}; expected {WATTTIME_UNIT}")
        region = _zone(meta, "region", declared, path)
        for issued, item in _watttime_items(document, meta, path):
            rows.append((region, issued, item.get("point_time"), item.get("value"), SIGNALS[signal], "direct"))
    return _frame(rows, path, G_PER_KWH["lb/MWh"])


def _watttime_items(
    document: dict[str, Any], meta: dict[str, Any], path: str
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Items and their issue times: `generated_at` next to a nested `forecast`, or in `meta` if no value is for an
    earlier time.
    """
    items = _items(document, "data", path)
    generated = _text(meta, "generated_at", path) if "generated_at" in meta else None
    if generated is not None and items and "point_time" in items[0]:
        times, _ = parse_times(pl.Series([_text(items[0], "point_time", path), generated]), path, "time", FIRST_ITEM)
        generated = generated if times[0] >= times[1] else None
    for item in items:
        if "forecast" in item:
            issued = _text(item, "generated_at", path)
            yield from ((issued, nested) for nested in _items(item, "forecast", path))
        else:
            yield generated, item


def read_uk(documents: list[Any], path: str, declared: Declared) -> pl.DataFrame:
    """UK Carbon Intensity, half-hourly: `actual` is observed; where it is null, `forecast` counts as issued when
    the first such period ends.

    The file does not state when a forecast was made; this rule never shows one too early. Forecasts of periods with an
    actual value are dropped.
    """
    items = [item for document in _objects(documents, path) for item in (_items(document, "data", path) or [document])]
    rows: list[tuple[Any, ...]] = []
    pending_since: str | None = None
    for item in items:
        intensity = item.get("intensity")
        if not isinstance(intensity, dict):
            raise InputError(f"{path}: intensity {intensity!r}; expected an object with forecast and actual")
        actual = intensity.get("actual")
        pending_since = pending_since if pending_since is not None or actual is not None else _text(item, "to", path)
        rows.append(
            (
                declared.zone or "GB",
                pending_since if actual is None else None,
                item.get("from"),
                intensity.get("forecast") if actual is None else actual,
                "average",
                "direct",
            )
        )
    return _frame(rows, path, 1.0)


def _objects(documents: list[Any], path: str) -> list[dict[str, Any]]:
    for number, document in enumerate(documents, FIRST_ITEM):
        if not isinstance(document, dict):
            raise InputError(f"{path}: document {number} is {str(document)[:40]!r}; expected an object")
    return documents


def _expect_grams(document: dict[str, Any], path: str) -> None:
    """Raise InputError if an answer of Electricity Maps states a unit other than g/kWh."""
    for key in ("unit", "units"):
        if key in document and unit_of(str(document[key])) not in ("g/kWh", "kg/MWh"):
            raise InputError(f"{path}: {key} {_shown(document[key])}; expected gCO2eq/kWh")


def _items(document: dict[str, Any], key: str, path: str) -> Items:
    items = document.get(key, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(f"{path}: {key} is not a list of objects; expected one")
    return items


def _text(document: dict[str, Any], key: str, path: str) -> str:
    value = document.get(key)
    if not _is_ascii(value):
        raise InputError(f"{path}: {key} {_shown(value)}; expected a time")
    return str(value)


def _zone(document: dict[str, Any], key: str, declared: Declared, path: str) -> str:
    zone = document.get(key, declared.zone or UNKNOWN)
    if not (isinstance(zone, str) and zone.isprintable()):
        raise InputError(f"{path}: {key} {_shown(zone)}; expected a name")
    return zone


def _is_ascii(value: Any) -> bool:
    return isinstance(value, str) and value.isascii()


def _shown(value: Any) -> str:
    return repr(value)[:60]


def _frame(rows: list[tuple[Any, ...]], path: str, factor: float) -> pl.DataFrame:
    """Canonical frame from rows in the schema's order; messages count items from 1 over the whole file."""
    if not rows:
        raise InputError(f"{path}: no items; expected carbon data")
    for number, (_, _, valid_at, value, _, _) in enumerate(rows, FIRST_ITEM):
        if not _is_ascii(valid_at):
            raise InputError(f"{path}: row {number}, time: {_shown(valid_at)}; expected a time like 2024-08-05T06:00Z")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"{path}: row {number}, value: {str(value)[:40]!r}; expected a number")
    zone, issued, valid_at, values, kind, scope = zip(*rows, strict=True)
    numbers = pl.Series([None if value is None else _float(value) for value in values], dtype=pl.Float64)
    frame = pl.DataFrame({"zone": zone, "kind": kind, "scope": scope}).with_columns(
        parse_times(pl.Series(valid_at), path, "time", FIRST_ITEM)[0],
        parse_values(numbers, path, "value", FIRST_ITEM, factor),
        issued_at=_issue_times(issued, path),
    )
    return finish(number_rows(frame.select(*SCHEMA), FIRST_ITEM), path)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _issue_times(issued: tuple[str | None, ...], path: str) -> pl.Series:
    stated = sorted({time for time in issued if time is not None})
    times = parse_times(pl.Series(stated, dtype=pl.String), path, "issue time", FIRST_ITEM)[0]
    known = dict(zip(stated, times, strict=True))
    return pl.Series([None if time is None else known[time] for time in issued], dtype=INSTANT)


JSON_READERS: dict[str, Callable[..., pl.DataFrame]] = {
    "electricitymaps-json": read_electricitymaps,
    "watttime": read_watttime,
    "uk": read_uk,
}
