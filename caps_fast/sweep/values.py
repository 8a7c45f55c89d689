"""Values of an axis from text: numbers and words, ranges, log ranges, lists."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from caps_fast.documents import parse_json
from caps_fast.errors import InputError

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"({NUMBER}|)\.\.({NUMBER}|)(?::(.*))?")
EXPECTED = "expected a..b, a..b:step or a..b:logN (N values, evenly spaced in the logarithm)"
COUNT = re.compile(r"[0-9]{1,9}")
MOST = 10_000_000  # values of one axis
MAGNITUDES = 300  # powers of ten, up or down, of a range's numbers


def values(raw: Any, origin: str) -> Sequence[Any]:
    """The values of an axis, in order, each once.

    `raw` is a list (whose texts may be ranges), one value, or text: values and ranges separated by commas, `4,8`
    or `2..16` or `0..2:0.25,3`, or JSON values, `[0.5,0.3,0.2],[1,0,0]`. Ranges include both ends if the step meets the
    upper one. Raises InputError naming `origin`.
    """
    if isinstance(raw, str):
        raw = _split(raw, origin)
    elif not isinstance(raw, list | tuple):
        raw = [raw]
    parts = [span(item, origin) if isinstance(item, str) and RANGE.fullmatch(item.strip()) else [item] for item in raw]
    if len(parts) == 1:
        return parts[0]
    found = [value for part in parts for value in part]
    if not found:
        raise InputError(f"{origin}: no values; expected at least one")
    seen = set()
    for value in found:
        key = json.dumps(float(value) if isinstance(value, int) and not isinstance(value, bool) else value, default=str)
        if key in seen:
            raise InputError(f"{origin}: {value} appears twice; expected every value once")
        seen.add(key)
    return found


def span(text: str, origin: str) -> Sequence[int | float]:
    """The numbers of a range, computed in decimals: `0..2:0.1` holds 0.3, not 0.30000000000000004.

    Raises InputError.
    """
    match = RANGE.fullmatch(text.strip())
    if not match or not match[1] or not match[2] or "..." in text:
        raise InputError(f"{origin}: {text!r}: {EXPECTED}")
    first, last, step = _decimal(match[1], origin), _decimal(match[2], origin), match[3]
    if first > last:
        raise InputError(f"{origin}: {text!r} runs backwards: {EXPECTED}, with a <= b")
    if step is not None and step.startswith("log"):
        return _log_span(float(first), float(last), step[3:], text, origin)
    if step is not None and not re.fullmatch(NUMBER, step):
        raise InputError(f"{origin}: {text!r}: step {step!r} is not a number; {EXPECTED}")
    by = _decimal(step, origin) if step is not None else Decimal(1)
    if by <= 0:
        raise InputError(f"{origin}: {text!r}: step {by} is not positive; expected a step above 0")
    if (last - first) / by >= MOST:
        raise InputError(f"{origin}: {text!r}: over {MOST:,} values; expected fewer")
    count = int((last - first) / by) + 1
    if all(number == number.to_integral_value() for number in (first, by)):
        return range(int(first), int(first) + count * int(by), int(by))
    return [float(first + index * by) for index in range(count)]


def scalar(text: str) -> Any:
    """A number, true, false, none, or else the text itself."""
    text = text.strip()
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if text.lower() == "none":
        return None
    if re.fullmatch(rf"[-+]?\d{{1,{MAGNITUDES}}}", text):
        return int(text)
    return float(text) if re.fullmatch(NUMBER, text) else text


def _split(text: str, origin: str) -> list[Any]:
    if "[" in text or '"' in text:
        try:
            return list(parse_json(f"[{text}]"))
        except ValueError:
            raise InputError(f"{origin}: {text[:100]!r}: expected JSON values separated by commas") from None
    parts = [part.strip() for part in text.split(",")]
    if "" in parts:
        raise InputError(f"{origin}: {text!r}: an empty value; expected values or ranges separated by commas")
    return [part if RANGE.fullmatch(part) else scalar(part) for part in parts]


def _decimal(text: str, origin: str) -> Decimal:
    try:
        number = Decimal(text)
        if abs(number.adjusted()) <= MAGNITUDES:
            return number
    except ArithmeticError:
        pass
    raise InputError(f"{origin}: {text}: expected a number between 1e-{MAGNITUDES} and 1e{MAGNITUDES}")


def _log_span(first: float, last: float, count: str, text: str, origin: str) -> list[float]:
    if not COUNT.fullmatch(count) or not 2 <= int(count) <= MOST or first <= 0:
        raise InputError(f"{origin}: {text!r}: {EXPECTED}, with a > 0 and N from 2")
    ratio = math.log(last / first) / (int(count) - 1)
    inner = [float(f"{first * math.exp(ratio * index):.12g}") for index in range(1, int(count) - 1)]
    return [first, *inner, last]
