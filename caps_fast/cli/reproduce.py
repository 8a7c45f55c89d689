"""`reproduce`: every table, figure and claim of the paper, compared with ours."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.options import Jobs
from caps_fast.cli.report import write_page

if TYPE_CHECKING:
    import polars as pl


class Preset(StrEnum):
    """Presets to compare with the paper."""

    PAPER = "paper"
    MEASURED = "measured"
    BOTH = "both"


def register(app: typer.Typer) -> None:
    """Add the command `reproduce`."""
    app.command("reproduce")(reproduce)


def reproduce(
    out: Annotated[Path, typer.Option(help="folder for the results")],
    preset: Annotated[Preset, typer.Option(help="which preset to compare")] = Preset.BOTH,
    days: Annotated[float, typer.Option(help="simulated days of the comparisons at 10 req/s")] = 7.0,
    curve_days: Annotated[
        float | None,
        typer.Option(
            help="simulated days of the curves over rates, and of the other splits [default: 1, or --days if less]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", "--seed", help="number of seeds, from 0")] = 5,
    jobs: Jobs = 0,
    page: Annotated[bool, typer.Option(help="also draw the figures and the page")] = True,
) -> None:
    """Reproduce the paper's tables, figures and claims."""
    from caps_fast.reproduce.outcome import reproduce as run
    from caps_fast.reproduce.plan import PRESETS, Size
    from caps_fast.reproduce.table import table1
    from caps_fast.sweep import Workers

    names = PRESETS if preset is Preset.BOTH else (preset.value,)
    frames = run(names, Size(days, min(days, 1.0) if curve_days is None else curve_days, seeds), out, Workers(jobs))
    print(table1(frames["runs"]))
    print()
    print("\n".join(_size_lines(frames["own_sizes"])))
    print()
    print("\n".join(_claim_lines(frames["claims"])))
    if page:
        write_page(out, None)


def _size_lines(sizes: pl.DataFrame) -> list[str]:
    from caps_fast.report.tables import own_sizes_table
    from caps_fast.text_table import text_lines

    table = own_sizes_table(sizes)
    heads = table["heads"]
    right = [column >= table["words"] for column in range(len(heads))]
    return [
        f"{table['heading']}, at what Round Robin and CAPS both meet on the paper's fleet:",
        *text_lines(heads, table["rows"], right),
    ]


def _claim_lines(claims: pl.DataFrame) -> list[str]:
    from caps_fast.report.tables import quantity

    presets = claims["preset"].unique(maintain_order=True).to_list()
    lines = [f"{'claim':76} {'paper':>14}" + "".join(f" {preset:>14} {'':11}" for preset in presets)]
    for _, block in claims.group_by("claim", maintain_order=True):
        first: dict[str, Any] = block.row(0, named=True)
        ours = "".join(
            f" {quantity(row['ours'], row['unit']):>14} {row['verdict']:11}" for row in block.iter_rows(named=True)
        )
        lines.append(f"{first['text']:76} {quantity(first['paper'], first['unit']):>14}{ours}".rstrip())
    return lines
