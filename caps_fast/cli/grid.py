"""`grid`: every combination of the given values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.completion import complete_policies, complete_scenario
from caps_fast.cli.declared import CARBON, CLOCK, TRACE, declaring
from caps_fast.cli.options import Address, AsJson, Backend, ByPool, DryRun, Fresh, Jobs, Out, RetryFailed, Seeds, typed
from caps_fast.cli.scenarios import as_typed, expect_scenario
from caps_fast.cli.sweeping import run_plan
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.sweep.axes import Axis

NAMES = {
    "rate": ("--rates", "--rate"),
    "split": ("--splits", "--split"),
    "policy": ("--policies", "--policy"),
    "preset": ("--preset", "--presets"),
}


def register(app: typer.Typer) -> None:
    """Add the command `grid`."""
    app.command("grid")(declaring(TRACE, CARBON, CLOCK)(grid))


def grid(
    scenario: Annotated[
        str | None,
        typer.Argument(
            help="preset, or scenario file (TOML), to start from [default: paper]", autocompletion=complete_scenario
        ),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(
            "--rates", "--rate", help="mean arrivals per second, as 2..16 or 4,8,12 [default: the scenario's]"
        ),
    ] = None,
    policies: Annotated[
        str,
        typer.Option(
            "--policies",
            "--policy",
            autocompletion=complete_policies,
            help="names, main, ablations, all, or Python files, separated by commas",
        ),
    ] = "main",
    splits: Annotated[str | None, typer.Option("--splits", "--split", help="GPUs per pool, as 8/8/8,6/10/8")] = None,
    alpha: Annotated[str | None, typer.Option(help="weights of goodput")] = None,
    beta: Annotated[str | None, typer.Option(help="weights of carbon, as 0..2:0.25")] = None,
    lambda_: Annotated[str | None, typer.Option("--lambda", help="weights of SLO violation")] = None,
    seeds: Seeds = "5",
    days: Annotated[str | None, typer.Option(help="simulated days [default: the scenario's]")] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", "--presets", help="preset, or several separated by commas [default: paper]"),
    ] = None,
    scenario_file: Annotated[Path | None, typer.Option("--scenario", help="the same as the argument")] = None,
    trace: Annotated[str | None, typer.Option(help="request trace")] = None,
    carbon: Annotated[str | None, typer.Option(help="carbon intensity file")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="any other field, as --set monitor.gate_quantile=0.3..0.7:0.1; repeatable"),
    ] = None,
    out: Out = "results/grid",
    dry_run: DryRun = False,
    jobs: Jobs = 0,
    backend: Backend = "threading",
    address: Address = None,
    retry_failed: RetryFailed = False,
    fresh: Fresh = False,
    by_pool: ByPool = False,
    as_json: AsJson = False,
    *,
    declared: dict[str, Any],
) -> None:
    """Run every combination of the given values.

    Ranges are a..b, a..b:step or a..b:logN, both ends included. After an interruption, the same command runs what is
    missing.
    """
    from dataclasses import replace

    from caps_fast.sweep import Grid, Workers
    from caps_fast.sweep.axes import axis
    from caps_fast.sweep.file import assemble, seed_axis

    file, preset = _base(scenario, scenario_file, preset)
    given = {
        "preset": preset,
        "rate": rates,
        "split": splits,
        "days": days,
        "policy": policies,
        "alpha": alpha,
        "beta": beta,
        "lambda": lambda_,
    }
    axes = [
        axis(name, text, typed(*NAMES.get(name, (f"--{name}",)))) for name, text in given.items() if text is not None
    ]
    axes += [
        axis(name, [path], f"--{name}") for name, path in (("trace", trace), ("carbon", carbon)) if path is not None
    ]
    axes += [_set_axis(text) for text in set_ or []]
    axes.append(seed_axis(seeds, typed("--seeds", "--seed")))
    plan = assemble("grid", [Grid("", declared, tuple(axes))], file=file)
    fields = {field for one in axes for field in one.fields}
    set_fields = {axis_of.partition("=")[0].strip() for axis_of in set_ or []}
    with as_typed(fields - set_fields, set_fields):
        run_plan(
            replace(plan, by_pool=by_pool),
            out,
            Workers(jobs, backend, address),
            (dry_run, retry_failed, fresh, as_json),
        )


def _base(scenario: str | None, file: Path | None, preset: str | None) -> tuple[Path | None, str | None]:
    """The scenario file or the presets to start from. Raises InputError if several are given."""
    if scenario is None:
        return file, preset
    if file is not None or preset is not None:
        other = f"--scenario {file}" if file is not None else f"--preset {preset}"
        raise InputError(f"{scenario} together with {other}: expected one scenario to start from")
    from caps_fast.scenario import presets

    expect_scenario(scenario)
    return (None, scenario) if scenario in presets() else (Path(scenario), None)


def _set_axis(text: str) -> Axis:
    from caps_fast.sweep.axes import axis

    name, equals, raw = text.partition("=")
    if not equals or not name.strip() or not raw.strip():
        raise InputError(f"--set {text!r}: expected field=value, field=value,value or field=a..b:step")
    return axis(name.strip(), raw, f"--set {name.strip()}")
