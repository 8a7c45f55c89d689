"""`profiles` and `fit-profile`: built-in GPU profiles, and making one from measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.profiles.fit import Fit

MICRO, MILLI = 1e6, 1e3


def register(app: typer.Typer) -> None:
    """Add the commands `profiles` and `fit-profile`."""
    app.command("profiles")(show_profiles)
    app.command("fit-profile")(fit_profile)


def show_profiles(name: Annotated[str | None, typer.Argument(help="a profile to show whole, by name or file; none = list all")] = None) -> None:
    """List the built-in GPU profiles, or show one."""
    from caps_fast.profiles import profiles, read_profile
    from caps_fast.profiles.write import toml_text

    if name is not None:
        print(toml_text(read_profile(name)), end="")
        return
    print(f"{'profile':24} {'GPUs':>4} {'prefill':>9} {'step':>22} {'idle':>5} {'peak':>5} {'eta':>6} {'full at':>7}  about")
    for key, found in profiles().items():
        step = f"{MILLI * found['decode_base_s']:.4g} + {MILLI * found['decode_s_per_seq']:.3g} b ms"
        prefill = f"{MICRO * found['prefill_s_per_token']:.4g} us"
        full_at = found.get("fit", {}).get("max_batch", "")
        power = f"{found['idle_w']:5.0f} {found['peak_w']:5.0f} {found['power_exponent']:6.3f}"
        print(f"{key:24} {found['gpus_per_replica']:4} {prefill:>9} {step:>22} {power} {full_at:>7}  {found.get('about', '')}")


def fit_profile(
    file: Annotated[str, typer.Argument(help="measurements: plain CSV, SplitwiseSim's or ML.ENERGY's table")],
    out: Annotated[str | None, typer.Option(help="profile to write (TOML)")] = None,
    picture: Annotated[str | None, typer.Option(help="picture of fit against data to write (PNG, PDF or SVG)")] = None,
    model: Annotated[str | None, typer.Option(help="only this model (or part of its name)")] = None,
    hardware: Annotated[str | None, typer.Option(help="only this GPU (or part of its name)")] = None,
    tensor_parallel: Annotated[
        int | None, typer.Option(min=1, help="only replicas of this many GPUs; in a plain file without the column: their number")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="only this weight precision")] = None,
    max_batch: Annotated[int | None, typer.Option(min=1, help="batch of a full GPU, and the largest used; none = the largest measured")] = None,
    max_prompt: Annotated[int | None, typer.Option(min=1, help="longest prompt used, in tokens; none = all")] = None,
    prefill_s_per_token: Annotated[float | None, typer.Option(min=1e-12, help="seconds a prompt token, where not measured")] = None,
    prefill_from: Annotated[str | None, typer.Option(help="profile to take the seconds a prompt token from")] = None,
    power_from: Annotated[str | None, typer.Option(help="profile to take power from, where not measured")] = None,
    idle_w: Annotated[float | None, typer.Option(min=0, help="idle power of one GPU in watts, where not measured")] = None,
    about: Annotated[str | None, typer.Option(help="what the profile is of, for its file")] = None,
    source: Annotated[str | None, typer.Option(help="where the measurements are from, for the profile's file")] = None,
) -> None:
    """Fit a GPU profile to measurements and report the error at every point."""
    from caps_fast.files import expect_outputs, expect_picture
    from caps_fast.profiles.fit import Given, fit
    from caps_fast.profiles.measurements import read_measurements
    from caps_fast.profiles.write import profile_of, save_figure, toml_text, write_file

    wanted = {"model": model, "hardware": hardware, "tensor_parallel": tensor_parallel, "precision": precision}
    if picture is not None:
        expect_picture(picture)
    expect_outputs({"--out": out, "--picture": picture}, [file])
    measured = read_measurements(file, wanted)
    if prefill_from is not None and prefill_s_per_token is not None:
        raise InputError("--prefill-from and --prefill-s-per-token: expected one of them")
    prefill = _field(prefill_from, "prefill_s_per_token") if prefill_from is not None else prefill_s_per_token
    full_at = max_batch or round(float(measured.frame["batch"].max() or 1))  # type: ignore[arg-type]
    power = _power(power_from, full_at) if power_from is not None else None
    found = fit(measured, Given(full_at, max_prompt, prefill, idle_w, power))
    title = about or measured.label or file
    text = toml_text(profile_of(found, title, source or f"fitted to {file.rpartition('/')[2]}"))
    print("\n".join(_report(found)))
    print(f"\n{text}", end="")
    if out is not None:
        write_file(out, text.encode())
    if picture is not None:
        from caps_fast.profiles.picture import picture as draw

        save_figure(draw(found, title), picture)


def _field(profile: str, name: str) -> float:
    from caps_fast.profiles import profile_fields

    value = profile_fields(profile).get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{profile}: {name} {value!r}: expected a number")
    return float(value)


def _power(profile: str, max_batch: int) -> dict[str, float]:
    from caps_fast.profiles import profile_fields

    fields = profile_fields(profile, max_batch)
    missing = [name for name in ("idle_w", "peak_w", "power_exponent") if not isinstance(fields.get(name), int | float)]
    if missing:
        raise InputError(f"{profile}: {missing[0]} is missing: expected a number")
    return {name: float(fields[name]) for name in ("idle_w", "peak_w", "power_exponent")}


def _report(found: Fit) -> list[str]:
    units = {"prefill": ("prompt tokens", "ms", MILLI), "step": ("batch", "ms", MILLI), "power": ("batch", "W a GPU", 1.0)}
    lines = [f"{'':8} {'at':>22} {'measured':>12} {'fitted':>12} {'error':>8}"]
    for what, at, measured, fitted, error in found.points.iter_rows():
        axis, unit, scale = units[what]
        lines.append(f"{what:8} {at:8,.5g} {axis:13} {scale * measured:12,.5g} {scale * fitted:12,.5g} {error:+8.1%}  {unit}")
    summary = found.summary()
    for what in units:
        if f"{what}_mean_error" in summary:
            lines.append(f"{what:8} mean error {summary[f'{what}_mean_error']:.1%}, worst {summary[f'{what}_worst_error']:+.1%}")
        else:
            lines.append(f"{what:8} not measured here: taken from elsewhere")
    return lines
