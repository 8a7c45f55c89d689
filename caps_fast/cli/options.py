"""Options of several commands: the same names, help and completion everywhere.

If some commands take one value and others several, both `--rate` and `--rates` are accepted.
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
Seeds = Annotated[str, typer.Option("--seeds", "--seed", help="number of seeds, from 0; or which, as 3..7 or 1,2,5")]
Set = Annotated[list[str] | None, typer.Option("--set", help="any field, as --set policy.beta=1; repeatable")]
Policies = Annotated[
    str | None,
    typer.Option(
        "--policies",
        "--policy",
        autocompletion=complete_policies,
        help=(
            "policies to run on the same requests, separated by commas: names, main, ablations, all, or Python files "
            "[default: the scenario's]"
        ),
    ),
]
Picture = Annotated[Path | None, typer.Option(help="picture to write (PNG, PDF or SVG)")]

Folder = Annotated[Path, typer.Argument(help="a sweep's folder, or a Parquet file of results")]
Where = Annotated[list[str] | None, typer.Option(help="only these runs, as rate_rps=10 or policy=caps,edf; repeatable")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Jobs = Annotated[int, typer.Option(min=0, max=4096, help="runs at a time; 0 = one per core")]

Out = Annotated[str, typer.Option(help="folder for the results, or an object store's URL")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the number of runs, their time and size, and stop")]
Backend = Annotated[
    Literal["threading", "loky", "dask"], typer.Option(help="threads, processes, or a dask.distributed cluster")
]
Address = Annotated[str | None, typer.Option(help="the cluster's scheduler, host:port")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="run the failed runs again")]
Fresh = Annotated[bool, typer.Option("--fresh", help="discard the content of the folder")]
ByPool = Annotated[
    bool, typer.Option("--by-pool", help="also write the metrics of every pool, as columns pool.NAME.METRIC")
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
    """The name by which an option was given on the command line; the first name if it was not given."""
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
