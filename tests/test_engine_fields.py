"""Fields of the speed model and of KV memory: their defaults, and one line for each that does not fit the others."""

from __future__ import annotations

from typing import Any

import pytest

from caps_fast import preset
from caps_fast.errors import InputError
from caps_fast.fleet import lengthen
from caps_fast.scenario import Scenario, build

GROW = {"kv": "grow"}
BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"overhead_s": 0.05}, r"overhead_s 0\.05: expected at most decode_base_s = 0\.04, which it is part of"),
    ({"overhead_s": -0.01}, r"overhead_s -0\.01"),
    ({"overlap_exponent": 0.5}, r"overlap_exponent 0\.5"),
    ({"lag_iterations": 2}, r"lag_iterations 2"),
    ({"prefill_w": 99.0}, r"prefill_w 99: expected at least idle_w = 100"),
    ({"peak_w": 99.0}, r"peak_w 99: expected at least idle_w = 100"),
    ({"kv": "shrink"}, r"kv 'shrink'.*'reserve' or 'grow'"),
    ({"kv_block_tokens": 12}, r"kv_block_tokens 12: expected a power of two"),
    ({"kv_block_tokens": 2048}, r"kv_block_tokens 2048"),
    (GROW, r"kv_capacity_tokens is missing: with kv 'grow', expected at least kv_block_tokens = 16"),
    (
        GROW | {"kv_capacity_tokens": 15},
        r"kv_capacity_tokens 15: with kv 'grow', expected at least kv_block_tokens = 16",
    ),
)
GOOD: tuple[dict[str, Any], ...] = (
    {"overhead_s": 0.04, "overlap_exponent": 1e6, "prefill_w": 100.0, "lag_iterations": 1},
    GROW | {"kv_capacity_tokens": 16},
    GROW | {"kv_capacity_tokens": 1, "kv_block_tokens": 1},
    {"kv_capacity_tokens": 15, "kv_block_tokens": 1024},  # blocks say nothing where memory is reserved
)
LIMITS = ("kv", "kv_block_tokens", "kv_capacity_tokens")


def short(changes: dict[str, Any]) -> Scenario:
    own = {"decode_base_s": 0.04, "idle_w": 100.0, "peak_w": 400.0} | changes
    return preset("paper").replace(
        {f"{'cluster' if name in LIMITS else 'gpu'}.{name}": value for name, value in own.items()}
    )


def long(changes: dict[str, Any]) -> Scenario:
    data = lengthen(short({}).model_dump(mode="json"), "fleet")
    data["gpus"]["gpu"] |= changes
    return build(data, "long")


@pytest.mark.parametrize("form", [short, long])
@pytest.mark.parametrize(("changes", "line"), BAD)
def test_what_does_not_fit_is_rejected_in_a_line(form: Any, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as rejected:
        form(changes)
    assert "\n" not in str(rejected.value)


@pytest.mark.parametrize("form", [short, long])
@pytest.mark.parametrize("changes", GOOD)
def test_what_fits_reaches_the_kind(form: Any, changes: dict[str, Any]) -> None:
    kind = form(changes).fleet.only_kind
    assert {name: getattr(kind, name) for name in changes} == changes


def test_nothing_is_on_by_default() -> None:
    kind = preset("paper").fleet.only_kind
    assert (kind.overhead_s, kind.overlap_exponent, kind.mixed_s_per_context_token, kind.prefill_s_per_token_pair) == (
        0,
        1,
        0,
        0,
    )
    assert (kind.first_token_overhead_s, kind.lag_iterations, kind.prefill_w, kind.kv, kind.kv_block_tokens) == (
        0,
        0,
        None,
        "reserve",
        16,
    )
