"""GPUs by their data sheets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from caps_fast.documents import parse_toml
from caps_fast.errors import InputError, did_you_mean


@dataclass(frozen=True)
class DataSheet:
    """A GPU by its data sheet: bytes, bytes/s, dense FLOP/s, bytes/s to the next GPU in one direction, watts of the
    board.
    """

    name: str
    memory_bytes: float
    bandwidth: float
    bf16_flops: float
    fp8_flops: float | None
    link: float
    board_w: float | None


@cache
def data_sheets() -> dict[str, DataSheet]:
    """The known GPUs by name."""
    table = parse_toml(
        files(__package__ or "caps_fast.estimate").joinpath("datasheets.toml").read_text(encoding="utf-8")
    )
    return {
        name: DataSheet(
            name=name,
            memory_bytes=row["memory_gb"] * 2.0**30,
            bandwidth=row["bandwidth_gb_s"] * 1e9,
            bf16_flops=row["bf16_tflops"] * 1e12,
            fp8_flops=row["fp8_tflops"] * 1e12 if "fp8_tflops" in row else None,
            board_w=float(row["board_w"]),
            link=row["link_gb_s"] * 1e9,
        )
        for name, row in table.items()
    }


def data_sheet(name: str) -> DataSheet:
    """The GPU of that name. Raises InputError for an unknown name."""
    found = data_sheets().get(name.lower())
    if found is None:
        known = data_sheets()
        expected = f"{', '.join(known)}, or --bandwidth, --flops and --memory"
        raise InputError(f"--gpu {name!r}{did_you_mean(name, known)}: expected one of {expected}")
    return found


UNITS = {
    "": 1.0,
    "gb": 2.0**30,
    "gib": 2.0**30,
    "gb/s": 1e9,
    "tb/s": 1e12,
    "tflops": 1e12,
    "tflop/s": 1e12,
    "pflops": 1e15,
    "pflop/s": 1e15,
}
LEAST = 1e8  # bytes, bytes/s and FLOP/s: a smaller number lacks its unit
_AMOUNT = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?) *([a-z/]*)", re.IGNORECASE)


def amount(option: str, text: str, example: str) -> float:
    """A number with its unit, in bytes, bytes/s or FLOP/s. Raises InputError naming the option."""
    found = _AMOUNT.fullmatch(text.strip())
    unit = found[2].lower() if found else ""
    kinds = {
        name
        for name in UNITS
        if name == "" or name.endswith("/s") == ("/s" in example) or ("flop" in name and "FLOP" in example)
    }
    try:
        value = float(found[1]) * UNITS[unit] if found and unit in kinds else 0.0
    except ValueError:
        value = 0.0
    if not LEAST <= value <= 1e18:
        raise InputError(f"{option} {text!r}: expected a number with its unit, like {example}")
    return value
