"""`run`: one scenario, under one or several policies on the same requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.declared import CARBON, CLOCK, TRACE, declaring
from caps_fast.cli.json_text import json_text
from caps_fast.cli.options import Days, Policies, Rate, Scenario, Seed, Set, typed
from caps_fast.cli.run_tables import bound_of, print_bounds, print_pools, print_table
from caps_fast.cli.scenarios import as_typed, changed, expect_files, scenario_of, stated
from caps_fast.cli.talk import say
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.results import Result
    from caps_fast.simulation import Recording


MOST_RECORDED = 5_000_000  # requests of all policies, 120 bytes each, that a report may record


def register(app: typer.Typer) -> None:
    """Add the command `run`."""
    app.command("run")(declaring(TRACE, CARBON, CLOCK)(run))


def run(
    scenario: Scenario = "paper",
    policies: Policies = None,
    rate: Rate = None,
    days: Days = None,
    seed: Seed = None,
    split: Annotated[
        str | None, typer.Option("--split", "--splits", help="GPUs per pool, as 8/8/8; also sets the number of GPUs")
    ] = None,
    trace: Annotated[
        str | None, typer.Option(help="request trace to replay; at its own rate unless --rate is given")
    ] = None,
    workload: Annotated[
        str | None, typer.Option(help="workload file of client groups; at its own rate unless --rate is given")
    ] = None,
    carbon: Annotated[str | None, typer.Option(help="carbon intensity file")] = None,
    set_: Set = None,
    picture: Annotated[Path | None, typer.Option(help="picture of the run to write (PNG, PDF or SVG)")] = None,
    report: Annotated[Path | None, typer.Option(help="report of the run to write (.html)")] = None,
    requests_out: Annotated[
        Path | None, typer.Option(help="Parquet file to write with one row per request (one policy only)")
    ] = None,
    series_out: Annotated[
        Path | None, typer.Option(help="Parquet file to write with a series of every pool (one policy only)")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="file to save the state to every minute, and to resume from if it exists")
    ] = None,
    by_pool: Annotated[bool, typer.Option("--by-pool", help="also print the metrics of every pool")] = False,
    over_bound: Annotated[
        bool,
        typer.Option(
            "--over-bound",
            help="also print the least carbon of any policy with the same SLO attainment, and the bill over it",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print parameters and metrics as JSON")] = False,
    *,
    declared: dict[str, Any],
) -> None:
    """Simulate a scenario and print a table."""
    from caps_fast.choose import check_options
    from caps_fast.simulation import Recording

    given: dict[str, Any] = {
        "workload.rate_rps": rate,
        "days": days,
        "seed": seed,
        "cluster.split": split,
        "workload.trace": trace,
        "workload.file": workload,
        "carbon.file": carbon,
        **declared,
        **_size_of(split),
    }
    own_rate = {"workload.rate_rps": None} if trace is not None and rate is None else {}
    config = changed(scenario_of(scenario), stated(given) | own_rate, set_)
    names = _names(policies, config)
    if len(names) > 1 and (requests_out or series_out):
        raise InputError(
            f"{typed('--policies', '--policy')} {policies}: --requests-out and --series-out take one policy; "
            "expected a single name"
        )
    configs = [config.replace({"policy.name": name}) for name in names]
    expect_files(
        {
            "--picture": picture,
            "--report": report,
            "--requests-out": requests_out,
            "--series-out": series_out,
            "--checkpoint": checkpoint,
        },
        {scenario, *(path for one in configs for path in one.input_files)},
    )
    with as_typed(["policy.name"] if policies else []):
        check_options(configs)
    sampled = series_out or picture or report
    record = Recording(
        requests=requests_out is not None or (report is not None and _few_enough(configs)),
        sample_every_s=max(config.horizon_s / 2000, config.control_step_s) if sampled else None,
    )
    results = _simulate(configs, record, checkpoint)
    for note in dict.fromkeys(note for result in results for note in result.notes):
        say(f"note: {note}")
    if requests_out:
        _write(results[0].requests, requests_out)
    if series_out:
        _write(results[0].series, series_out)
    bounds = [bound_of(result) if over_bound else {} for result in results]
    if as_json:
        print(
            json_text([_row(result, by_pool) | least for result, least in zip(results, bounds, strict=True)], indent=1)
        )
    else:
        print_table(results)
        if over_bound:
            print_bounds(results, bounds)
        if by_pool:
            print_pools(results)
    _draw(results, picture, report)


def _size_of(split: str | None) -> dict[str, int]:
    """The size of the cluster that a split implies; a wrong one is reported later."""
    from caps_fast.sweep.values import COUNT

    if split is None:
        return {}
    return {"cluster.gpus": sum(int(part) for part in split.split("/") if COUNT.fullmatch(part)) or 1}


def _few_enough(configs: list[Any]) -> bool:
    """Whether a report is to have the table of requests by origin, for which they are recorded."""
    config = configs[0]
    expected = (config.workload.rate_rps or 0.0) * config.horizon_s * len(configs)
    return config.origins is not None and 0 < expected <= MOST_RECORDED


def _simulate(configs: list[Any], record: Recording, checkpoint: Path | None) -> list[Result]:
    """The results of scenarios on the same requests, with progress."""
    from caps_fast.progress import Progress
    from caps_fast.simulation import simulate_group

    progress = Progress(len(configs), (configs[0].workload.rate_rps or 0) * configs[0].horizon_s * len(configs))

    def go_on(requests: int) -> None:
        progress.skip(requests, runs=0)
        say(f"{checkpoint}: resumed after {requests:,} requests")

    results = simulate_group(
        configs, record, on_progress=lambda requests: progress.add(0, requests), checkpoint=checkpoint, on_restore=go_on
    )
    progress.add(len(configs), 0)
    progress.close()
    return results


def _row(result: Result, by_pool: bool) -> dict[str, Any]:
    """A run as JSON: parameters, metrics, notes, the whole scenario and its fleet."""
    scenario = result.scenario
    return result.row(by_pool) | {
        "notes": result.notes,
        "scenario": scenario.model_dump(mode="json"),
        "fleet": scenario.fleet.describe(),
    }


def _draw(results: list[Result], picture: Path | None, report: Path | None) -> None:
    if picture is not None:
        from caps_fast.report.run_figure import run_figure
        from caps_fast.report.style import save

        save(run_figure(results), picture)
        say(f"wrote {picture}")
    if report is not None:
        from caps_fast.report import write_page

        write_page(results, report, name=results[0].scenario.preset)
        say(f"wrote {report}")


def _names(policies: str | None, config: Any) -> list[str]:
    from caps_fast.sweep.axes import policies as spelled_out

    return [config.policy.name] if policies is None else spelled_out([name.strip() for name in policies.split(",")])


def _write(frame: Any, path: Path) -> None:
    """Write Parquet atomically."""
    from caps_fast.files import whole

    with whole(path) as beside:
        frame.write_parquet(beside)
    say(f"wrote {path}: {len(frame):,} rows")
