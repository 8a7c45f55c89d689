"""`presets`: the built-in presets."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command `presets`."""
    app.command("presets")(list_presets)


def list_presets() -> None:
    """List the built-in presets."""
    from caps_fast.scenario import preset, presets

    for name in presets():
        config = preset(name)
        print(
            f"{name:12} {config.fleet.replicas} replicas in {config.fleet.split}, {config.workload.rate_rps:g} "
            f"req/s, policy {config.policy.name}"
        )
