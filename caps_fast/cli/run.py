"""`run`: one scenario, under one or several policies on the same requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.declared import CARBON, CLOCK, TRACE, declaring
from caps_fast.cli.json_text import json_text
from caps_fast.cli.scenarios import scenario_of, settings
from caps_fast.cli.talk import say
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.results import Result
    from caps_fast.scenario import Scenario


def register(app: typer.Typer) -> None:
    """Add the command `run`."""
    app.command("run")(declaring(TRACE, CARBON, CLOCK)(run))


def run(
    scenario: Annotated[str, typer.Argument(help="a scenario in TOML, or the name of a preset")] = "paper",
    policies: Annotated[
        str | None, typer.Option(help="policies on the same requests, with commas: names, main, ablations, all, or Python files of yours")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="requests a second")] = None,
    days: Annotated[float | None, typer.Option(help="simulated days")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of every random stream")] = None,
    split: Annotated[str | None, typer.Option(help="GPUs a pool, like 8/8/8; sizes the cluster too")] = None,
    trace: Annotated[str | None, typer.Option(help="request trace to replay; its own rate unless --rate is given")] = None,
    workload: Annotated[str | None, typer.Option(help="workload file of client groups; its own rate unless --rate is given")] = None,
    carbon: Annotated[str | None, typer.Option(help="carbon intensity file")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="any field: --set policy.beta=1; may be repeated")] = None,
    requests_out: Annotated[Path | None, typer.Option(help="write one row a request to this Parquet file (one policy only)")] = None,
    series_out: Annotated[Path | None, typer.Option(help="write a series of every pool to this Parquet file (one policy only)")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="save the state here every minute, and go on from it if it is there")] = None,
    by_pool: Annotated[bool, typer.Option("--by-pool", help="print the metrics of every pool too")] = False,
    over_bound: Annotated[
        bool, typer.Option("--over-bound", help="print too what no policy could go below that keeps as many SLOs, and the bill over it")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print rows of parameters and metrics as JSON")] = False,
    *,
    declared: dict[str, Any],
) -> None:
    """Simulate a scenario and print a table."""
    from caps_fast.choose import check_options
    from caps_fast.files import expect_outputs
    from caps_fast.progress import Progress
    from caps_fast.simulation import Recording, simulate_group
    from caps_fast.sweep.values import COUNT

    given: dict[str, Any] = {
        "workload.rate_rps": rate,
        "days": days,
        "seed": seed,
        "cluster.split": split,
        "workload.trace": trace,
        "workload.file": workload,
        "carbon.file": carbon,
    }
    changes = {field: value for field, value in given.items() if value is not None} | declared
    if trace is not None and rate is None:
        changes["workload.rate_rps"] = None
    if split is not None:
        changes["cluster.gpus"] = sum(int(part) for part in split.split("/") if COUNT.fullmatch(part)) or 1
    config = scenario_of(scenario).replace(changes | settings(set_))
    names = _names(policies, config)
    if len(names) > 1 and (requests_out or series_out):
        raise InputError(f"--policies {policies}: --requests-out and --series-out take one policy; expected a single name")
    configs = [config.replace({"policy.name": name}) for name in names]
    outputs = {"--requests-out": requests_out, "--series-out": series_out, "--checkpoint": checkpoint}
    expect_outputs(outputs, {scenario, *(path for one in configs for path in one.input_files)})
    check_options(configs)
    expected = (config.workload.rate_rps or 0) * config.horizon_s * len(configs)
    progress = Progress(len(configs), expected)
    record = Recording(requests=requests_out is not None, sample_every_s=max(config.horizon_s / 2000, config.control_step_s) if series_out else None)

    def go_on(requests: int) -> None:
        progress.skip(requests, runs=0)
        say(f"{checkpoint}: going on after {requests:,} requests")

    results = simulate_group(configs, record, on_progress=lambda requests: progress.add(0, requests), checkpoint=checkpoint, on_restore=go_on)
    progress.add(len(configs), 0)
    progress.close()
    for note in dict.fromkeys(note for result in results for note in result.notes):
        say(f"note: {note}")
    if requests_out:
        _write(results[0].request_table, requests_out)
    if series_out:
        _write(results[0].series, series_out)
    bounds = [_bound(result) if over_bound else {} for result in results]
    if as_json:
        told = ({"notes": result.notes, "scenario": result.scenario.model_dump(mode="json")} for result in results)
        echo = [more | {"fleet": result.scenario.fleet.describe()} for result, more in zip(results, told, strict=True)]
        print(json_text([result.row(by_pool) | least | more for result, least, more in zip(results, bounds, echo, strict=True)], indent=1))
    else:
        _print_table(results)
        if over_bound:
            _print_bounds(results, bounds)
        if by_pool:
            _print_pools(results)


def _names(policies: str | None, config: Scenario) -> list[str]:
    from caps_fast.sweep.axes import policies as spelled_out

    return [config.policy.name] if policies is None else spelled_out([name.strip() for name in policies.split(",")])


def _write(frame: Any, path: Path) -> None:
    """Write Parquet, whole or not at all."""
    from caps_fast.files import whole

    with whole(path) as beside:
        frame.write_parquet(beside)
    say(f"wrote {len(frame):,} rows to {path}")


def _bound(result: Result) -> dict[str, float]:
    """What no policy could go below that keeps what this run kept (docs/bound.md), and the bill over it."""
    from caps_fast.books import ratio
    from caps_fast.bounds import bound_of_run

    least_kg = bound_of_run(result).kg
    return {"bound_kg": least_kg, "over_bound": ratio(result.metrics["bill_kg"], least_kg)}


def _print_bounds(results: list[Result], bounds: list[dict[str, float]]) -> None:
    from caps_fast.text_table import text_lines

    rows = [
        [result.scenario.policy.name, f"{result.metrics['bill_kg']:,.4g}", f"{own['bound_kg']:,.4g}", f"{own['over_bound']:.3f}"]
        for result, own in zip(results, bounds, strict=True)
    ]
    print("\n" + "\n".join(text_lines(["policy", "bill kg", "bound kg", "bill / bound"], rows, [False] + [True] * 3)))


def _print_table(results: list[Result]) -> None:
    from caps_fast.metrics import METRICS, TABLE
    from caps_fast.text_table import text_lines

    config, metrics = results[0].scenario, results[0].metrics
    rate = metrics["requests"] / config.horizon_s
    cluster = f"{config.fleet.replicas} GPUs in {config.fleet.split}"
    print(f"{metrics['requests']:,} requests in {config.days:g} days ({rate:.3g} a second), {cluster}, seed {config.seed}")
    rows = [[result.scenario.policy.name, *(METRICS[name].shown(result.metrics[name]) for name in TABLE)] for result in results]
    print("\n".join(text_lines(["policy", *(METRICS[name].heading for name in TABLE)], rows, [False] + [True] * len(TABLE))))


def _print_pools(results: list[Result]) -> None:
    """Metrics of every pool; of states beside idle and busy those in which some replica has been."""
    from caps_fast.arrays import BUSY, STATES
    from caps_fast.metrics import POOL_METRICS
    from caps_fast.text_table import text_lines

    pools = [(result.scenario.policy.name, pool, values) for result in results for pool, values in result.by_pool.items()]
    names = [name for name in POOL_METRICS if not name.startswith(STATES[BUSY + 1 :]) or any(values[name] for _, _, values in pools)]
    rows = [[policy, pool, *(POOL_METRICS[name].shown(values[name]) for name in names)] for policy, pool, values in pools]
    heads = ["policy", "pool", *(POOL_METRICS[name].heading for name in names)]
    print("\n" + "\n".join(text_lines(heads, rows, [False] * 2 + [True] * len(names))))
