"""Profiles with all terms of an engine's step: what the measurements give, in the table of the docs, and no worse
than the older fits.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import engine_logs
from caps_fast.cli import fit_profile as command
from caps_fast.profiles import profile_fields, profiles, read_profile
from caps_fast.replica_section import Gpu

SHARED = Path(__file__).parents[2] / "shared" / "data"
SPLITWISE, ML_ENERGY = SHARED / "gpu" / "splitwise_perf_model.csv", SHARED / "gpu" / "ml_energy_chat.csv"
ENGINES = SHARED / "engines"
real = pytest.mark.skipif(not ENGINES.exists(), reason="the shared data is not at hand")

LOADED = {"a100": 82.3, "h100": 128.6}  # idle, a model loaded, under vLLM
ADDITIVE = ("--engine-terms", "--set", "gpu.overlap_exponent=1")
COMMANDS: dict[str, list[Any]] = {
    f"a100-{name}-engine": [
        SPLITWISE,
        "--model",
        model,
        "--hardware",
        "a100-80gb",
        "--tensor-parallel",
        gpus,
        "--engine-terms",
        "--idle-w",
        82.3,
    ]
    for name, model, gpus in (
        ("llama2-70b-tp4", "llama2-70b", 4),
        ("llama2-70b-tp8", "llama2-70b", 8),
        ("bloom-176b-tp8", "bloom-176b", 8),
    )
} | {
    f"h100-{name}-engine": [
        *(SPLITWISE, "--model", model, "--hardware", "h100-80gb", "--tensor-parallel", gpus, "--engine-terms"),
        *("--power-from", "h100-llama3.1-70b-tp4-engine"),
    ]
    for name, model, gpus in (
        ("llama2-70b-tp4", "llama2-70b", 4),
        ("llama2-70b-tp8", "llama2-70b", 8),
        ("bloom-176b-tp8", "bloom-176b", 8),
    )
}
COMMANDS["h100-llama3.1-70b-tp4-engine"] = [
    *(
        ML_ENERGY,
        "--model",
        "Llama-3.1-70B",
        "--hardware",
        "H100",
        "--tensor-parallel",
        4,
        "--max-batch",
        256,
        *ADDITIVE,
    ),
    *("--prefill-from", "h100-llama2-70b-tp4", "--idle-w", 128.6, "--set", "gpu.decode_s_per_context_token=3.9e-8"),
]
COMMANDS["h100-llama3.1-8b-engine"] = [
    *(
        ML_ENERGY,
        "--model",
        "Llama-3.1-8B",
        "--hardware",
        "H100",
        "--tensor-parallel",
        1,
        "--max-batch",
        256,
        *ADDITIVE,
    ),
    *("--prefill-s-per-token", 2.03e-5, "--idle-w", 128.6, "--set", "gpu.decode_s_per_context_token=6.2e-8"),
]
for card in ("RTX4090", "RTXPRO6000"):
    name = f"{card.lower()}-llama3.1-8b"
    COMMANDS[name] = [
        ENGINES / "llama31_8b_step_kernels.csv",
        "--hardware",
        card,
        "--max-batch",
        256,
        "--power-from",
        name,
    ]
COMMANDS["h100-qwen3-14b"] = [
    *(ENGINES / "h100_q14_steps.csv", ENGINES / "q14_2.csv", "--power-from", "h100-qwen3-14b"),
    *engine_logs.settings(
        {
            "cluster.max_batch": 256,
            "cluster.chunk_tokens": 8192,
            "cluster.kv_capacity_tokens": 288608,
            "cluster.kv": "grow",
        }
    ),
]


def fitted(arguments: list[Any], folder: Path) -> dict[str, Any]:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    out = folder / "p.toml"
    result = CliRunner().invoke(app, ["fit-profile", *(str(argument) for argument in arguments), "--out", str(out)])
    assert result.exit_code == 0, result.exception or result.output
    return tomllib.loads(out.read_text())


@real
@pytest.mark.parametrize("name", COMMANDS)
def test_engine_profiles_are_what_the_measurements_give(name: str, tmp_path: Path) -> None:
    found = fitted(COMMANDS[name], tmp_path)
    shipped = profile_fields(name)
    told = read_profile(name)["fit"]["told"]
    rounding = (
        0.02 if name == "h100-qwen3-14b" else 2e-3
    )  # a replay's jumps move a fit a little with the machine's rounding
    for field in ("decode_base_s", "prefill_s_per_token", "peak_w"):
        assert found[field] == pytest.approx(shipped[field], rel=rounding), field
    for field in set(told) - {"overhead_s", "overlap_exponent"}:
        assert found[field] == pytest.approx(shipped[field], rel=5 * rounding), field


def test_engine_profiles_say_whence_and_how_well() -> None:
    assert set(COMMANDS) <= set(profiles())
    for name in COMMANDS:
        found = read_profile(name)
        kind = Gpu(**profile_fields(name))
        assert kind.overhead_s < kind.decode_base_s
        assert found["source"]
        assert set(found["fit"]["told"]) <= set(found)
        assert not set(found["fit"]["told"]) & set(found["fit"]["not_told"])
        errors = found["fit"]["decode_steps_error"]
        assert errors[0] < 0.03, name
        if name[:4] in LOADED:
            assert kind.idle_w == LOADED[name[:4]]
        else:
            assert "an estimate from the data sheet, not measured" in found["source"]


def test_more_terms_follow_long_prompts_better() -> None:
    for name in (
        "a100-llama2-70b-tp4",
        "a100-llama2-70b-tp8",
        "a100-bloom-176b-tp8",
        "h100-bloom-176b-tp8",
        "h100-llama2-70b-tp4",
    ):
        assert (
            read_profile(f"{name}-engine")["fit"]["prompt_steps_error"][0]
            < read_profile(name)["fit"]["prefill_mean_error"]
        ), name


def test_the_table_of_engine_profiles_in_the_docs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "profiles.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        found = read_profile(name)
        cells = [
            cell.strip()
            for cell in next(line for line in text.splitlines() if line.startswith(f"| `{name}`")).split("|")[2:-1]
        ]
        fields = [
            f"{1e6 * found['prefill_s_per_token']:.3g}",
            f"{1e3 * found['decode_base_s']:.4g}",
            f"{1e3 * found['overhead_s']:.2g}",
            f"{1e6 * found['decode_s_per_seq']:.3g}",
            f"{found['overlap_exponent']:.2g}",
            f"{1e9 * found['decode_s_per_context_token']:.3g} / {1e9 * found['mixed_s_per_context_token']:.3g}",
            f"{1e9 * found['prefill_s_per_token_pair']:.2g}",
            f"{found['idle_w']:.0f} / {found['peak_w']:.0f}",
        ]
        assert cells[:8] == fields, name
        for what, cell in (("decode_steps", cells[8]), ("prompt_steps", cells[9]), ("mixed_steps", cells[10])):
            errors = found["fit"].get(f"{what}_error")
            assert cell == ("" if errors is None else f"{100 * errors[0]:.1f} / {100 * errors[1]:+.0f} %"), name
