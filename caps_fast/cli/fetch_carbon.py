"""`fetch-carbon`: carbon intensity from a provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caps_fast.cli.talk import is_quiet, say
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.carbon.fetch import Query


def register(app: typer.Typer) -> None:
    """Add the command `fetch-carbon`."""
    app.command("fetch-carbon")(fetch_carbon)


def fetch_carbon(
    zone: Annotated[str, typer.Option(help="zone or region, by the provider's name (US-CAL-CISO, CAISO_NORTH)")],
    start: Annotated[str, typer.Option("--from", help="first time, UTC unless it has an offset")],
    end: Annotated[str, typer.Option("--to", help="end, exclusive")],
    out: Annotated[Path, typer.Option(help="file to write: .csv or .parquet, in the common schema")],
    provider: Annotated[str, typer.Option(help="electricitymaps or watttime")] = "electricitymaps",
    scope: Annotated[
        str | None, typer.Option(help="Electricity Maps: lifecycle (default) or direct; WattTime: direct")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="WattTime: marginal (default) or average; Electricity Maps: average")
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(help="Electricity Maps: hourly (default), 15_minutes or 5_minutes; WattTime: 5_minutes"),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="folder for cached answers; none = caps-fast in the user's cache folder")
    ] = None,
) -> None:
    """Fetch observed carbon intensity from a provider.

    The key comes from ELECTRICITYMAPS_API_KEY, or from WATTTIME_USER and WATTTIME_PASSWORD.
    """
    from datetime import UTC, datetime

    from caps_fast.caches import cache_folder
    from caps_fast.carbon.fetch import PROVIDERS, Query, fetch
    from caps_fast.carbon.frame import find_gaps
    from caps_fast.files import expect_outputs, whole
    from caps_fast.instants import parse_utc

    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"--out {out}: expected a name that ends in .csv or .parquet")
    expect_outputs({"--out": out}, ())
    chosen = PROVIDERS.get(provider)
    defaults = (chosen.kinds[0], chosen.scopes[0], chosen.steps[0]) if chosen else ("", "", "")
    query = Query(
        provider,
        zone,
        parse_utc(start, "--from"),
        parse_utc(end, "--to"),
        kind or defaults[0],
        scope or defaults[1],
        step or defaults[2],
    )
    frame = fetch(query, cache or cache_folder("carbon"), datetime.now(UTC), _progress)
    with whole(out) as beside:
        if out.suffix == ".csv":
            frame.write_csv(beside, datetime_format="%Y-%m-%dT%H:%M:%SZ")
        else:
            frame.write_parquet(beside)
    times = frame["valid_at"]
    gaps = find_gaps(times)
    span = f"{times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC"
    say(f"{out}: {frame.height} samples from {span}, {query.kind}, {query.scope}")
    if gaps.height:
        after = gaps["after"][0]
        missing = f"{gaps['missing'].sum()} samples are missing in {gaps.height} gaps"
        say(f"{out}: {missing}, the first after {after:%Y-%m-%d %H:%M} UTC")


def _progress(queries: list[Query]) -> Iterator[Query]:
    import sys

    with typer.progressbar(queries, label="fetching", file=sys.stderr, hidden=len(queries) < 2 or is_quiet()) as shown:
        yield from shown
