"""`fit-profile`: a GPU profile from measurements of a serving replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.scenarios import settings
from caps_fast.errors import InputError

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from caps_fast.profiles.fit import Given
    from caps_fast.profiles.measurements import Measurements

POWER = ("idle_w", "peak_w", "power_exponent")

Files = Annotated[
    list[str],
    typer.Argument(
        help=(
            "tables of steps, request logs, logs of power, fitted together; or one table of prompt times, decode "
            "steps and power"
        )
    ),
]


@dataclass(frozen=True)
class Asked:
    """The options, apart from the outputs."""

    files: list[str]
    wanted: dict[str, str | int | None]
    settings: dict[str, Any]
    max_batch: int | None
    max_prompt: int | None
    prefill_s_per_token: float | None
    power_from: str | None
    idle_w: float | None
    cpu_s: float | None
    benchmark: int | None
    about: str | None
    source: str


@dataclass(frozen=True)
class Answer:
    """A fitted profile as data, its points (Polars), the report's lines, and the function that draws its picture."""

    profile: dict[str, Any]
    points: pl.DataFrame
    lines: list[str]
    picture: Callable[[], Figure]


def register(app: typer.Typer) -> None:
    """Add the command `fit-profile`."""
    app.command("fit-profile")(fit_profile)


def fit_profile(
    files: Files,
    out: Annotated[str | None, typer.Option(help="profile to write (TOML)")] = None,
    picture: Annotated[str | None, typer.Option(help="picture of fit and data to write (PNG, PDF or SVG)")] = None,
    residuals: Annotated[
        str | None, typer.Option(help="CSV to write with measured, fitted and error of every point")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help=(
                "a limit of the engine (--set cluster.max_batch=256), or a coefficient to fix (--set "
                "gpu.overhead_s=0.002)"
            ),
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="only this model (or part of its name)")] = None,
    hardware: Annotated[str | None, typer.Option(help="only this GPU (or part of its name)")] = None,
    tensor_parallel: Annotated[
        int | None,
        typer.Option(min=1, help="only replicas of this many GPUs; for a file without that column: its number of GPUs"),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="only this weight precision")] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(min=1, help="batch of a full replica, and the largest used; none = the largest measured"),
    ] = None,
    max_prompt: Annotated[int | None, typer.Option(min=1, help="longest prompt used, in tokens; none = all")] = None,
    prefill_s_per_token: Annotated[
        float | None, typer.Option(min=1e-12, help="seconds per prompt token, if not measured")
    ] = None,
    prefill_from: Annotated[str | None, typer.Option(help="profile to take the seconds per prompt token from")] = None,
    power_from: Annotated[str | None, typer.Option(help="profile to take power from, if not measured")] = None,
    idle_w: Annotated[float | None, typer.Option(min=0, help="idle power of one GPU in watts, if not measured")] = None,
    cpu_s: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="CPU seconds per iteration, if the table sums kernel times; none = 0.001"),
    ] = None,
    benchmark: Annotated[int | None, typer.Option(min=1, help="benchmark to use in logs of several")] = None,
    engine_terms: Annotated[
        bool,
        typer.Option(
            "--engine-terms",
            help="fit all terms of an engine's step (docs/model.md, section 2) to a table of prompt times too",
        ),
    ] = False,
    about: Annotated[str | None, typer.Option(help="description of the profile, for its file")] = None,
    source: Annotated[str | None, typer.Option(help="source of the measurements, for the profile's file")] = None,
) -> None:
    """Fit a GPU profile to measurements.

    Prints the coefficients with intervals, and the error at every point.
    """
    from caps_fast.files import expect_outputs, expect_picture
    from caps_fast.fitting.inputs import is_new
    from caps_fast.profiles.write import save_figure, toml_text, write_file

    if picture is not None:
        expect_picture(picture)
    expect_outputs({"--out": out, "--picture": picture, "--residuals": residuals}, files)
    if prefill_from is not None and prefill_s_per_token is not None:
        raise InputError("--prefill-from and --prefill-s-per-token: expected one of them")
    asked = Asked(
        files=files,
        wanted={"model": model, "hardware": hardware, "tensor_parallel": tensor_parallel, "precision": precision},
        settings=settings(set_),
        max_batch=max_batch,
        max_prompt=max_prompt,
        prefill_s_per_token=_field(prefill_from, "prefill_s_per_token")
        if prefill_from is not None
        else prefill_s_per_token,
        power_from=power_from,
        idle_w=idle_w,
        cpu_s=cpu_s,
        benchmark=benchmark,
        about=about,
        source=source or f"fitted to {', '.join(path.rpartition('/')[2] for path in files)}",
    )
    if len(files) > 1 or is_new(files[0]):
        found = _from_steps_and_logs(asked)
    else:
        found = _terms_of_measurements(asked) if engine_terms else _from_measurements(asked)
    text = toml_text(found.profile)
    if out is not None:
        write_file(out, text.encode())
    if residuals is not None:
        write_file(residuals, found.points.write_csv().encode())
    if picture is not None:
        save_figure(found.picture(), picture)
    print("\n".join([*found.lines, "", text]), end="")


def _from_measurements(asked: Asked) -> Answer:
    """Eq. 1 and 2, fitted to one table of prompt times, decode steps and power."""
    from caps_fast.cli.fit_report import measurement_lines
    from caps_fast.profiles.fit import fit
    from caps_fast.profiles.measurements import read_measurements
    from caps_fast.profiles.picture import picture
    from caps_fast.profiles.write import profile_of

    for option, given in (("--set", asked.settings or None), ("--cpu-s", asked.cpu_s)):
        if given is not None:
            raise InputError(f"{option}: for tables of steps and request logs; expected none with {asked.files[0]}")
    measured = read_measurements(asked.files[0], asked.wanted)
    found = fit(measured, _given(asked, measured))
    title = asked.about or measured.label or asked.files[0]
    return Answer(
        profile_of(found, title, asked.source), found.points, measurement_lines(found), lambda: picture(found, title)
    )


def _terms_of_measurements(asked: Asked) -> Answer:
    """As `_from_measurements`, with all terms of an engine's step."""
    import polars as pl

    from caps_fast.cli.fit_report import coefficient_lines, point_lines
    from caps_fast.fitting.picture import picture
    from caps_fast.fitting.profile import fit_measurements, held
    from caps_fast.profiles.measurements import read_measurements

    fixed, limits = held(asked.settings)
    if limits or asked.cpu_s is not None:
        option = f"--set {next(iter(limits))}" if limits else "--cpu-s"
        raise InputError(f"{option}: for tables of steps and request logs; expected none with {asked.files[0]}")
    measured = read_measurements(asked.files[0], asked.wanted)
    found, watts = fit_measurements(measured, _given(asked, measured), fixed)
    points = pl.concat([found.speed.points, watts])
    title = asked.about or found.label or asked.files[0]
    lines = [*coefficient_lines(found.speed), *point_lines(points)]
    return Answer(found.profile(title, asked.source), points, lines, lambda: picture(points, title))


def _from_steps_and_logs(asked: Asked) -> Answer:
    """All terms, fitted to tables of steps, request logs and logs of power together."""
    import polars as pl

    from caps_fast.cli.fit_report import coefficient_lines, point_lines
    from caps_fast.fitting.inputs import read_inputs
    from caps_fast.fitting.picture import picture
    from caps_fast.fitting.profile import fit_profile_to, held
    from caps_fast.fitting.speed import CPU_S
    from caps_fast.validation.replay import ENGINE

    if asked.max_prompt is not None:
        raise InputError(f"--max-prompt {asked.max_prompt}: for tables of prompt times; expected none")
    fixed, limits = held(asked.settings)
    if asked.prefill_s_per_token is not None:
        fixed["prefill_s_per_token"] = asked.prefill_s_per_token
    if asked.max_batch is not None:
        limits.setdefault("cluster.max_batch", asked.max_batch)
    inputs = read_inputs(asked.files, asked.wanted, asked.benchmark)
    full_at = limits.get("cluster.max_batch", ENGINE["cluster.max_batch"])
    borrowed = _power(asked.power_from, full_at) if asked.power_from is not None else None
    found = fit_profile_to(inputs, fixed, limits, borrowed, asked.idle_w, CPU_S if asked.cpu_s is None else asked.cpu_s)
    points = found.speed.points if found.power is None else pl.concat([found.speed.points, found.power.points])
    title = asked.about or found.label
    lines = [*coefficient_lines(found.speed), *point_lines(points), "", *(f"note: {note}" for note in found.notes)]
    return Answer(found.profile(title, asked.source), points, lines, lambda: picture(points, title))


def _given(asked: Asked, measured: Measurements) -> Given:
    """What a fit to one table takes from options."""
    from caps_fast.profiles.fit import Given

    full_at = asked.max_batch or round(float(measured.frame["batch"].max() or 1))  # type: ignore[arg-type]
    power = _power(asked.power_from, full_at) if asked.power_from is not None else None
    return Given(full_at, asked.max_prompt, asked.prefill_s_per_token, asked.idle_w, power)


def _field(profile: str, name: str) -> float:
    from caps_fast.profiles import profile_fields

    value = profile_fields(profile).get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{profile}: {name} {value!r}: expected a number")
    return float(value)


def _power(profile: str, max_batch: Any) -> dict[str, float]:
    from caps_fast.profiles import profile_fields

    fields = profile_fields(profile, max_batch if isinstance(max_batch, int) else None)
    missing = [name for name in POWER if not isinstance(fields.get(name), int | float)]
    if missing:
        raise InputError(f"{profile}: {missing[0]} is missing: expected a number")
    return {name: float(fields[name]) for name in (*POWER, "prefill_w") if isinstance(fields.get(name), int | float)}
