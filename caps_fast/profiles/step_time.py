"""The seconds of iterations in tables of steps (docs/model.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from caps_fast.profiles.step_tables import Steps
from caps_fast.records import Array


def step_s(fields: Mapping[str, float], steps: Steps) -> Array:
    """Seconds of every step, float64 (n,), under these fields of a kind of replica (all of `SPEED`)."""
    memory_s = fields["decode_base_s"] - fields["overhead_s"]
    compute_s = fields["decode_s_per_seq"] * steps.decoding + fields["prefill_s_per_token"] * steps.prompt_tokens
    per_token_s = fields["decode_s_per_context_token"] + fields["mixed_s_per_context_token"] * (steps.prompt_tokens > 0)
    rest_s = per_token_s * steps.context_tokens + fields["prefill_s_per_token_pair"] * steps.pairs
    return fields["overhead_s"] + power_mean(memory_s, compute_s, fields["overlap_exponent"]) + rest_s


def power_mean(memory_s: float | Array, compute_s: Array, exponent: float) -> Array:
    """(memory^p + compute^p)^(1/p): the sum at p = 1, close to the larger at large p."""
    larger, smaller = np.maximum(memory_s, compute_s), np.minimum(memory_s, compute_s)
    ratio = np.divide(smaller, larger, out=np.zeros_like(larger), where=larger > 0)
    return np.asarray(larger * (1.0 + ratio**exponent) ** (1.0 / exponent))
