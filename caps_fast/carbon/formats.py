"""Carbon files of all formats, read into the schema of `frame`.

`formats_csv` and `formats_json` hold one reader per format.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from caps_fast.carbon.declared import Declared
from caps_fast.carbon.files import decode, read_bytes, read_table
from caps_fast.carbon.formats_csv import CSV_READERS, detect_csv, read_common
from caps_fast.carbon.formats_json import JSON_READERS, detect_json
from caps_fast.carbon.frame import SCHEMA, UNKNOWN, Selected
from caps_fast.documents import parse_json
from caps_fast.errors import InputError, did_you_mean

PARQUET_MAGIC = b"PAR1"
FORMATS = (*CSV_READERS, *JSON_READERS)
STATES_UNIT = ("common", *JSON_READERS)
CLEAN_FOR, CLEAN_G_PER_KWH = timedelta(days=7), 5.0  # no grid is that clean for that long


def read_carbon(
    path: str | Path,
    format: str | None = None,
    zone: str | None = None,
    unit: str | None = None,
    kind: str | None = None,
    scope: str | None = None,
    **more: Any,
) -> pl.DataFrame:
    """Read a carbon file into one frame, sorted by zone, kind, scope, issue time and time.

    path    a file in one of `FORMATS`, plain, gzip or Zstandard
    format  one of `FORMATS`; None = detect from the content
    zone    zone to use; None = all zones of the file
    unit    one of `words.G_PER_KWH`, such as `kg/MWh`, if the file does not state it
    kind    average or marginal: selects rows, or declares them if the file does not state it (then default average)
    scope   direct or lifecycle: likewise (then default unknown)
    more    columns, time_zone, time_format, interval: see `Declared`

    Returns a Polars frame with the columns `zone` (text), `issued_at` and `valid_at` (UTC, microseconds; `issued_at` is
    null for observed values), `g_per_kwh` (float64, g CO2e/kWh), `kind` and `scope` (text). Samples without a value are
    left out (`find_gaps` lists them). Raises InputError naming file, row, column, value and what was expected.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from caps_fast import read_carbon
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "grid.csv")
    ...     _ = file.write_text("time,carbon_intensity\\n2024-08-05T00:00Z,310\\n2024-08-05T01:00Z,295\\n")
    ...     frame = read_carbon(file, unit="g/kWh")
    >>> frame["g_per_kwh"].to_list(), frame["kind"][0], frame["scope"][0]
    ([310.0, 295.0], 'average', 'unknown')
    """
    return read_with_notes(path, format, Declared(zone, unit, kind, scope, **more)).frame


def read_with_notes(path: str | Path, format: str | None, declared: Declared) -> Selected:
    """As `read_carbon`, with lines for the user: what was assumed, and what is implausible."""
    path = str(path)
    if format is not None and format not in FORMATS:
        raise InputError(f"format {format!r}{did_you_mean(format, FORMATS)}: expected one of {', '.join(FORMATS)}")
    content = read_bytes(path)
    is_parquet = content.startswith(PARQUET_MAGIC)
    frame = (
        _read_parquet(content, path, format)
        if is_parquet
        else _read_text(decode(content, path), path, format, declared)
    )
    frame = _select(frame, path, zone=declared.zone, kind=declared.kind, scope=declared.scope)
    return Selected(frame, (*dict.fromkeys(declared.notes), *doubts(frame, path, datetime.now(UTC))))


def doubts(frame: pl.DataFrame, path: str, now: datetime) -> Iterator[str]:
    """What is implausible about a canonical frame."""
    observed = frame.filter(pl.col("issued_at").is_null())
    first, last, highest = (observed["valid_at"].min(), observed["valid_at"].max(), observed["g_per_kwh"].max())
    if not (isinstance(first, datetime) and isinstance(last, datetime) and isinstance(highest, float)):
        return
    if last - first >= CLEAN_FOR and highest < CLEAN_G_PER_KWH:
        yield (
            f"{path}: no intensity reaches {CLEAN_G_PER_KWH:g} g/kWh in {(last - first).days:,} days; is the unit "
            "right?"
        )
    if last > now:
        yield f"{path}: observed values are dated in the future, up to {last:%Y-%m-%d %H:%M} UTC"


def _read_text(text: str, path: str, format: str | None, declared: Declared) -> pl.DataFrame:
    if text.lstrip()[0] in "{[":
        documents = _read_json(text, path)
        readers: dict[str, Callable[..., pl.DataFrame]] = dict(JSON_READERS)
        source: Any = documents
        name = format or detect_json(documents, path)
    else:
        table = read_table(text, path)
        readers, source, name = dict(CSV_READERS), table, format or detect_csv(table)
    if name not in readers:
        raise InputError(f"{path}: format {name!r} does not fit the file's content; expected {' or '.join(readers)}")
    if declared.unit is not None and name in STATES_UNIT:
        raise InputError(
            f"unit {declared.unit!r}: {path} is in the format {name}, which states its own unit; expected no unit"
        )
    return readers[name](source, path, declared)


def _read_json(text: str, path: str) -> list[Any]:
    try:
        data = parse_json(text, _whole_number)
    except ValueError as error:
        if documents := _read_lines(text):
            return documents
        raise InputError(f"{path}: not JSON or truncated ({error}); expected a whole JSON document") from None
    return data if isinstance(data, list) else [data]


def _read_lines(text: str) -> list[Any]:
    """One answer per line; None if a line is not an answer."""
    try:
        return [parse_json(line, _whole_number) for line in text.splitlines() if line.strip()]
    except ValueError:
        return []


def _whole_number(digits: str) -> float:
    """Python does not parse an int of very many digits; as a float it is infinite, which is rejected with its row."""
    return int(digits) if len(digits) < 20 else float(digits)


def _read_parquet(content: bytes, path: str, format: str | None) -> pl.DataFrame:
    if format not in (None, "common"):
        raise InputError(f"{path}: format {format!r} does not fit a Parquet file; expected common")
    from caps_fast.parquet_check import Damaged, check_parquet  # noqa: PLC0415 (needed for Parquet alone)
    from caps_fast.polars_io import first_line  # noqa: PLC0415

    try:
        check_parquet(content)
        frame = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, Damaged) as error:
        raise InputError(f"{path}: damaged ({first_line(error)}); expected a whole Parquet file") from None
    missing = [name for name in SCHEMA if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; expected {', '.join(SCHEMA)}")
    return read_common(frame.select(*SCHEMA), path)


def _select(frame: pl.DataFrame, path: str, **wanted: str | None) -> pl.DataFrame:
    for column, value in wanted.items():
        if value is None:
            continue
        stated = frame[column].unique().sort().to_list()
        if stated == [UNKNOWN]:
            frame = frame.with_columns(pl.lit(value).alias(column))
        elif value in stated:
            frame = frame.filter(pl.col(column) == value)
        else:
            raise InputError(f"{path}: {column} {value!r} is not in the file; expected one of {', '.join(stated[:8])}")
    return frame
