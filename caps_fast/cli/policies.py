"""`policies`: the built-in policies."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command `policies`."""
    app.command("policies")(list_policies)


def list_policies() -> None:
    """List the built-in policies."""
    from caps_fast.policy_names import ABOUT

    for name, about in ABOUT.items():
        print(f"{name:20} {about}")
