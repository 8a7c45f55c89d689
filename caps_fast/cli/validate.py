"""`validate`: replay a measured request log and compare measured with simulated latencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.cli.scenarios import settings
from caps_fast.cli.talk import say

if TYPE_CHECKING:
    from caps_fast.replica_section import Kind
    from caps_fast.validation import Comparison

MILLI = 1e3


def register(app: typer.Typer) -> None:
    """Add the command `validate`."""
    app.command("validate")(validate)


def validate(
    log: Annotated[
        str, typer.Argument(help="request log of an engine: our CSV, or a file of GuideLLM, AIPerf or vLLM")
    ],
    profile: Annotated[str, typer.Option(help="profile of a replica, by name or file")],
    replicas: Annotated[int, typer.Option(min=1, help="replicas that served the log")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="any field, with the engine's value: --set cluster.max_batch=256; repeatable"),
    ] = None,
    power: Annotated[
        str | None,
        typer.Option(help="power log of the run, of all replicas: time_s, power_w, or nvidia-smi's CSV"),
    ] = None,
    benchmark: Annotated[int | None, typer.Option(min=1, help="benchmark to use in a file of several")] = None,
    picture: Annotated[
        str | None, typer.Option(help="picture of both distributions to write (PNG, PDF or SVG)")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print metric, measured, simulated and error as JSON")
    ] = False,
) -> None:
    """Compare the simulator with a measured log.

    Replays the log with one queue over the replicas and prints measured and simulated latencies.
    """
    from caps_fast.files import expect_outputs, expect_picture
    from caps_fast.validation import Replay, compare, read_log
    from caps_fast.validation.power_log import read_power_log
    from caps_fast.validation.replay import engine_scenario

    if picture is not None:
        expect_picture(picture)
    expect_outputs({"--picture": picture}, [one for one in (log, power) if one is not None])
    measured = read_log(log, benchmark)
    watts = read_power_log(power).mean_w(measured) if power is not None else None
    replay = Replay(measured, engine_scenario(profile, replicas, settings(set_)))
    played = replay.play()
    found = compare(measured, played, watts)
    unfinished = int((played.e2e_s != played.e2e_s).sum())
    beyond = [f"{unfinished:,} requests did not finish in the replay and are not counted"] if unfinished else []
    for note in (*measured.notes, *beyond):
        say(f"note: {note}")
    if as_json:
        print(json_text([one.row() for one in found], indent=1))
    else:
        print(_title(len(measured), replicas, replay.kind))
        print("\n".join(_lines(found)))
    if picture is not None:
        from caps_fast.profiles.write import save_figure
        from caps_fast.validation.picture import picture as draw

        save_figure(draw(measured, played, f"{log}, {profile}"), picture)


def _title(requests: int, replicas: int, kind: Kind) -> str:
    memory = f"{kind.kv_capacity_tokens:,} tokens" if kind.kv_capacity_tokens else "without limit"
    engine = (
        f"max_batch {kind.max_batch}, {kind.prefill} prefill of {kind.chunk_tokens} tokens, KV memory {memory} "
        f"({kind.kv})"
    )
    return f"{requests:,} requests, {replicas} replica{'s' * (replicas > 1)} behind one queue, {engine}"


def _lines(found: list[Comparison]) -> list[str]:
    from caps_fast.text_table import text_lines

    rows = []
    for one in found:
        scale = MILLI if one.metric.endswith("_s") and not one.metric.endswith("per_s") else 1.0
        name = one.metric.removesuffix("_s") + "_ms" if scale == MILLI else one.metric
        rows.append([name, f"{scale * one.measured:,.4g}", f"{scale * one.simulated:,.4g}", f"{one.error:+.1%}"])
    return text_lines(["metric", "measured", "simulated", "error"], rows, [False, True, True, True])
