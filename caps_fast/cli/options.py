"""Options that several commands have: the same names, help and completion everywhere.

Where some commands take one value and others several, both `--rate` and `--rates` are understood.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from caps_fast.cli.completion import complete_policies, complete_scenario

CARBON, SLO = "carbon_g_per_1k_tokens", "slo_attainment"

Scenario = Annotated[str, typer.Argument(help="preset, or scenario file (TOML)", autocompletion=complete_scenario)]
Rate = Annotated[float | None, typer.Option("--rate", "--rates", help="mean arrivals per second")]
Days = Annotated[float | None, typer.Option(help="simulated days [default: the scenario's]")]
Seed = Annotated[int | None, typer.Option("--seed", "--seeds", help="seed of every random stream")]
Seeds = Annotated[str, typer.Option("--seeds", "--seed", help="how many, from 0; or which, as 3..7 or 1,2,5")]
Set = Annotated[list[str] | None, typer.Option("--set", help="any field, as --set policy.beta=1; may be repeated")]
Policies = Annotated[
    str | None,
    typer.Option(
        "--policies",
        "--policy",
        autocompletion=complete_policies,
        help=(
            "on the same requests, with commas: names, main, ablations, all, or Python files [default: the scenario's]"
        ),
    ),
]
Picture = Annotated[Path | None, typer.Option(help="picture to write (PNG, PDF or SVG)")]

Folder = Annotated[Path, typer.Argument(help="a sweep's folder, or a Parquet file of results")]
Where = Annotated[
    list[str] | None, typer.Option(help="only these runs, as rate_rps=10 or policy=caps,edf; may be repeated")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Jobs = Annotated[int, typer.Option(min=0, max=4096, help="runs at a time; 0 = one per core")]

Out = Annotated[str, typer.Option(help="folder for the results, or an object store's URL")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say how many runs, how long and how large, and stop")]
Backend = Annotated[
    Literal["threading", "loky", "dask"], typer.Option(help="threads, processes, or a dask.distributed cluster")
]
Address = Annotated[str | None, typer.Option(help="the cluster's scheduler, host:port")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="try again the runs that failed before")]
Fresh = Annotated[bool, typer.Option("--fresh", help="discard what the folder holds")]
ByPool = Annotated[
    bool, typer.Option("--by-pool", help="keep the metrics of every pool too, as columns pool.NAME.METRIC")
]

# Options behind fields of a scenario, for messages.
OF_FIELD = {
    "workload.rate_rps": ("--rate", "--rates"),
    "days": ("--days",),
    "seed": ("--seed", "--seeds"),
    "cluster.split": ("--split", "--splits"),
    "workload.trace": ("--trace",),
    "workload.file": ("--workload",),
    "carbon.file": ("--carbon",),
    "policy.name": ("--policies", "--policy"),
}


def typed(first: str, *others: str) -> str:
    """Which of an option's names stands on the command line; the first one where none does."""
    words = [word.partition("=")[0] for word in sys.argv[1:]]
    return next((name for name in (first, *others) if name in words), first)


def given_for(option: str) -> str | None:
    """The value that follows an option on the command line."""
    for at, word in enumerate(sys.argv):
        if word == option and at + 1 < len(sys.argv):
            return sys.argv[at + 1]
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return None
