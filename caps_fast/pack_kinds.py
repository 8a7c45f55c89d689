"""The kinds of a fleet as arrays: speed, power, KV memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from caps_fast import arrays, records, scenario
from caps_fast.clock_levels import busy_w, prompt_w
from caps_fast.fleet import Fleet
from caps_fast.pack_scaling import Levels, host_share_w
from caps_fast.records import Array
from caps_fast.replica_section import Kind

TERMS = (  # of a kind's speed
    *("overhead_s", "overlap_exponent", "mixed_s_per_context_token", "prefill_s_per_token_pair"),
    *("first_token_overhead_s", "lag_iterations"),
)


class Means(NamedTuple):
    """What the scheduler knows about the workload in advance."""

    input_tokens: float
    output_tokens: float


def kind_rows(config: scenario.Scenario, levels: Levels, means: Means) -> Any:
    """Kinds in the order of the fleet, at each of their clocks; the fastest is the one that serves a single average
    request first.
    """
    rows = records.zeros(arrays.Kind, len(levels.rows))
    alone_s = sorted({average_request_s(kind, means, 1) for kind in levels.rows})
    power_at = 0
    for row, kind in zip(rows, levels.rows, strict=True):
        for name in (
            *TERMS,
            "prefill_s_per_token",
            "decode_base_s",
            "decode_s_per_seq",
            "decode_s_per_context_token",
            "max_batch",
        ):
            row[name] = getattr(kind, name)
        row["prefill_w"] = (
            0.0 if kind.prefill_w is None else kind.prefill_w * kind.gpus_per_replica + host_share_w(kind)
        )
        row["kv_block_tokens"] = kind.kv_block_tokens if kind.kv == "grow" else 0
        row["service_s"] = average_request_s(kind, means, kind.max_batch)
        row["kv_capacity_tokens"] = kv_capacity_tokens(kind)
        row["chunk_tokens"] = kind.chunk_tokens if kind.prefill == "chunked" else 0
        row["rank"] = alone_s.index(average_request_s(kind, means, 1))
        row["pack_below"] = math.ceil(config.policy.pack_below * kind.max_batch)
        row["power_at"] = power_at
        power_at += kind.max_batch + 1
    return rows


def average_request_s(kind: Kind, means: Means, batch: int) -> float:
    """Duration of an average request, s: its prompt alone, then decoding in a batch of `batch` (Eq. 1)."""
    return (
        kind.prefill_s_per_token * means.input_tokens
        + (kind.decode_base_s + kind.decode_s_per_seq * batch) * means.output_tokens
    )


def kv_capacity_tokens(kind: Kind) -> int:
    """KV memory of a replica, in whole blocks where it grows by blocks; 0 = no limit."""
    capacity = kind.kv_capacity_tokens or 0
    return capacity // kind.kv_block_tokens * kind.kv_block_tokens if kind.kv == "grow" else capacity


def has_terms(kind: Kind) -> bool:
    """Whether a kind has any term of speed or power beyond the linear ones."""
    return kind.overlap_exponent != 1 or kind.prefill_w is not None or any(getattr(kind, name) for name in TERMS[2:])


def decode_table_s(kind: Kind) -> Array:
    """Memory and compute time of iterations that only decode, by sequences: float64 (max_batch + 1,)."""
    memory_s, compute_s = kind.decode_base_s - kind.overhead_s, kind.decode_s_per_seq * np.arange(kind.max_batch + 1)
    longer = np.maximum(memory_s, compute_s)
    ratio = np.divide(np.minimum(memory_s, compute_s), longer, out=np.zeros_like(longer), where=longer > 0)
    return np.asarray(kind.overhead_s + longer * (1 + ratio**kind.overlap_exponent) ** (1 / kind.overlap_exponent))


def phase_rows(fleet: Fleet) -> Array:
    """Room for the decoding sequences by when they need their next block: int32 (n_gpus, most tokens of a block)."""
    blocks = [kind.kv_block_tokens for kind in fleet.kinds.values() if kind.kv == "grow"]
    return np.zeros((fleet.replicas, max(blocks)) if blocks else (0, 0), np.int32)


def replica_power_w(kind: Kind, members: Array) -> Array:
    """Power of a replica by its members (Eq. 2), including its share of the host, W."""
    return np.asarray(kind.gpus_per_replica * busy_w(kind, _gpu_power_w(kind, members)) + host_share_w(kind))


def replica_prompt_w(kind: Kind, members: Array) -> Array:
    """The same while it only processes prompts."""
    return np.asarray(kind.gpus_per_replica * prompt_w(kind, _gpu_power_w(kind, members)) + host_share_w(kind))


def _gpu_power_w(kind: Kind, members: Array) -> Array:
    """Eq. 2 at the full clock."""
    load = members / kind.max_batch
    return np.asarray(kind.idle_w + (kind.peak_w - kind.idle_w) * load**kind.power_exponent)


def share_tables_w(levels: Sequence[Kind], replicas: int) -> Array:
    """Power share of one more request in a pool, by clock and number of residents, W: float64 (n_levels * (slots +
    1),).
    """
    slots = replicas * levels[0].max_batch
    batch = np.minimum(1 + np.arange(slots + 1) / replicas, levels[0].max_batch)
    return np.concatenate([replica_power_w(kind, batch) / batch for kind in levels])
