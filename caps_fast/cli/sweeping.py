"""Common part of `sweep` and `grid`: run the plan and print its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.cli.talk import complain, say

if TYPE_CHECKING:
    from caps_fast.sweep import Plan, Workers


def run_plan(plan: Plan, out: str, workers: Workers, flags: tuple[bool, bool, bool, bool]) -> None:
    """Run what is missing of a plan (or estimate it, with `dry_run`) and print the results; exit code 1 where runs
    failed.
    """
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
        complain(f"interrupted; finished runs are in {local_folder(out)}; the same command resumes from there")
        raise typer.Exit(143 if isinstance(error, Terminated) else 130) from None
    _tell_results(swept.runs, as_json)
    _draw_rates(swept.runs, out)
    for failure in swept.failures[:20]:
        complain(f"failed: {failure.run}: {failure.error}")
    if swept.failures:
        more = (
            f"{len(swept.failures):,} runs failed; they are listed in failures.json, and --retry-failed runs them again"
        )
        complain(f"caps-fast: {more}")
        raise typer.Exit(1)


def _tell_estimate(plan: Plan, jobs: int, as_json: bool) -> None:
    from dataclasses import asdict

    from caps_fast.progress import duration, quantity
    from caps_fast.sweep.estimate import REQUESTS_PER_CORE_S, estimate

    found = estimate(plan, jobs)
    if as_json:
        print(json_text(asdict(found)))
        return
    speed = f"at {quantity(REQUESTS_PER_CORE_S)} requests per second and core"
    requests = f"{quantity(found.requests)} requests, " if found.requests else ""
    print(
        f"{found.runs:,} runs, {requests}about {duration(found.seconds)} on {jobs} cores ({speed}), "
        f"{found.bytes / 1e6:.3g} MB of results"
    )


def _draw_rates(runs: Any, out: str) -> None:
    """Draw rate curves into the folder of results if there are several rates; otherwise remove an earlier picture."""
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
    say(f"drew {picture}" + (f": {shown.choice}" if shown.choice else ""))


def _tell_published(runs: Any) -> None:
    """The paper's Table 1 next to ours, if the runs have its set-up."""
    from caps_fast.policies import MAIN
    from caps_fast.reproduce.plan import PRESETS
    from caps_fast.reproduce.published import RATE_RPS
    from caps_fast.reproduce.table import table1
    from caps_fast.sweep.alike import alike_at_one_rate, is_preset

    for block in runs.partition_by("preset", maintain_order=True):
        shown = alike_at_one_rate(block)
        if (
            RATE_RPS in shown.runs["rate_rps"]
            and set(MAIN) <= set(shown.runs["policy"])
            and is_preset(shown.runs, PRESETS)
        ):
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
