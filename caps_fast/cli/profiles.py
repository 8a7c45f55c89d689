"""`profiles`: the built-in GPU profiles."""

from __future__ import annotations

from typing import Annotated

import typer

from caps_fast.cli.completion import complete_profile

MICRO, MILLI = 1e6, 1e3


def register(app: typer.Typer) -> None:
    """Add the command `profiles`."""
    app.command("profiles")(show_profiles)


def show_profiles(
    name: Annotated[
        str | None,
        typer.Argument(help="profile to show, by name or file; none = list all", autocompletion=complete_profile),
    ] = None,
) -> None:
    """List the built-in GPU profiles, or show one."""
    from caps_fast.profiles import profiles, read_profile
    from caps_fast.profiles.write import toml_text

    if name is not None:
        print(toml_text(read_profile(name)), end="")
        return
    print(
        f"{'profile':30} {'GPUs':>4} {'prefill':>9} {'step':>22} {'idle':>5} {'peak':>5} {'eta':>6} {'full at':>7} "
        " about"
    )
    for key, found in profiles().items():
        step = f"{MILLI * found['decode_base_s']:.4g} + {MILLI * found['decode_s_per_seq']:.3g} b ms"
        prefill = f"{MICRO * found['prefill_s_per_token']:.4g} us"
        full_at = found.get("fit", {}).get("max_batch", "")
        power = f"{found['idle_w']:5.0f} {found['peak_w']:5.0f} {found['power_exponent']:6.3f}"
        print(
            f"{key:30} {found['gpus_per_replica']:4} {prefill:>9} {step:>22} {power} {full_at:>7}  "
            f"{found.get('about', '')}"
        )
