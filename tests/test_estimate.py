"""`estimate-profile`: sizes of models worked out by hand, the roofline's laws, and what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from caps_fast.cli import estimate_profile as command
from caps_fast.errors import InputError
from caps_fast.estimate import data_sheet, data_sheets, estimate, read_model
from caps_fast.profiles import profile_fields
from caps_fast.replica_section import Gpu

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
QWEN_14B = LLAMA_8B | {
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "num_attention_heads": 40,
    "num_hidden_layers": 40,
    "head_dim": 128,
    "vocab_size": 151936,
}
MIXTRAL = LLAMA_8B | {"num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000}
DEEPSEEK_V3 = {
    "hidden_act": "silu",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "tie_word_embeddings": False,
    "quantization_config": {"quant_method": "fp8"},
}


def config(folder: Path, data: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(data))
    return path


def run(*arguments: object) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("data", "billions", "active", "kv_bytes"),
    [  # as their makers state them
        (LLAMA_8B, 8.03, 6.98, 131_072),
        (QWEN_14B, 14.77, 13.2, 163_840),
        (MIXTRAL, 46.7, 12.6, 131_072),
        (DEEPSEEK_V3, 671, 36.1, 70_272),
        (LLAMA_8B | {"tie_word_embeddings": True}, 7.5, 6.98, 131_072),
    ],
)
def test_sizes_of_known_models(
    tmp_path: Path, data: dict[str, Any], billions: float, active: float, kv_bytes: int
) -> None:
    model = read_model(config(tmp_path, data))
    parameters = model.layer_params + model.table_params * (1 if model.tied else 2)
    assert parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert model.active_params / 1e9 == pytest.approx(active, rel=0.02)
    assert model.kv_bytes == kv_bytes


def test_texts_of_larger_models_and_quantized_weights(tmp_path: Path) -> None:
    nested = read_model(config(tmp_path, {"model_type": "mllama", "text_config": LLAMA_8B}))
    assert nested.layer_params == read_model(config(tmp_path, LLAMA_8B)).layer_params
    four_bit = read_model(config(tmp_path, LLAMA_8B | {"quantization_config": {"quant_method": "gptq", "bits": 4}}))
    assert four_bit.weight_bytes == 0.5
    assert read_model(config(tmp_path, DEEPSEEK_V3)).weight_bytes == 1.0


def test_the_roofline_follows_the_data_sheet(tmp_path: Path) -> None:
    model = read_model(config(tmp_path, LLAMA_8B))
    one, two = estimate(model, data_sheet("h100")), estimate(model, data_sheet("h100"), 2)
    quick = estimate(model, data_sheet("h200"))
    fields = one.fields
    weights_s = {
        name: found.fields["decode_base_s"] - found.fields["overhead_s"]
        for name, found in (("one", one), ("two", two), ("h200", quick))
    }
    assert weights_s["one"] == pytest.approx(model.read_bytes / (0.85 * 3.35e12), rel=0.01)
    assert weights_s["two"] == pytest.approx(weights_s["one"] / 2, rel=0.02)
    assert weights_s["h200"] == pytest.approx(weights_s["one"] * 3.35 / 4.8, rel=0.02)
    assert fields["prefill_s_per_token"] == pytest.approx(2 * model.active_params / (0.7 * 989e12), rel=0.01)
    assert quick.fields["prefill_s_per_token"] == fields["prefill_s_per_token"]
    assert two.fields["overhead_s"] > fields["overhead_s"]
    assert two.kv_capacity_tokens > 2 * one.kv_capacity_tokens
    assert two.fields["gpus_per_replica"] == 2


def test_kv_memory_is_what_an_engine_had(tmp_path: Path) -> None:
    """vLLM 0.23 found room for 288,608 tokens beside Qwen3-14B on an H100 (docs/validation.md)."""
    found = estimate(read_model(config(tmp_path, QWEN_14B)), data_sheet("h100"))
    assert found.kv_capacity_tokens == pytest.approx(288_608, rel=0.01)


@pytest.mark.parametrize("gpu", data_sheets())
def test_every_data_sheet_gives_a_profile(tmp_path: Path, gpu: str) -> None:
    found = estimate(read_model(config(tmp_path, LLAMA_8B)), data_sheet(gpu))
    Gpu(**found.fields)
    assert found.kv_capacity_tokens > 0


def test_the_command_writes_a_profile_that_says_what_it_is(tmp_path: Path) -> None:
    path = config(tmp_path, QWEN_14B)
    said = run("estimate-profile", path, "--gpu", "h100", "--tensor-parallel", 2, "--out", tmp_path / "p.toml")
    saved = tomllib.loads((tmp_path / "p.toml").read_text())
    assert "estimate" in saved["about"]
    assert "not measured" in saved["source"]
    assert saved["fit"]["estimate"] == "not measured"
    assert f"cluster.kv_capacity_tokens={saved['fit']['kv_capacity_tokens']}" in said
    assert Gpu(**profile_fields(str(tmp_path / "p.toml"), 64)).gpus_per_replica == 2
    own = ("--bandwidth", "3.35TB/s", "--flops", "989e12", "--memory", "80 GB", "--board-w", 700)
    run("estimate-profile", path, *own, "--out", tmp_path / "own.toml")
    run("estimate-profile", path, "--gpu", "H100", "--out", tmp_path / "h100.toml")
    assert profile_fields(str(tmp_path / "own.toml")) == profile_fields(str(tmp_path / "h100.toml"))
    run("estimate-profile", path, *own[:-2], "--out", tmp_path / "speed.toml")
    assert "idle_w" not in profile_fields(str(tmp_path / "speed.toml"))


@pytest.mark.parametrize("classes", [None, 3, "Llama", [], {"a": 1}])
def test_a_name_that_is_none_is_no_fault(tmp_path: Path, classes: Any) -> None:
    assert read_model(config(tmp_path, LLAMA_8B | {"architectures": classes})).name == "model"


@pytest.mark.parametrize(
    ("data", "options", "wanted"),
    [
        (LLAMA_8B, ("--gpu", "abacus"), "--gpu 'abacus': expected one of a100-40gb"),
        (LLAMA_8B, (), "--bandwidth is missing: expected --gpu NAME, or --bandwidth, --flops and --memory"),
        (LLAMA_8B, ("--gpu", "h100", "--memory", "80GB"), "--memory together with --gpu h100: expected one of them"),
        (
            LLAMA_8B,
            ("--bandwidth", "3350", "--flops", "1e15", "--memory", "80GB"),
            "--bandwidth '3350': expected a number with its unit",
        ),
        (
            LLAMA_8B,
            ("--bandwidth", "1e12", "--flops", "80GB", "--memory", "80GB"),
            "--flops '80GB': expected a number with its unit",
        ),
        (LLAMA_8B, ("--bandwidth", "1e12", "--flops", "1e15", "--memory", "much"), "--memory 'much'"),
        (QWEN_14B, ("--gpu", "rtx-4090"), "28 GB of weights on 1 x rtx-4090 (24 GB): expected room"),
        ([], ("--gpu", "h100"), "expected a JSON object"),
        ({"hidden_size": 5}, ("--gpu", "h100"), "num_hidden_layers is missing"),
        (LLAMA_8B | {"hidden_size": "large"}, ("--gpu", "h100"), "hidden_size 'large': expected a whole number up to"),
        (LLAMA_8B | {"num_attention_heads": 0}, ("--gpu", "h100"), "0 heads: expected at least 1 of each"),
        (LLAMA_8B | {"torch_dtype": "sixteen"}, ("--gpu", "h100"), "torch_dtype 'sixteen': expected one of"),
        (
            LLAMA_8B | {"quantization_config": {"quant_method": "magic"}},
            ("--gpu", "h100"),
            "quant_method 'magic': expected bits, or one of",
        ),
    ],
)
def test_what_cannot_be_estimated_is_refused(tmp_path: Path, data: Any, options: tuple[str, ...], wanted: str) -> None:
    path = config(tmp_path, data)
    with pytest.raises(InputError) as caught:
        run("estimate-profile", path, *options, "--out", tmp_path / "p.toml")
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "p.toml").exists()


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_model(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read_model(tmp_path / "broken.json")
