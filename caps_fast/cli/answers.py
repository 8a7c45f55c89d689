"""`pareto`, `compare` and `tune`: answers from sweeps, and settings that no grid holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.cli.scenarios import scenario_of, settings
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.sweep.tune import Tuned

Folder = Annotated[Path, typer.Argument(help="a sweep's folder, or a Parquet file of results")]
Jobs = Annotated[int, typer.Option(min=0, max=4096, help="runs at a time; 0 = one a core")]
Where = Annotated[list[str] | None, typer.Option(help="only these runs, as rate_rps=10 or policy=caps,edf; may be repeated")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
CARBON, SLO = "carbon_g_per_1k_tokens", "slo_attainment"


def register(app: typer.Typer) -> None:
    """Add the commands `pareto`, `compare` and `tune`."""
    app.command("pareto")(pareto)
    app.command("compare")(compare)
    app.command("tune")(tune)


def pareto(
    folder: Folder,
    x: Annotated[str, typer.Option(help="metric")] = CARBON,
    y: Annotated[str, typer.Option(help="metric")] = SLO,
    group: Annotated[
        str | None, typer.Option(help="a front for each value of these columns, as policy,rate_rps [default: the rate, if it varies]")
    ] = None,
    where: Where = None,
    reference: Annotated[str | None, typer.Option(help="the hypervolume's reference point, as 0.2,0.5 [default: the worst means]")] = None,
    picture: Annotated[Path | None, typer.Option(help="draw all settings and the front to a .png, .svg or .pdf")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the settings that no other beats in both metrics, over means of seeds, and the hypervolume of their front.

    docs/schema.md says of every metric which direction is better; one that has none is rejected.
    """
    from caps_fast.files import expect_outputs, expect_picture
    from caps_fast.sweep import frames, read
    from caps_fast.sweep.pareto import pareto as fronts
    from caps_fast.sweep.summary import text_table

    point = None if reference is None else [_number(part, "--reference") for part in reference.split(",")]
    if picture is not None:
        expect_picture(picture)
        expect_outputs({"--picture": picture}, [])
    runs = frames.where(read(folder), where or [])
    found = fronts(runs, [x, y], None if group is None else group.split(","), point)
    if picture is not None:
        from caps_fast.report.fronts import front_picture

        front_picture(runs, found, [x, y], picture)
        print(f"drew {picture}", file=sys.stderr)
    if as_json:
        print(
            json_text([{**front.group, "hypervolume": front.hypervolume, "of": front.of, "settings": front.settings.to_dicts()} for front in found])
        )
        return
    for front in found:
        of = ", ".join(f"{name} {value}" for name, value in front.group.items())
        print(f"{of + ': ' if of else ''}{front.settings.height} of {front.of} settings; hypervolume {front.hypervolume:.6g}")
        print(text_table(front.settings.drop(front.group)) + "\n")


def compare(
    folder: Folder,
    baseline: Annotated[str, typer.Option(help="value of the factor that all others are compared with")] = "round-robin",
    metric: Annotated[list[str] | None, typer.Option(help="metric; may be repeated [default: SLO attainment, carbon, TTFT]")] = None,
    factor: Annotated[str, typer.Option(help="column whose values are compared")] = "policy",
    confidence: Annotated[float, typer.Option(help="of the intervals, between 0 and 1")] = 0.95,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Print paired differences from a baseline on the same requests, with confidence intervals."""
    from caps_fast.sweep import frames, read
    from caps_fast.sweep.compare import METRICS, followers
    from caps_fast.sweep.compare import compare as differences
    from caps_fast.sweep.summary import text_table

    if not 0 < confidence < 1:
        raise InputError(f"--confidence {confidence:g}: expected a number between 0 and 1")
    runs = frames.where(read(folder), where or [])
    found = differences(runs, baseline, metric or METRICS, factor, confidence)
    if as_json:
        print(found.write_json())
        return
    print(f"difference from {factor} {baseline}, with {confidence:.0%} confidence intervals over paired seeds")
    if along := followers(runs, factor):
        print(f"changing with it: {', '.join(along)}")
    print(text_table(found.drop(along), rows=500))


def tune(
    scenario: Annotated[str, typer.Argument(help="preset or scenario file to start from")],
    study: Annotated[Path, typer.Option(help="file that keeps the trials; the same command goes on with it")] = Path("results/tune.log"),
    objectives: Annotated[str, typer.Option(help="two metrics or more, with commas between them")] = f"{CARBON},{SLO}",
    search: Annotated[
        list[str] | None,
        typer.Option(help="field=low..high[:log], field=a,b,c or split; may be repeated [default: beta, lambda, gate, plan_margin, split]"),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="trials in all")] = 64,
    seeds: Annotated[str, typer.Option(help="of the search: how many, from 0; or which")] = "3",
    held_out: Annotated[str, typer.Option(help="seeds that the search never sees: how many, from 1000; or which")] = "3",
    sampler: Annotated[Literal["tpe", "nsga2"], typer.Option(help="tree-structured Parzen estimator, or a genetic algorithm")] = "tpe",
    days: Annotated[float | None, typer.Option(help="length of a run [default: the scenario's]")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value for all trials; may be repeated")] = None,
    jobs: Jobs = 0,
    as_json: AsJson = False,
) -> None:
    """Search for the settings that no other beats, and show them again on seeds that the search never saw."""
    from caps_fast.sweep import Workers
    from caps_fast.sweep.file import seed_axis
    from caps_fast.sweep.space import DEFAULT, dimension
    from caps_fast.sweep.tune import Search
    from caps_fast.sweep.tune import tune as run
    from caps_fast.sweep.values import COUNT

    base = scenario_of(scenario).replace(({} if days is None else {"days": days}) | settings(set_))
    own = [point[0] for point in seed_axis(seeds, "--seeds").points]
    other = [point[0] + (1000 if COUNT.fullmatch(held_out.strip()) else 0) for point in seed_axis(held_out, "--held-out").points]
    dimensions = tuple(dimension(text) for text in search or DEFAULT)
    wanted = Search(base, dimensions, tuple(objectives.split(",")), tuple(own), tuple(other), sampler)
    try:
        _tell_tuned(run(wanted, study, trials, Workers(jobs)), as_json)
    except KeyboardInterrupt:
        print(f"interrupted; finished trials are kept in {study}, and the same command goes on from there", file=sys.stderr)
        raise typer.Exit(130) from None


def _tell_tuned(found: Tuned, as_json: bool) -> None:
    from dataclasses import asdict

    from caps_fast.sweep.summary import text_table

    if as_json:
        print(json_text({name: value if isinstance(value, int | float) else value.to_dicts() for name, value in asdict(found).items()}))
        return
    failed = f" ({found.failed} failed)" if found.failed else ""
    print(f"{found.front.height} settings that none of {found.trials} trials{failed} beats; {found.still_front} stand on the held-out seeds")
    print(text_table(found.front))
    print("\nthe scenario as given:")
    print(text_table(found.as_given))
    print(f"\nhypervolume {found.hypervolume:.6g}; on the held-out seeds {found.held_out_hypervolume:.6g}")


def _number(text: str, origin: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{origin} {text!r}: expected a number") from None
