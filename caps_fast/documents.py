"""Untrusted documents read within limits: JSON and TOML as data, archives of arrays.

Beyond a limit a ValueError says why.
"""

from __future__ import annotations

import json
import re
import tomllib
import zipfile
from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np

from caps_fast.errors import InputError
from caps_fast.files import open_regular
from caps_fast.records import Array

DEEPEST = 32  # levels of lists and tables
MOST_TOML_BYTES, MOST_JSON_BYTES = 1 << 20, 1 << 28
MOST_KEY_PARTS = 16  # of a dotted key: the time and memory of `tomllib` grow with their square
_KEY_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_KEY_PART}[ \t]*+\.[ \t]*+){{{MOST_KEY_PARTS}}}")


def read_bytes(path: str | Path, most: int) -> bytes:
    """A regular file's content. Raises ValueError if it is larger than the limit, and OSError."""
    with open_regular(path) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"larger than {most:,} bytes")
    return content


def read_json(path: str | Path) -> Any:
    """The data of a JSON file. Raises ValueError and OSError."""
    return parse_json(read_bytes(path, MOST_JSON_BYTES))


def parse_json(text: str | bytes, parse_int: Callable[[str], Any] | None = None) -> Any:
    """The data of a JSON document. Raises ValueError if it is not JSON or nested too deep."""
    try:
        data = json.loads(text, parse_int=parse_int)
    except RecursionError:
        raise ValueError("nested too deep") from None
    _expect_shallow(data)
    return data


def read_toml(path: str | Path, expected: str) -> dict[str, Any]:
    """The data of a TOML file.

    Raises InputError with what was `expected` if it cannot be read or is not TOML.
    """
    try:
        return parse_toml(read_bytes(path, MOST_TOML_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {expected} in TOML") from None
    except ValueError as error:
        raise InputError(f"{path}: not TOML: {error}; expected {expected}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The data of a TOML document, dates as text.

    Raises ValueError if it is not TOML, nested too deep, or has numbers beyond 64 bits.
    """
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.start()) + 1
        raise ValueError(f"line {line}: a key of more than {MOST_KEY_PARTS} parts")
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise ValueError("a number of too many digits") from None
    for value in _expect_shallow(data):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("a whole number of more than 64 bits")
    return {key: _without_dates(value) for key, value in data.items()}


def read_arrays(path: str | Path, most: int) -> dict[str, Array]:
    """The arrays of an archive (npz), without pickles.

    Raises ValueError if they would take more bytes than the limit, OSError, and almost anything for damaged bytes.
    """
    with open_regular(path) as stream:
        with zipfile.ZipFile(stream) as archive:
            if sum(member.file_size for member in archive.infolist()) > most:
                raise ValueError(f"arrays of more than {most:,} bytes")
        stream.seek(0)
        found = np.load(stream, allow_pickle=False)
        return {name: found[name] for name in found.files}


def _without_dates(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_dates(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_dates(one) for one in value]
    return value.isoformat() if isinstance(value, date | time) else value


def _expect_shallow(data: Any) -> list[Any]:
    """All values that are neither lists nor tables. Raises ValueError if there are more than `DEEPEST` levels."""
    leaves: list[Any] = []
    level = [data]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            else:
                leaves.append(value)
        if not below:
            return leaves
        level = below
    raise ValueError("nested too deep")
