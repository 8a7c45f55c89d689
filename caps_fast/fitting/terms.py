"""The unknowns of a fit: their meaning, their expected values before any data, and the fields that they determine.

Speeds differ between machines by orders of magnitude, but their ratios do not: a token of a prompt and a decoded token
pass the same layers, attention costs a fixed share of them, a step with a prompt reads context about twice. The
expectations below are such ratios, measured on the engines of docs/validation.md. Each counts as one measurement with
standard deviation `spread`: if the data determine a term, they dominate; otherwise the term keeps its expected value,
and the fit reports that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from caps_fast.records import Array

SPEED = (
    "prefill_s_per_token",
    "decode_base_s",
    "decode_s_per_seq",
    "decode_s_per_context_token",
    "overhead_s",
    "overlap_exponent",
    "mixed_s_per_context_token",
    "prefill_s_per_token_pair",
    "first_token_overhead_s",
)


@dataclass(frozen=True)
class Term:
    """An unknown of the fit, in the unit of its name in `fields_of`.

    field      the field of a kind of replica that it determines
    expected   its value before any data, with standard deviation `spread`; nan = no expectation
    low, high  its bounds
    step       step of derivatives
    log        whether it is the logarithm of a time
    """

    name: str
    field: str
    expected: float
    spread: float
    low: float
    high: float
    step: float = 0.02
    log: bool = False


TERMS = (
    Term("weights", "decode_base_s", math.nan, math.nan, math.log(1e-5), math.log(10.0), 0.03, log=True),
    Term("prompt", "prefill_s_per_token", math.nan, math.nan, math.log(1e-9), 0.0, 0.03, log=True),
    Term(
        "context", "decode_s_per_context_token", math.log(7e-6), 1.5, math.log(1e-12), math.log(1e-3), 0.1, log=True
    ),  # of weights
    Term("overhead", "overhead_s", 0.15, 0.15, 0.0, 3.0, 0.03),  # of weights
    Term("decoding", "decode_s_per_seq", 1.0, 0.5, 0.0, 100.0, 0.15),  # of a prompt token
    Term("softness", "overlap_exponent", 0.25, 0.15, 0.01, 1.0, 0.05),  # 1 / p
    Term("mixed", "mixed_s_per_context_token", 0.8, 0.6, 0.0, 50.0, 0.2),  # of context
    Term("pairs", "prefill_s_per_token_pair", 0.42, 0.2, 0.0, 50.0, 0.1),  # of a prompt token, 1e-4
    Term("outside", "first_token_overhead_s", math.nan, math.nan, 0.0, 10.0, 2e-3),
)
PAIRS_UNIT = 1e-4
MOST_S = 0.01  # a token of context, or a pair of tokens
NAMES = tuple(term.name for term in TERMS)
EXPECTED_LAG = 1  # vLLM schedules asynchronously by default


def fields_of(x: Array, fixed: Mapping[str, float], cpu_s: float = 0.0) -> dict[str, float]:
    """Fields of a kind of replica from unknowns, float64 (terms,), and CPU time; `fixed` ones keep their values."""
    value = dict(zip(NAMES, x.tolist(), strict=True))
    weights_s, prompt_s = math.exp(value["weights"]), math.exp(value["prompt"])
    prompt_s = fixed.get("prefill_s_per_token", prompt_s)
    overhead_s = fixed.get("overhead_s", cpu_s + value["overhead"] * weights_s)
    base_s = fixed.get("decode_base_s", weights_s + overhead_s)
    context_s = fixed.get("decode_s_per_context_token", math.exp(value["context"]) * weights_s)
    found = {
        "prefill_s_per_token": prompt_s,
        "decode_base_s": base_s,
        "decode_s_per_seq": value["decoding"] * prompt_s,
        "decode_s_per_context_token": context_s,
        "overhead_s": min(overhead_s, base_s),
        "overlap_exponent": 1.0 / value["softness"],
        "mixed_s_per_context_token": min(value["mixed"] * context_s, MOST_S),
        "prefill_s_per_token_pair": min(value["pairs"] * PAIRS_UNIT * prompt_s, MOST_S),
        "first_token_overhead_s": value["outside"],
    }
    return found | {name: given for name, given in fixed.items() if name in found}


def start_of(least_step_s: float, prompt_s: float) -> Array:
    """Initial unknowns: the shortest step, and an estimate of the seconds per prompt token."""
    value = {term.name: term.expected for term in TERMS}
    value |= {"weights": math.log(0.85 * least_step_s), "prompt": math.log(prompt_s), "outside": 0.0}
    return np.asarray(np.clip(np.array([value[name] for name in NAMES]), lower(), upper()))


def lower() -> Array:
    """Least values of the unknowns, float64 (terms,)."""
    return np.array([term.low for term in TERMS])


def upper() -> Array:
    """Largest values of the unknowns, float64 (terms,)."""
    return np.array([term.high for term in TERMS])
