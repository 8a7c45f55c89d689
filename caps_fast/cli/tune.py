"""`tune`: search for the best settings of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.cli.options import CARBON, SLO, AsJson, Days, Jobs, Scenario, Set, typed
from caps_fast.cli.scenarios import changed, scenario_of, stated
from caps_fast.cli.talk import complain

if TYPE_CHECKING:
    from caps_fast.sweep.tune import Tuned


def register(app: typer.Typer) -> None:
    """Add the command `tune`."""
    app.command("tune")(tune)


def tune(
    scenario: Scenario,
    study: Annotated[Path, typer.Option(help="file that stores the trials; the same command resumes from it")] = Path(
        "results/tune.log"
    ),
    objectives: Annotated[
        str, typer.Option("--objectives", "--objective", help="two or more metrics, separated by commas")
    ] = f"{CARBON},{SLO}",
    search: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "field=low..high[:log], field=a,b,c or split; repeatable [default: beta, lambda, gate, "
                "plan_margin, split]"
            )
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="number of trials")] = 64,
    seeds: Annotated[
        str, typer.Option("--seeds", "--seed", help="seeds of the search: number, from 0; or which")
    ] = "3",
    held_out: Annotated[str, typer.Option(help="held-out seeds: number, from 1000; or which")] = "3",
    sampler: Annotated[
        Literal["tpe", "nsga2"], typer.Option(help="tree-structured Parzen estimator, or a genetic algorithm")
    ] = "tpe",
    days: Days = None,
    set_: Set = None,
    jobs: Jobs = 0,
    as_json: AsJson = False,
) -> None:
    """Search for the best settings of a policy.

    Prints the Pareto-optimal settings, and their metrics on held-out seeds.
    """
    from caps_fast.sweep import Workers
    from caps_fast.sweep.file import seed_axis
    from caps_fast.sweep.space import DEFAULT, dimension
    from caps_fast.sweep.tune import Search
    from caps_fast.sweep.tune import tune as run
    from caps_fast.sweep.values import COUNT

    base = changed(scenario_of(scenario), stated({"days": days}), set_)
    own = [point[0] for point in seed_axis(seeds, typed("--seeds", "--seed")).points]
    other = [
        point[0] + (1000 if COUNT.fullmatch(held_out.strip()) else 0)
        for point in seed_axis(held_out, "--held-out").points
    ]
    dimensions = tuple(dimension(text) for text in search or DEFAULT)
    wanted = Search(base, dimensions, tuple(objectives.split(",")), tuple(own), tuple(other), sampler)
    try:
        _tell_tuned(run(wanted, study, trials, Workers(jobs)), as_json)
    except KeyboardInterrupt:
        complain(f"interrupted; finished trials are in {study}; the same command resumes from there")
        raise typer.Exit(130) from None


def _tell_tuned(found: Tuned, as_json: bool) -> None:
    from dataclasses import asdict

    from caps_fast.sweep.summary import text_table

    if as_json:
        print(
            json_text(
                {
                    name: value if isinstance(value, int | float) else value.to_dicts()
                    for name, value in asdict(found).items()
                }
            )
        )
        return
    failed = f" ({found.failed} failed)" if found.failed else ""
    print(
        f"{found.front.height} Pareto-optimal settings of {found.trials} trials{failed}; {found.still_front} are "
        "Pareto-optimal on the held-out seeds too"
    )
    print(text_table(found.front))
    print("\nthe scenario as given:")
    print(text_table(found.as_given))
    print(f"\nhypervolume {found.hypervolume:.6g}; on the held-out seeds {found.held_out_hypervolume:.6g}")
