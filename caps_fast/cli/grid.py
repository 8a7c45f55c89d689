"""`grid`: every combination of the values given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.declared import CARBON, CLOCK, TRACE, declaring
from caps_fast.cli.options import Address, AsJson, Backend, ByPool, DryRun, Fresh, Jobs, Out, RetryFailed
from caps_fast.cli.sweeping import run_plan
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.sweep.axes import Axis


def register(app: typer.Typer) -> None:
    """Add the command `grid`."""
    app.command("grid")(declaring(TRACE, CARBON, CLOCK)(grid))


def grid(
    rates: Annotated[str | None, typer.Option(help="mean arrivals a second, as 2..16 or 4,8,12 [default: the scenario's]")] = None,
    policies: Annotated[str, typer.Option(help="names, main, ablations, all, or Python files of yours, with commas")] = "main",
    splits: Annotated[str | None, typer.Option(help="GPUs a pool, as 8/8/8,6/10/8")] = None,
    alpha: Annotated[str | None, typer.Option(help="weights of goodput")] = None,
    beta: Annotated[str | None, typer.Option(help="weights of carbon, as 0..2:0.25")] = None,
    lambda_: Annotated[str | None, typer.Option("--lambda", help="weights of SLO violation")] = None,
    seeds: Annotated[str, typer.Option(help="how many, from 0; or which, as 3..7 or 1,2,5")] = "5",
    days: Annotated[str | None, typer.Option(help="length of a run [default: the scenario's]")] = None,
    preset: Annotated[str | None, typer.Option(help="preset, or several with commas between them [default: paper]")] = None,
    scenario: Annotated[Path | None, typer.Option(help="scenario file to start from, instead of a preset")] = None,
    trace: Annotated[str | None, typer.Option(help="request trace")] = None,
    carbon: Annotated[str | None, typer.Option(help="carbon file")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="any other field, as monitor.gate_quantile=0.3..0.7:0.1; may be repeated")] = None,
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

    Ranges are a..b, a..b:step or a..b:logN, both ends included. Killed or interrupted, the same command goes on with
    what is missing.
    """
    from dataclasses import replace

    from caps_fast.sweep import Grid, Workers
    from caps_fast.sweep.axes import axis
    from caps_fast.sweep.file import assemble, seed_axis

    given = {"preset": preset, "rate": rates, "split": splits, "days": days, "policy": policies, "alpha": alpha, "beta": beta, "lambda": lambda_}
    options = {"rate": "--rates", "split": "--splits", "policy": "--policies"}
    axes = [axis(name, text, options.get(name, f"--{name}")) for name, text in given.items() if text is not None]
    axes += [axis(name, [path], f"--{name}") for name, path in (("trace", trace), ("carbon", carbon)) if path is not None]
    axes += [_set_axis(text) for text in set_ or []]
    axes.append(seed_axis(seeds, "--seeds"))
    plan = assemble("grid", [Grid("", declared, tuple(axes))], file=scenario)
    run_plan(replace(plan, by_pool=by_pool), out, Workers(jobs, backend, address), (dry_run, retry_failed, fresh, as_json))


def _set_axis(text: str) -> Axis:
    from caps_fast.sweep.axes import axis

    name, equals, raw = text.partition("=")
    if not equals or not name.strip() or not raw.strip():
        raise InputError(f"--set {text!r}: expected field=value, field=value,value or field=a..b:step")
    return axis(name.strip(), raw, f"--set {name.strip()}")
