"""`size`: the cheapest fleet that meets its targets, for each policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.cli.options import Days, Jobs, Picture, Policies, Scenario, Set, typed
from caps_fast.cli.scenarios import as_typed, changed, scenario_of, stated
from caps_fast.cli.talk import say
from caps_fast.errors import InputError

if TYPE_CHECKING:
    from caps_fast.sizing import Sized
    from caps_fast.sizing.search import Tried


def register(app: typer.Typer) -> None:
    """Add the command `size`."""
    app.command("size")(size)


def size(
    scenario: Scenario,
    slo: Annotated[
        str, typer.Option(help="target share of all requests that meet their SLO; none = no target")
    ] = "0.95",
    tier: Annotated[
        list[str] | None, typer.Option("--tier", "--tiers", help="target share of a tier, as gold=0.9; repeatable")
    ] = None,
    policies: Policies = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            help="field to vary, as replicas=4..32, split=8/8/8,6/10/8, pools.batch.replicas=0..40 or "
            "policy.placement=residents,prompts; repeatable [default: replicas, up to twice the scenario's]"
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option("--objective", "--objectives", help="what to minimise: carbon, money (with prices) or replicas"),
    ] = "carbon",
    rates: Annotated[
        str | None, typer.Option("--rates", "--rate", help="mean arrivals per second, as 4,8,12: fleet size over load")
    ] = None,
    days: Days = None,
    seeds: Annotated[
        str, typer.Option("--seeds", "--seed", help="greatest number of seeds, from 0; or which, as 3..7 or 1,2,5")
    ] = "5",
    confidence: Annotated[float, typer.Option(help="confidence of the intervals, between 0 and 1")] = 0.95,
    baseline: Annotated[str | None, typer.Option(help="policy to compare the others with [default: the first]")] = None,
    set_: Set = None,
    picture: Picture = None,
    jobs: Jobs = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, one row per policy and rate")] = False,
) -> None:
    """Find the cheapest fleet that meets its SLO targets.

    Sizes the fleet for each policy, and then compares the policies, each at its own size (docs/sizing.md). If no fleet
    in the range meets the targets, the message reports how close the best one is, and the exit code is 2.
    """
    from caps_fast.files import expect_outputs, expect_picture
    from caps_fast.sizing import size as find
    from caps_fast.sizing.fleets import axes_of
    from caps_fast.sweep import Workers
    from caps_fast.sweep.axes import axis
    from caps_fast.sweep.file import seed_axis

    if picture is not None:
        expect_picture(picture)
        expect_outputs({"--picture": picture}, [scenario])
    base = changed(scenario_of(scenario), stated({"days": days}), set_)
    with as_typed(["policy.name", "workload.rate_rps"]):
        found = find(
            base,
            [] if policies is None else [name.strip() for name in policies.split(",")],
            slo=None if slo.strip().lower() == "none" else _share(slo, "--slo"),
            tiers=_tiers(tier or []),
            over=axes_of(over or []),
            objective=objective,
            rates=[]
            if rates is None
            else [point[0] for point in axis("rate", rates, typed("--rates", "--rate")).points],
            seeds=[point[0] for point in seed_axis(seeds, typed("--seeds", "--seed")).points],
            confidence=confidence,
            baseline=baseline,
            workers=Workers(jobs),
            on_verdict=_tell_verdict,
        )
    for note in found.notes:
        say(f"note: {note}")
    if picture is not None:
        from caps_fast.report.sizes import size_picture

        size_picture(found, picture)
        say(f"drew {picture}")
    print(json_text(found.rows(), indent=1) if as_json else _text(found))


def _tiers(pairs: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair in pairs:
        name, equals, share = pair.partition("=")
        if not equals or name in found:
            raise InputError(f"--tier {pair!r}: expected a tier and its share, once each, as gold=0.9")
        found[name] = _share(share, f"--tier {name}")
    return found


def _share(text: str, origin: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{origin} {text!r}: expected a share above 0, at most 1") from None


def _tell_verdict(tried: Tried, fleet: int) -> None:
    from caps_fast.sizing.outcome import asked_by, called

    verdict = tried.verdict(fleet)
    missed = verdict.missed.metric
    said = tried.errors(fleet)
    if not said:
        figure = _figure(missed, *_ends(tried.interval(fleet, missed)))
        said = f"{'meets' if verdict.keeps else 'misses'} its targets, {figure}"
    say(f"{asked_by(tried)}: {called(tried, fleet)}: {said}")


def _text(found: Sized) -> str:
    from caps_fast.metrics import METRICS
    from caps_fast.sizing.outcome import BILLS
    from caps_fast.sizing.search import MONEY
    from caps_fast.sizing.targets import SLO
    from caps_fast.text_table import text_lines

    priced = bool((found.answers[MONEY].fill_null(0.0) > 0).any())
    bills = [name for name in BILLS if priced or name != MONEY]
    shown = [*dict.fromkeys([SLO, *(target.metric for target in found.targets)]), *bills]
    keys = [*(["rate_rps"] if found.answers["rate_rps"].n_unique() > 1 else []), "replicas", "split", *found.axes]
    heads = [
        "policy",
        *("req/s" if key == "rate_rps" else key for key in keys),
        *(METRICS[name].heading for name in shown),
        "seeds",
    ]
    right = [False, *(key in ("rate_rps", "replicas") for key in keys), *[True] * (len(shown) + 1)]
    lines = text_lines(heads, [_cells(row, keys, shown) for row in found.answers.iter_rows(named=True)], right)
    wanted = ", ".join(f"{METRICS[one.metric].heading} at least {100 * one.least:g}%" for one in found.targets)
    least = "replicas" if found.objective == "replicas" else METRICS[found.objective].heading
    text = [f"least {least} with {wanted}; means over seeds with intervals", *lines]
    if found.too_small.height:
        text += ["", "the next smaller fleets miss it:"]
        for row in found.too_small.to_dicts():
            doubt = "" if row["certain"] else " (uncertain: within the interval)"
            text.append(f"  {row['policy']}{_at(row, keys)}, {row['replicas']} in {row['split']}: {row['why']}{doubt}")
    if found.savings.height:
        text += ["", f"relative to {found.baseline}, each at its own best size, on the same requests:"]
        for (policy, _), rows in found.savings.group_by("policy", "rate_rps", maintain_order=True):
            told = [row for row in rows.to_dicts() if priced or row["metric"] != MONEY]
            differences = "; ".join(map(_difference, told))
            text.append(f"  {policy}{_at(rows.row(0, named=True), keys)}: {differences}")
    return "\n".join(text)


def _cells(row: dict[str, Any], keys: list[str], shown: list[str]) -> list[str]:
    figures = ["-"] * len(shown)
    if row["replicas"]:
        figures = [_figure(name, row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in shown]
    return [
        row["policy"],
        *("-" if row[key] is None else f"{row[key]}" for key in keys),
        *figures,
        str(row["seeds"] or "-"),
    ]


def _at(row: dict[str, Any], keys: list[str]) -> str:
    return f" at {row['rate_rps']:g} req/s" if "rate_rps" in keys else ""


def _figure(name: str, mean: float | None, low: float | None, high: float | None) -> str:
    """A metric with half its interval; shares with one more digit than elsewhere, since they are close to their
    targets.
    """
    from caps_fast.metrics import METRICS, SHARE

    if mean is None:
        return "-"
    if METRICS[name].unit == SHARE:
        return f"{100 * mean:.2f}%" + ("" if high is None else f" ± {100 * (high - mean):.2f}")
    return METRICS[name].shown(mean) + ("" if high is None else f" ± {METRICS[name].shown(high - mean)}")


def _ends(one: Any) -> tuple[float, float | None, float | None]:
    from math import isfinite

    return (one.mean, one.low, one.high) if isfinite(one.half) else (one.mean, None, None)


def _difference(row: dict[str, Any]) -> str:
    from caps_fast.metrics import METRICS, SHARE
    from caps_fast.text_table import counted

    if row["metric"] == "replicas":
        return f"{counted(round(row['mean']), 'replica')} instead of {row['baseline']:.0f}"
    heading, share = METRICS[row["metric"]].heading, METRICS[row["metric"]].unit == SHARE
    scale, unit = (100, " points") if share else (1, "")
    ends = "" if row["pairs"] < 2 else f" [{scale * row['low']:+,.2f}, {scale * row['high']:+,.2f}]"
    relative = "" if share else f" ({row['relative']:+.1%})"
    return f"{heading} {scale * row['difference']:+,.2f}{ends}{unit}{relative}"
