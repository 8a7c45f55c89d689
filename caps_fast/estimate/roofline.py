"""Coefficients of a replica from bytes and floating-point operations, each at a measured share of the data sheet.

The shares are medians over the measured pairs in docs/validation.md (H100 with Qwen3-14B, RTX 4090 and RTX PRO 6000
with Llama-3.1-8B); docs/profiles.md has the errors of the estimate on these pairs and on others.
"""

from __future__ import annotations

from dataclasses import dataclass

from caps_fast.errors import InputError
from caps_fast.estimate.gpu import DataSheet
from caps_fast.estimate.model import Model

BANDWIDTH_SHARE = 0.85  # of the data sheet, reading weights
CONTEXT_SHARE = 0.8  # reading keys and values
COMPUTE_SHARE = 0.7  # of dense FLOP/s, in the layers of long prompts
ATTENTION_SHARE = 0.5  # in attention among the tokens of a prompt
OVERLAP_EXPONENT = 2.0
MIXED_SHARE = 1.2  # of a token of context, additionally in iterations with a prompt
OVERHEAD_S = 1.2e-3
ALL_REDUCE_S = 15e-6  # start of an exchange between GPUs, two per layer
FIRST_TOKEN_OVERHEAD_S = 7e-3
MEMORY_SHARE = 0.9  # of a GPU's memory that the engine uses
WORKSPACE_BYTES = 0.5 * 2.0**30  # of that, neither weights nor KV, one GPU
IDLE_SHARE, PEAK_SHARE, POWER_EXPONENT = 0.2, 0.9, 0.12  # of the board's power; loaded, at `FULL` residents
FULL = 256
DIGITS = 3


@dataclass(frozen=True)
class Estimate:
    """Estimated fields of `Gpu`, KV memory in tokens, and the batch at which power counts as full."""

    fields: dict[str, float | int]
    kv_capacity_tokens: int
    max_batch: int = FULL


def estimate(model: Model, gpu: DataSheet, tensor_parallel: int = 1) -> Estimate:
    """Estimate a replica of `tensor_parallel` GPUs. Raises InputError if the model does not fit into their memory."""
    kv_share = min(tensor_parallel, model.kv_heads)  # keys and values are split by heads, and repeated beyond
    room = MEMORY_SHARE * gpu.memory_bytes - WORKSPACE_BYTES - model.all_bytes / tensor_parallel
    capacity = int(room * kv_share / model.kv_bytes) if model.kv_bytes else 0
    if capacity < 1:
        needed, there = model.all_bytes / 2.0**30, tensor_parallel * gpu.memory_bytes / 2.0**30
        raise InputError(
            f"{model.name}: {needed:.0f} GB of weights on {tensor_parallel} x {gpu.name} ({there:.0f} GB): "
            "expected room for them and for KV memory; raise --tensor-parallel"
        )
    flops = gpu.fp8_flops if model.weight_bytes <= 1 and gpu.fp8_flops else gpu.bf16_flops
    flops *= tensor_parallel
    exchanges = 2 * model.layers if tensor_parallel > 1 else 0
    moved = 2.0 * (tensor_parallel - 1) / tensor_parallel * model.hidden * 2.0  # bytes per token and exchange
    overhead_s = OVERHEAD_S + exchanges * ALL_REDUCE_S
    context_s = model.kv_bytes / kv_share / (CONTEXT_SHARE * gpu.bandwidth)
    token_s = 2.0 * model.active_params / (COMPUTE_SHARE * flops) + exchanges * moved / gpu.link
    fields: dict[str, float] = {
        "prefill_s_per_token": token_s,
        "decode_base_s": overhead_s + model.read_bytes / tensor_parallel / (BANDWIDTH_SHARE * gpu.bandwidth),
        "decode_s_per_seq": token_s,
        "decode_s_per_context_token": context_s,
        "overhead_s": overhead_s,
        "overlap_exponent": OVERLAP_EXPONENT,
        "mixed_s_per_context_token": MIXED_SHARE * context_s,
        "prefill_s_per_token_pair": model.pair_flops / (ATTENTION_SHARE * gpu.bf16_flops * tensor_parallel),
        "first_token_overhead_s": FIRST_TOKEN_OVERHEAD_S,
    }
    if gpu.board_w is not None:
        fields |= {
            "idle_w": IDLE_SHARE * gpu.board_w,
            "peak_w": PEAK_SHARE * gpu.board_w,
            "power_exponent": POWER_EXPONENT,
        }
        fields["prefill_w"] = gpu.board_w
    rounded: dict[str, float | int] = {name: float(f"{value:.{DIGITS}g}") for name, value in fields.items()}
    return Estimate({**rounded, "lag_iterations": 1, "gpus_per_replica": tensor_parallel}, capacity)
