"""Options that several commands have, under the same names with the same help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

CARBON, SLO = "carbon_g_per_1k_tokens", "slo_attainment"

Folder = Annotated[Path, typer.Argument(help="a sweep's folder, or a Parquet file of results")]
Where = Annotated[list[str] | None, typer.Option(help="only these runs, as rate_rps=10 or policy=caps,edf; may be repeated")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Jobs = Annotated[int, typer.Option(min=0, max=4096, help="runs at a time; 0 = one per core")]

Out = Annotated[str, typer.Option(help="folder for the results, or an object store's URL")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say how many runs, how long and how large, and stop")]
Backend = Annotated[Literal["threading", "loky", "dask"], typer.Option(help="threads, processes, or a dask.distributed cluster")]
Address = Annotated[str | None, typer.Option(help="the cluster's scheduler, host:port")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="try again the runs that failed before")]
Fresh = Annotated[bool, typer.Option("--fresh", help="discard what the folder holds")]
ByPool = Annotated[bool, typer.Option("--by-pool", help="keep the metrics of every pool too, as columns pool.NAME.METRIC")]
