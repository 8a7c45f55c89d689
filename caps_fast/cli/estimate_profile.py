"""`estimate-profile`: a profile without measurements, from the model's config and the GPU's data sheet."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from caps_fast.errors import InputError

EXAMPLES = {"--bandwidth": "3350GB/s", "--flops": "989TFLOP/s", "--memory": "80GB"}


def register(app: typer.Typer) -> None:
    """Add the command `estimate-profile`."""
    app.command("estimate-profile")(estimate_profile)


def estimate_profile(
    config: Annotated[str, typer.Argument(help="the model's config.json, in the form of Hugging Face")],
    gpu: Annotated[str | None, typer.Option(help="GPU by name (see docs/profiles.md)")] = None,
    bandwidth: Annotated[str | None, typer.Option(help="another GPU: memory bandwidth, like 3350GB/s")] = None,
    flops: Annotated[
        str | None, typer.Option(help="another GPU: dense FLOP/s at the weights' precision, like 989TFLOP/s")
    ] = None,
    memory: Annotated[str | None, typer.Option(help="another GPU: memory, like 80GB")] = None,
    link: Annotated[str, typer.Option(help="another GPU: bandwidth to the next one in one direction")] = "64GB/s",
    board_w: Annotated[
        float | None,
        typer.Option(min=1, max=1e6, help="another GPU: power of the board in watts; none = no power in the profile"),
    ] = None,
    tensor_parallel: Annotated[int, typer.Option(min=1, max=1024, help="GPUs per replica")] = 1,
    out: Annotated[str | None, typer.Option(help="profile to write (TOML)")] = None,
    about: Annotated[str | None, typer.Option(help="description of the profile, for its file")] = None,
) -> None:
    """Estimate a GPU profile from data sheets.

    See docs/profiles.md for their error against measurements.
    """
    from caps_fast.estimate import estimate, read_model
    from caps_fast.files import expect_outputs
    from caps_fast.profiles.write import toml_text, write_file

    expect_outputs({"--out": out}, [config])
    sheet = _data_sheet(gpu, {"--bandwidth": bandwidth, "--flops": flops, "--memory": memory}, link, board_w)
    model = read_model(config)
    found = estimate(model, sheet, tensor_parallel)
    count = f"{tensor_parallel} x " if tensor_parallel > 1 else ""
    fit: dict[str, Any] = {"estimate": "not measured", "kv_capacity_tokens": found.kv_capacity_tokens}
    profile = {
        "about": about or f"{model.name} on {count}{sheet.name}: an estimate",
        "source": (
            f"estimate from {config.rpartition('/')[2]} and the data sheet of {sheet.name}, not measured "
            "(docs/profiles.md)"
        ),
        **found.fields,
        "fit": fit | ({"max_batch": found.max_batch} if sheet.board_w is not None else {}),
    }
    text = toml_text(profile)
    if out is not None:
        write_file(out, text.encode())
    print(
        f"parameters   {(model.layer_params + model.table_params * (1 if model.tied else 2)) / 1e9:.3g} G, "
        f"{model.active_params / 1e9:.3g} G per token"
    )
    print(f"weights      {model.all_bytes / 2**30:.3g} GiB, of which an iteration reads {model.read_bytes / 2**30:.3g}")
    print(f"KV memory    {model.kv_bytes:,.0f} bytes per token; room for {found.kv_capacity_tokens:,} tokens:")
    print(f"             --set cluster.kv=grow --set cluster.kv_capacity_tokens={found.kv_capacity_tokens}")
    print(f"\n{text}", end="")


def _data_sheet(gpu: str | None, given: dict[str, str | None], link: str, board_w: float | None) -> Any:
    from caps_fast.estimate import DataSheet, data_sheet
    from caps_fast.estimate.gpu import amount

    told = {option: value for option, value in given.items() if value is not None}
    if gpu is not None:
        if told or board_w is not None:
            raise InputError(f"{next(iter(told), '--board-w')} together with --gpu {gpu}: expected one of them")
        return data_sheet(gpu)
    missing = [option for option in given if option not in told]
    if missing:
        raise InputError(f"{missing[0]} is missing: expected --gpu NAME, or --bandwidth, --flops and --memory")
    figures = {option: amount(option, value, EXAMPLES[option]) for option, value in told.items()}
    return DataSheet(
        name="a GPU of " + ", ".join(told.values()),
        memory_bytes=figures["--memory"],
        bandwidth=figures["--bandwidth"],
        bf16_flops=figures["--flops"],
        fp8_flops=None,
        link=amount("--link", link, "450GB/s"),
        board_w=board_w,
    )
