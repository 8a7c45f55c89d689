"""`sweep FILE` and `grid`: many runs, on every core, into one folder that survives anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from caps_fast.cli.declared import CARBON, CLOCK, TRACE, declaring
from caps_fast.cli.json_text import json_text
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.sweep import Plan, Workers
    from caps_fast.sweep.axes import Axis

Out = Annotated[str, typer.Option(help="folder for the results, or an object store's URL")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say how many runs, how long and how large, and stop")]
Jobs = Annotated[int, typer.Option(min=0, max=4096, help="runs at a time; 0 = one a core")]
Backend = Annotated[Literal["threading", "loky", "dask"], typer.Option(help="threads, processes, or a dask.distributed cluster")]
Address = Annotated[str | None, typer.Option(help="the cluster's scheduler, host:port")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="try again the runs that failed before")]
Fresh = Annotated[bool, typer.Option("--fresh", help="discard what the folder holds")]
ByPool = Annotated[bool, typer.Option("--by-pool", help="keep the metrics of every pool too, as columns pool.NAME.METRIC")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


def register(app: typer.Typer) -> None:
    """Add the commands `sweep` and `grid`."""
    app.command("sweep")(sweep)
    app.command("grid")(declaring(TRACE, CARBON, CLOCK)(grid))


def sweep(
    file: Annotated[Path, typer.Argument(help="a sweep in TOML, such as sweeps/paper.toml")],
    out: Annotated[str | None, typer.Option(help="folder for the results, or an object store's URL [default: results/NAME]")] = None,
    dry_run: DryRun = False,
    jobs: Jobs = 0,
    backend: Backend = "threading",
    address: Address = None,
    retry_failed: RetryFailed = False,
    fresh: Fresh = False,
    by_pool: ByPool = False,
    as_json: AsJson = False,
) -> None:
    """Run the sweep that FILE describes. Killed or interrupted, the same command goes on with what is missing."""
    from dataclasses import replace

    from caps_fast.sweep import Workers, load

    _run(
        replace(load(file), by_pool=by_pool), out or f"results/{file.stem}", Workers(jobs, backend, address), (dry_run, retry_failed, fresh, as_json)
    )


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
    """Run every combination of the values given. Ranges are a..b, a..b:step or a..b:logN, both ends included."""
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
    _run(replace(plan, by_pool=by_pool), out, Workers(jobs, backend, address), (dry_run, retry_failed, fresh, as_json))


def _set_axis(text: str) -> Axis:
    from caps_fast.sweep.axes import axis

    name, equals, raw = text.partition("=")
    if not equals or not name.strip() or not raw.strip():
        raise InputError(f"--set {text!r}: expected field=value, field=value,value or field=a..b:step")
    return axis(name.strip(), raw, f"--set {name.strip()}")


def _run(plan: Plan, out: str, workers: Workers, flags: tuple[bool, bool, bool, bool]) -> None:
    from caps_fast.sweep import check
    from caps_fast.sweep import sweep as run
    from caps_fast.sweep.drive import local_folder
    from caps_fast.sweep.fanout import Terminated

    dry_run, retry_failed, fresh, as_json = flags
    if dry_run:
        check(plan)
        _tell_estimate(plan, workers.count, as_json)
        return
    try:
        swept = run(plan, out, workers, retry_failed=retry_failed, fresh=fresh)
    except KeyboardInterrupt as error:
        print(f"interrupted; finished runs are kept in {local_folder(out)}, and the same command goes on from there", file=sys.stderr)
        raise typer.Exit(143 if isinstance(error, Terminated) else 130) from None
    _tell_results(swept.runs, as_json)
    _draw_rates(swept.runs, out)
    for failure in swept.failures[:20]:
        print(f"failed: {failure.run}: {failure.error}", file=sys.stderr)
    if swept.failures:
        more = f"{len(swept.failures):,} runs failed; all are in failures.json, and --retry-failed tries them again"
        print(f"caps-fast: {more}", file=sys.stderr)
        raise typer.Exit(1)


def _tell_estimate(plan: Plan, jobs: int, as_json: bool) -> None:
    from dataclasses import asdict

    from caps_fast.progress import duration, quantity
    from caps_fast.sweep.estimate import REQUESTS_PER_CORE_S, estimate

    found = estimate(plan, jobs)
    if as_json:
        print(json_text(asdict(found)))
        return
    speed = f"at {quantity(REQUESTS_PER_CORE_S)} requests a second and core"
    requests = f"{quantity(found.requests)} requests, " if found.requests else ""
    print(f"{found.runs:,} runs, {requests}about {duration(found.seconds)} on {jobs} cores ({speed}), {found.bytes / 1e6:.3g} MB of results")


def _draw_rates(runs: Any, out: str) -> None:
    """Rate curves as a picture in the results' folder, where there are rates; an earlier picture goes where there are none."""
    from caps_fast.sweep.alike import alike
    from caps_fast.sweep.disk import writing
    from caps_fast.sweep.drive import local_folder

    picture, shown = local_folder(out) / "rates.png", alike(runs)
    if shown.runs["rate_rps"].n_unique() < 2:
        with writing(picture):
            picture.unlink(missing_ok=True)
        return
    from caps_fast.report.rates import rate_curves

    rate_curves(runs, picture)
    print(f"drew {picture}" + (f": {shown.choice}" if shown.choice else ""), file=sys.stderr)


def _tell_published(runs: Any) -> None:
    """The paper's Table 1 beside ours, where the runs are of its set-up."""
    from caps_fast.policies import MAIN
    from caps_fast.reproduce.plan import PRESETS
    from caps_fast.reproduce.published import RATE_RPS
    from caps_fast.reproduce.table import table1
    from caps_fast.sweep.alike import alike_at_one_rate, is_preset

    for block in runs.partition_by("preset", maintain_order=True):
        shown = alike_at_one_rate(block)
        if RATE_RPS in shown.runs["rate_rps"] and set(MAIN) <= set(shown.runs["policy"]) and is_preset(shown.runs, PRESETS):
            print(table1(shown.runs) + (f"\n  {shown.choice}" if shown.choice else ""))


def _tell_results(runs: Any, as_json: bool) -> None:
    from caps_fast.sweep.summary import at_one_rate, summary, text_table

    table = summary(runs)
    if as_json:
        print(table.write_json())
        return
    _tell_published(runs)
    chosen = at_one_rate(runs)
    rates = chosen["rate_rps"].unique().to_list()
    if chosen.height < runs.height:
        print(f"at {rates[0]:g} req/s, means over seeds:")
    print(text_table(table))
