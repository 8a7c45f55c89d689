"""The bytes that a model reads and the operations that it computes, from its Hugging Face `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caps_fast.documents import read_json
from caps_fast.errors import InputError

BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "half": 2.0, "float8_e4m3fn": 1.0, "int8": 1.0}
QUANTIZED = {
    "fp8": 1.0,
    "fbgemm_fp8": 1.0,
    "awq": 0.5,
    "gptq": 0.5,
    "mxfp4": 0.5,
    "compressed-tensors": 1.0,
    "modelopt": 1.0,
}
GATED = {"silu", "swiglu", "gelu_pytorch_tanh", "gelu_tanh"}
MOST = 10**7  # of any of the numbers


@dataclass(frozen=True)
class Model:
    """A decoder's size.

    layer_params       parameters of all layers
    active_params      of those, the ones that a token passes (mixtures of experts: `experts_per_token` of `experts`)
    table_params       of the embedding; the output layer is another table unless `tied`
    weight_bytes       bytes of a parameter of a layer; tables have two
    kv_bytes           bytes of keys and values of one token, all layers
    pair_flops         floating-point operations of attention for each pair of a token and one before it
    """

    name: str
    layers: int
    hidden: int
    layer_params: float
    active_params: float
    table_params: float
    tied: bool
    weight_bytes: float
    kv_bytes: float
    pair_flops: float
    kv_heads: int

    @property
    def all_bytes(self) -> float:
        """Bytes of all weights."""
        return self.layer_params * self.weight_bytes + self.table_params * (1 if self.tied else 2) * 2.0

    @property
    def read_bytes(self) -> float:
        """Bytes that an iteration reads: all layers (all experts: a batch needs most of them) and the output layer."""
        return self.layer_params * self.weight_bytes + self.table_params * 2.0


def read_model(path: str | Path) -> Model:
    """Read `config.json`. Raises InputError if it is not one, or if a size is missing or implausible."""
    try:
        data = read_json(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a model's config.json") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}; expected a model's config.json") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object: a model's config.json")
    text = data.get("text_config")
    found = {**data, **text} if isinstance(text, dict) else data
    return _model(str(path), found)


def _model(path: str, found: Mapping[str, Any]) -> Model:
    def size(*names: str, default: int | None = None) -> int:
        for name in names:
            value = found.get(name)
            if value is not None:
                if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
                    raise InputError(f"{path}: {name} {str(value)[:50]!r}: expected a whole number up to {MOST:,}")
                return value
        if default is None:
            raise InputError(f"{path}: {names[0]} is missing: expected it in a decoder's config.json")
        return default

    layers, hidden = size("num_hidden_layers", "n_layer"), size("hidden_size", "n_embd")
    heads = size("num_attention_heads", "n_head")
    if min(layers, hidden, heads) < 1:
        raise InputError(f"{path}: {layers} layers, hidden size {hidden}, {heads} heads: expected at least 1 of each")
    kv_heads = max(size("num_key_value_heads", default=heads), 1)
    head = size("head_dim", default=0) or hidden // heads
    attention, kv_values, pair_width = _attention(found, size, hidden, heads, kv_heads, head)
    feed, active_feed = _feed_forward(found, size, layers, hidden)
    weight_bytes = _weight_bytes(path, found)
    classes = found.get("architectures")
    return Model(
        name=str(
            found.get("_name_or_path") or (classes[0] if isinstance(classes, list) and classes else None) or "model"
        ),
        layers=layers,
        hidden=hidden,
        layer_params=layers * attention + feed,
        active_params=layers * attention + active_feed,
        table_params=float(size("vocab_size") * hidden),
        tied=found.get("tie_word_embeddings", False) is True,
        weight_bytes=weight_bytes,
        kv_bytes=layers * kv_values * 2.0,
        pair_flops=2.0 * layers * pair_width,
        kv_heads=kv_heads,
    )


def _attention(
    found: Mapping[str, Any], size: Any, hidden: int, heads: int, kv_heads: int, head: int
) -> tuple[float, float, float]:
    """Parameters of a layer's attention, values that it stores per token, and multiplications per pair of tokens."""
    rank = size("kv_lora_rank", default=0)
    if rank:  # multi-head latent attention
        rope, plain, value = size("qk_rope_head_dim"), size("qk_nope_head_dim"), size("v_head_dim")
        query_rank = size("q_lora_rank", default=0)
        query = heads * (plain + rope)
        queries = hidden * query_rank + query_rank * query if query_rank else hidden * query
        rest = hidden * (rank + rope) + rank * heads * (plain + value) + heads * value * hidden
        return float(queries + rest), float(rank + rope), float(heads * (plain + rope + value))
    width, kv_width = heads * head, kv_heads * head
    return float(2 * hidden * width + 2 * hidden * kv_width), 2.0 * kv_width, 2.0 * width


def _feed_forward(found: Mapping[str, Any], size: Any, layers: int, hidden: int) -> tuple[float, float]:
    """Parameters of all feed-forward layers, and those that one token passes."""
    inner = size("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden)
    matrices = 3 if str(found.get("hidden_act", found.get("hidden_activation", "silu"))) in GATED else 2
    dense = float(matrices * hidden * inner)
    experts = size("num_local_experts", "num_experts", "n_routed_experts", default=0)
    if experts < 2:
        return layers * dense, layers * dense
    chosen = max(size("num_experts_per_tok", "num_experts_per_token", default=1), 1)
    expert = float(matrices * hidden * size("moe_intermediate_size", default=inner))
    shared_width = size("shared_expert_intermediate_size", default=0)
    shared = float(matrices * hidden * shared_width) if shared_width else expert * size("n_shared_experts", default=0)
    first = min(size("first_k_dense_replace", default=0), layers)
    mixed = layers - first
    return first * dense + mixed * (experts * expert + shared), first * dense + mixed * (chosen * expert + shared)


def _weight_bytes(path: str, found: Mapping[str, Any]) -> float:
    quantized = found.get("quantization_config")
    if isinstance(quantized, dict):
        bits = quantized.get("bits", quantized.get("num_bits"))
        if isinstance(bits, int) and not isinstance(bits, bool) and 1 <= bits <= 16:
            return bits / 8
        method = str(quantized.get("quant_method", "")).lower()
        if method not in QUANTIZED:
            raise InputError(
                f"{path}: quantization_config.quant_method {method[:50]!r}: expected bits, or one of "
                f"{', '.join(QUANTIZED)}"
            )
        return QUANTIZED[method]
    kind = str(found.get("dtype") or found.get("torch_dtype") or "bfloat16").removeprefix("torch.")
    if kind not in BYTES:
        raise InputError(f"{path}: torch_dtype {kind[:50]!r}: expected one of {', '.join(BYTES)}")
    return BYTES[kind]
