"""GPU profiles: known figures come back from made-up measurements, the built-ins from the real ones, and bad input
is refused in a line.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from caps_fast.cli import fit_profile
from caps_fast.cli import profiles as listing
from caps_fast.errors import InputError
from caps_fast.profiles import peak_at, profile_fields, profiles
from caps_fast.profiles.fit import Given, fit
from caps_fast.profiles.measurements import Measurements, read_measurements
from caps_fast.profiles.write import toml_text
from caps_fast.replica_section import Gpu
from caps_fast.scenario import preset

GPU_DATA = Path(__file__).parents[2] / "shared" / "data" / "gpu"
SPLITWISE, ML_ENERGY = GPU_DATA / "splitwise_perf_model.csv", GPU_DATA / "ml_energy_chat.csv"
real = pytest.mark.skipif(not SPLITWISE.exists(), reason="the shared data is not at hand")

BATCHES = [1, 2, 4, 8, 16, 32, 64]
PROMPTS = [128, 512, 2048, 8192]


def plain_csv(a_p: float, d0: float, d1: float, power: tuple[float, float, float] | None, gpus: int = 1) -> str:
    """Noise-free measurements in the plain layout; `power` is idle, peak and exponent of one GPU."""
    lines = ["prompt_tokens,batch,prompt_s,step_s,power_w"]
    lines += [f"{n},1,{d0 + a_p * n!r},," for n in PROMPTS]
    for b in BATCHES:
        watts = "" if power is None else repr(gpus * (power[0] + (power[1] - power[0]) * (b / 64) ** power[2]))
        lines.append(f",{b},,{d0 + d1 * b!r},{watts}")
    if power is not None:
        lines.append(f",0,,,{gpus * power[0]!r}")
    return "\n".join(lines) + "\n"


def measured(folder: Path, text: str, **wanted: object) -> Measurements:
    (folder / "m.csv").write_text(text)
    return read_measurements(folder / "m.csv", wanted)  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(
    st.floats(1e-6, 1e-2),
    st.floats(1e-3, 1.0),
    st.floats(0, 1e-2),
    st.tuples(st.floats(10, 200), st.floats(210, 1000), st.floats(0.02, 2.5)),
    st.sampled_from([1, 2, 8]),
)
def test_known_figures_come_back(tmp_path_factory, a_p, d0, d1, power, gpus):
    folder = tmp_path_factory.mktemp("fit")
    found = fit(measured(folder, plain_csv(a_p, d0, d1, power, gpus), tensor_parallel=gpus), Given())
    fields = found.fields
    assert fields["prefill_s_per_token"] == pytest.approx(a_p, rel=1e-3)
    assert fields["decode_base_s"] == pytest.approx(d0, rel=1e-3)
    assert fields["decode_s_per_seq"] == pytest.approx(d1, rel=1e-3, abs=1e-6 * d0)
    assert (fields["idle_w"], fields["peak_w"], fields["power_exponent"]) == pytest.approx(power, rel=1e-3)
    assert fields["gpus_per_replica"] == gpus
    assert found.max_batch == 64
    assert found.points["error"].abs().max() < 1e-3
    Gpu(**fields)


def test_medians_shrug_off_a_bad_reading(tmp_path):
    text = plain_csv(1e-4, 0.03, 3e-4, (60, 400, 0.5))
    spoilt = text + ",8,,9.0,\n,8,,0.0324,\n,8,,0.0324,\n128,1,7.0,,\n128,1,0.0428,,\n"
    assert fit(measured(tmp_path, spoilt), Given()).fields == fit(measured(tmp_path, text), Given()).fields


def test_limits_and_given_figures(tmp_path):
    data = measured(tmp_path, plain_csv(1e-4, 0.03, 3e-4, (60, 400, 0.5)))
    found = fit(data, Given(max_batch=16, max_prompt_tokens=512, prefill_s_per_token=2e-4, idle_w=50))
    assert found.points.filter(found.points["what"] == "step")["at"].max() == 16
    assert found.points.filter(found.points["what"] == "prefill")["at"].max() == 512
    assert found.fields["prefill_s_per_token"] == 2e-4
    assert found.fields["idle_w"] == 50
    assert found.fields["peak_w"] == pytest.approx(60 + 340 * 0.5, rel=0.02)


def test_power_of_another_profile_stands_in(tmp_path):
    power = {"idle_w": 75.0, "peak_w": 500.0, "power_exponent": 0.1}
    found = fit(measured(tmp_path, plain_csv(1e-4, 0.03, 3e-4, None)), Given(power=power))
    assert {name: found.fields[name] for name in power} == power
    assert "power_mean_error" not in found.summary()


def test_a_peak_moves_with_the_batch_that_counts_as_full():
    fields = {"idle_w": 60.0, "peak_w": 400.0, "power_exponent": 0.5}
    assert peak_at(fields, 64, 64) == 400
    assert peak_at(fields, 64, 16) == 60 + 340 / 2
    name = "a100-llama2-70b-tp4"
    assert profile_fields(name, 64) == profile_fields(name)
    assert profile_fields(name, 16)["peak_w"] < profile_fields(name)["peak_w"]
    for bad in (0, -1, math.nan, math.inf, True, "many", [64]):
        with pytest.raises(InputError, match=r"fit.max_batch .*: expected a number above 0"):
            peak_at(fields, bad, 64)


def test_what_a_profile_says_is_written_as_toml():
    said = {
        "about": 'a\x7f"\n\x01\u00e9',
        "x": math.inf,
        "list": [1.5, 2],
        "a b": {"c": 1},
        "fit": {"d e": True, "f": {"g": [{"h": 1}]}},
    }
    assert tomllib.loads(toml_text(said)) == said
    toml_text({"about": "\udce9"}).encode()  # an argument that is not UTF-8


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "not readable as CSV"),
        ("prompt_tokens,batch,prompt_s,step_s,power_w\n", "no measurements"),
        ("a,b\n1,2\n", "columns a, b: expected prompt_tokens, batch"),
        ("batch,step_s\n1,fast\n", "row 1: step_s 'fast': expected a finite number from 0"),
        ("batch,step_s\n1,0.1\n2,nan\n", "row 2: step_s 'nan'"),
        ("batch,step_s\n1,0.1\n,0.1\n", "batch is missing"),
        ("batch,step_s\n1,0.1\n", "decode steps at 1 batch sizes"),
        ("batch,step_s\n1,0.1\n8,5\n", "fixed part above 0"),
        ("batch,step_s\n1,0.1\n8,0.11\n", "no prompt times at batch 1"),
        (
            "prompt_tokens,batch,prompt_s,step_s\n,1,,0.1\n,8,,0.11\n512,1,0.01,\n",
            "prompts take less than a decode step",
        ),
        (plain_csv(1e-4, 0.03, 3e-4, None), "power at 0 batch sizes"),
        (plain_csv(1e-4, 0.03, 3e-4, (60, 400, 0.5)).replace(",0,,,60\n", ""), "no idle power measured"),
        (
            "batch,step_s,hardware\n1,0.1,A\n8,0.11,B\n",
            "several values of hardware: expected --hardware with one of A, B",
        ),
    ],
)
def test_measurements_that_do_not_do_are_refused(tmp_path, text, wanted):
    with pytest.raises(InputError) as caught:
        fit(measured(tmp_path, text), Given())
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


@real
def test_filters_name_what_there_is():
    with pytest.raises(
        InputError, match="several values of model: expected --model with one of bloom-176b, llama2-70b"
    ):
        read_measurements(SPLITWISE, {})
    with pytest.raises(InputError, match="hardware mi300: expected one of a100-80gb"):
        read_measurements(SPLITWISE, {"hardware": "mi300"})
    exact = read_measurements(SPLITWISE, {"model": "llama2", "hardware": "h100-80gb", "tensor_parallel": 4})
    assert exact.label == "model llama2-70b, hardware h100-80gb, tensor_parallel 4"


CASES = {
    "a100-llama2-70b-tp4": (SPLITWISE, {"model": "llama2-70b", "hardware": "a100-80gb", "tensor_parallel": 4}, Given()),
    "a100-llama2-70b-tp8": (SPLITWISE, {"model": "llama2-70b", "hardware": "a100-80gb", "tensor_parallel": 8}, Given()),
    "a100-bloom-176b-tp8": (SPLITWISE, {"model": "bloom-176b", "hardware": "a100-80gb", "tensor_parallel": 8}, Given()),
    "h100-llama2-70b-tp4": (SPLITWISE, {"model": "llama2-70b", "hardware": "h100-80gb", "tensor_parallel": 4}, "power"),
    "h100-llama2-70b-tp8": (SPLITWISE, {"model": "llama2-70b", "hardware": "h100-80gb", "tensor_parallel": 8}, "power"),
    "h100-bloom-176b-tp8": (SPLITWISE, {"model": "bloom-176b", "hardware": "h100-80gb", "tensor_parallel": 8}, "power"),
    "h100-llama3.1-8b": (ML_ENERGY, {"model": "Llama-3.1-8B", "hardware": "H100", "tensor_parallel": 1}, "prefill"),
    "h100-llama3.1-70b-tp4": (
        ML_ENERGY,
        {"model": "Llama-3.1-70B", "hardware": "H100", "tensor_parallel": 4},
        "prefill",
    ),
}


@real
@pytest.mark.parametrize("name", CASES)
def test_built_ins_are_what_the_measurements_give(name):
    path, wanted, options = CASES[name]
    if options == "power":
        options = Given(power={key: float(profile_fields(name)[key]) for key in ("idle_w", "peak_w", "power_exponent")})
    elif options == "prefill":
        options = Given(max_batch=256, prefill_s_per_token=profile_fields(name)["prefill_s_per_token"])
    found = fit(read_measurements(path, wanted), options)
    shipped = profile_fields(name)
    assert found.fields == pytest.approx({field: shipped[field] for field in found.fields}, rel=1e-3)
    assert found.summary()["step_mean_error"] <= profiles()[name]["fit"]["step_mean_error"] + 1e-4


@real
def test_borrowed_figures_are_those_of_their_lenders():
    lender = profile_fields("h100-llama3.1-70b-tp4", 64)
    for name in ("h100-llama2-70b-tp4", "h100-llama2-70b-tp8", "h100-bloom-176b-tp8"):
        borrowed = profile_fields(name)
        assert [borrowed[key] for key in ("idle_w", "peak_w", "power_exponent")] == pytest.approx(
            [lender[key] for key in ("idle_w", "peak_w", "power_exponent")], rel=1e-3
        )
    assert lender["prefill_s_per_token"] == profile_fields("h100-llama2-70b-tp4")["prefill_s_per_token"]


def test_every_built_in_is_a_gpu_with_a_source_and_a_fit():
    assert set(CASES) < set(profiles())
    for name, found in profiles().items():
        assert Gpu(**profile_fields(name)).peak_w == found["peak_w"]
        assert found["source"]
        assert found["fit"]["max_batch"] >= 64


# --- commands ---------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> str:
    app = typer.Typer()
    listing.register(app)
    fit_profile.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_profiles_lists_and_shows():
    assert "a100-llama2-70b-tp4" in run("profiles")
    assert tomllib.loads(run("profiles", "a100-llama2-70b-tp4")) == profiles()["a100-llama2-70b-tp4"]
    with pytest.raises(InputError, match=r"gpu.profile 'mine': expected one of a100-bloom-176b-tp8"):
        run("profiles", "mine")


def test_fit_profile_writes_a_profile_and_a_picture(tmp_path):
    (tmp_path / "m.csv").write_text(plain_csv(1e-4, 0.03, 3e-4, (60, 400, 0.5), gpus=2))
    out, drawn = tmp_path / "p.toml", tmp_path / "p.png"
    said = run(
        "fit-profile",
        tmp_path / "m.csv",
        "--tensor-parallel",
        2,
        "--about",
        'my "GPU"',
        "--out",
        out,
        "--picture",
        drawn,
    )
    assert "worst" in said
    assert drawn.read_bytes().startswith(b"\x89PNG")
    saved = tomllib.loads(out.read_text())
    assert saved["about"] == 'my "GPU"'
    gpu = Gpu(**profile_fields(str(out)))
    assert (gpu.gpus_per_replica, gpu.idle_w, gpu.peak_w) == (2, 60, pytest.approx(400, rel=1e-3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "p.png", "p.toml"]


def test_a_profile_leaves_what_is_set_beside_it_in_either_order():
    changes = {"gpu.idle_w": 5.0, "gpu.profile": "h100-llama3.1-8b"}
    one, other = (preset("paper").replace(dict(order)) for order in (changes.items(), reversed(changes.items())))
    assert one == other
    assert (one.gpu.idle_w, one.gpu.profile) == (5.0, "h100-llama3.1-8b")


def test_fit_profile_borrows_from_profiles(tmp_path):
    (tmp_path / "m.csv").write_text("batch,step_s\n1,0.03\n64,0.05\n")
    run(
        "fit-profile",
        tmp_path / "m.csv",
        "--prefill-from",
        "h100-llama2-70b-tp4",
        "--power-from",
        "h100-llama3.1-70b-tp4",
        "--out",
        tmp_path / "p.toml",
    )
    fields = profile_fields(str(tmp_path / "p.toml"))
    assert fields["prefill_s_per_token"] == profile_fields("h100-llama2-70b-tp4")["prefill_s_per_token"]
    assert fields["peak_w"] == profile_fields("h100-llama3.1-70b-tp4", 64)["peak_w"]
    for options, wanted in (
        (("--prefill-from", "h100-llama2-70b-tp4", "--prefill-s-per-token", 1), "expected one of them"),
        (
            ("--prefill-s-per-token", 1e-4, "--power-from", "h100-llama2-70b-tp4", "--picture", tmp_path / "p.gif"),
            "expected a name ending in .png",
        ),
        (
            ("--prefill-s-per-token", 1e-4, "--power-from", "h100-llama2-70b-tp4", "--out", tmp_path / "no" / "p.toml"),
            "does not exist",
        ),
    ):
        with pytest.raises(InputError, match=wanted):
            run("fit-profile", tmp_path / "m.csv", *options)


def test_the_table_in_the_docs_is_that_of_the_profiles():
    text = (Path(__file__).parents[1] / "docs" / "profiles.md").read_text(encoding="utf-8")
    for name in CASES:
        found = profiles()[name]
        cells = [
            cell.strip()
            for cell in next(line for line in text.splitlines() if line.startswith(f"| `{name}`")).split("|")[2:-1]
        ]
        step = f"{1e3 * found['decode_base_s']:.4g} + {1e3 * found['decode_s_per_seq']:.3g} b"
        power = [
            f"{found['idle_w']:.0f}",
            f"{found['peak_w']:.0f}",
            f"{found['power_exponent']:.3f}",
            str(found["fit"]["max_batch"]),
        ]
        assert cells[:6] == [f"{1e6 * found['prefill_s_per_token']:.4g}", step, *power]
        for what, cell in zip(("prefill", "step", "power"), cells[6:], strict=True):
            mean, worst = (found["fit"].get(f"{what}_{kind}_error") for kind in ("mean", "worst"))
            assert cell == ("borrowed" if mean is None else f"{100 * mean:.1f} / {100 * worst:+.0f} %")
