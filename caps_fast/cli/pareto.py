"""`pareto`: the Pareto front of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from caps_fast.cli.completion import complete_metric
from caps_fast.cli.json_text import json_text
from caps_fast.cli.options import CARBON, SLO, AsJson, Folder, Where
from caps_fast.cli.talk import say
from caps_fast.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command `pareto`."""
    app.command("pareto")(pareto)


def pareto(
    folder: Folder,
    x: Annotated[str, typer.Option(autocompletion=complete_metric, help="metric")] = CARBON,
    y: Annotated[str, typer.Option(autocompletion=complete_metric, help="metric")] = SLO,
    group: Annotated[
        str | None,
        typer.Option(help="one front per value of these columns, as policy,rate_rps [default: the rate, if it varies]"),
    ] = None,
    where: Where = None,
    reference: Annotated[
        str | None, typer.Option(help="the hypervolume's reference point, as 0.2,0.5 [default: the worst means]")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="picture of all settings and the front to write (PNG, PDF or SVG)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the Pareto front of a sweep for two metrics.

    Metrics are means over seeds; the hypervolume of the front is printed too. docs/schema.md lists the better direction
    of every metric; a metric without one is rejected.
    """
    from caps_fast.files import expect_outputs, expect_picture
    from caps_fast.sweep import frames, read
    from caps_fast.sweep.pareto import pareto as fronts
    from caps_fast.sweep.summary import text_table

    point = None if reference is None else [_number(part, "--reference") for part in reference.split(",")]
    if picture is not None:
        expect_picture(picture)
        expect_outputs({"--picture": picture}, [])
    runs = frames.where(read(folder), where or [])
    found = fronts(runs, [x, y], None if group is None else group.split(","), point)
    if picture is not None:
        from caps_fast.report.fronts import front_picture

        front_picture(runs, found, [x, y], picture)
        say(f"drew {picture}")
    if as_json:
        print(
            json_text(
                [
                    {
                        **front.group,
                        "hypervolume": front.hypervolume,
                        "of": front.of,
                        "settings": front.settings.to_dicts(),
                    }
                    for front in found
                ]
            )
        )
        return
    for front in found:
        of = ", ".join(f"{name} {value}" for name, value in front.group.items())
        print(
            f"{of + ': ' if of else ''}{front.settings.height} of {front.of} settings; hypervolume "
            f"{front.hypervolume:.6g}"
        )
        print(text_table(front.settings.drop(front.group)) + "\n")


def _number(text: str, origin: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{origin} {text!r}: expected a number") from None
