"""Fitting the speed of a replica to tables of steps and request logs together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from caps_fast.errors import InputError
from caps_fast.fitting.evidence import Evidence, LogEvidence, StepEvidence
from caps_fast.fitting.solve import TOLD, Problem, Solution
from caps_fast.fitting.terms import EXPECTED_LAG, NAMES, SPEED, TERMS, start_of
from caps_fast.profiles.step_tables import Steps
from caps_fast.records import Array
from caps_fast.scenario import Scenario
from caps_fast.validation.compare import latencies
from caps_fast.validation.log import RequestLog
from caps_fast.validation.replay import Replay

CPU_S = 1e-3  # CPU time of an iteration, if kernel times are summed
BIAS = 0.03  # share by which a table's steps may be shorter than the steps of a log
DIGITS = 4
NORMAL_95 = 1.959964
SURE = 4.0  # margin of likelihood between the two lags, in twice the logarithm
FITTED, EXPECTED, GIVEN, ABSENT = (
    "fitted",
    "not determined by the data: about the expected value",
    "given",
    "not determined by the data: 0",
)


@dataclass(frozen=True)
class Coefficient:
    """A fitted field: its value, its source, and its 95 % interval if the data determine it."""

    field: str
    value: float | int
    origin: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class SpeedFit:
    """A fitted speed.

    coefficients  one per field of a kind of replica
    points        Polars, one row per measurement: `file`, `what`, `at`, `measured`, `fitted` (seconds), `error`
    notes         lines for the user
    """

    coefficients: tuple[Coefficient, ...]
    points: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def fields(self) -> dict[str, float | int]:
        """Fields of `Gpu`."""
        return {one.field: one.value for one in self.coefficients}

    def summary(self) -> dict[str, list[float]]:
        """Mean absolute and worst error by kind of measurement, for a profile's table `fit`."""
        told = {}
        for (what,), points in self.points.group_by("what", maintain_order=True):
            errors = points["error"].to_numpy()
            worst = float(errors[np.abs(errors).argmax()])
            name = str(what).replace(" ", "_").replace("'", "")
            told[f"{name}_error"] = [round(float(np.abs(errors).mean()), 4), round(worst, 4)]
        return told


def fit_speed(
    tables: Sequence[Steps],
    logs: Sequence[RequestLog],
    config: Scenario | None,
    fixed: Mapping[str, float],
    cpu_s: float = CPU_S,
) -> SpeedFit:
    """Fit the fields of `SPEED` and the lag, except those in `fixed`.

    `config` is the scenario in which logs are replayed (`engine_scenario`). Raises InputError if the data do not
    determine the time of a step without prompts, or of a prompt.
    """
    _expect_determined(tables, logs, fixed)
    bias = BIAS if logs else 0.0
    at_steps: dict[str, Evidence] = {one.path: StepEvidence(one, cpu_s if one.kernels else 0.0, bias) for one in tables}
    extra_s = cpu_s if any(one.kernels for one in tables) else 0.0
    replays = {log.path: (log, Replay(log, config)) for log in logs if config is not None}
    free = np.array([term.field not in fixed for term in TERMS])
    free[NAMES.index("outside")] &= bool(logs)
    start = _start(tables, logs)
    if at_steps and replays:
        without = free.copy()
        without[NAMES.index("outside")] = False
        start = Problem(at_steps, fixed, without, extra_s).solve(start).x
    lags = [int(fixed["lag_iterations"])] if "lag_iterations" in fixed else [0, 1] if replays else [EXPECTED_LAG]
    solved: dict[int, tuple[Problem, Solution]] = {}
    for lag in lags:
        at_logs = {path: LogEvidence(log, replay, lag) for path, (log, replay) in replays.items()}
        problem = Problem({**at_steps, **at_logs}, fixed, free, extra_s)
        solved[lag] = problem, problem.solve(start)
    lag = min(solved, key=lambda one: solved[one][1].loss)
    lag_origin = GIVEN if "lag_iterations" in fixed else FITTED if len(lags) > 1 else EXPECTED
    if len(lags) > 1 and abs(solved[0][1].loss - solved[1][1].loss) < SURE:
        lag, lag_origin = EXPECTED_LAG, EXPECTED
    problem, solution = solved[lag]
    coefficients = (*_coefficients(problem, solution, bool(logs)), Coefficient("lag_iterations", lag, lag_origin))
    return SpeedFit(coefficients, _points(solution), tuple(_notes(tables, cpu_s)))


def _expect_determined(tables: Sequence[Steps], logs: Sequence[RequestLog], fixed: Mapping[str, float]) -> None:
    if logs:
        return
    if not tables:
        raise InputError("no measurement of speed: expected a table of steps or a request log")
    files = ", ".join(one.path for one in tables)
    if not any((one.phase == 0).any() for one in tables):
        raise InputError(f"{files}: no step without prompt tokens: expected some, or a request log")
    if not any((one.phase > 0).any() for one in tables) and "prefill_s_per_token" not in fixed:
        raise InputError(
            f"{files}: no step with prompt tokens: expected some, a request log, --prefill-from or "
            "--prefill-s-per-token"
        )


def _start(tables: Sequence[Steps], logs: Sequence[RequestLog]) -> Array:
    """Initial unknowns: the fastest step, and the slowest prompts as if they were compute only."""
    quickest = [float(one.step_s.min()) for one in tables]
    prompts: list[float] = []
    for one in tables:
        with_prompts = one.prompt_tokens > 0
        prompts += (one.step_s[with_prompts] / (one.prompt_tokens + one.decoding)[with_prompts]).tolist()
    if prompts:
        return start_of(min(quickest), max(min(prompts), 1e-8))
    for log in logs:
        tpot_s = latencies(log, log.ttft_s, log.e2e_s)["tpot"]
        tpot_s = tpot_s[tpot_s > 0]
        quickest.append(float(np.quantile(tpot_s, 0.02)) if len(tpot_s) else float(log.ttft_s.min()))
        prompts.append(float(np.quantile(log.ttft_s / log.input_tokens, 0.1)))
    return start_of(max(min(quickest), 1e-5), max(min(prompts, default=1e-4), 1e-8))


def _coefficients(problem: Problem, solution: Solution, with_log: bool) -> list[Coefficient]:
    sd = problem.told(solution)
    value = problem.fields(solution.x)
    found = []
    for slot, term in enumerate(TERMS):
        name, rounded = term.field, float(f"{value[term.field]:.{DIGITS}g}")
        if name in problem.fixed:
            found.append(Coefficient(name, rounded, GIVEN))
            continue
        if name == "first_token_overhead_s" and not with_log:
            found.append(Coefficient(name, 0.0, ABSENT))
            continue
        if math.isfinite(term.expected) and sd[slot] > TOLD * term.spread:
            found.append(Coefficient(name, rounded, EXPECTED))
            continue
        wider = sd[slot] / max(solution.sd[slot], 1e-300)
        reach = NORMAL_95 * wider * _deviation(problem, solution, name)
        low = max(value[name] - reach, 1.0 if name == "overlap_exponent" else 0.0)
        found.append(Coefficient(name, rounded, FITTED, (float(f"{low:.3g}"), float(f"{value[name] + reach:.3g}"))))
    order = {name: at for at, name in enumerate(SPEED)}
    return sorted(found, key=lambda one: order[one.field])


def _deviation(problem: Problem, solution: Solution, name: str) -> float:
    """Standard deviation of a field, from the covariance of the unknowns."""
    slope = np.zeros(len(TERMS))
    for slot, term in enumerate(TERMS):
        less, more = solution.x.copy(), solution.x.copy()
        less[slot], more[slot] = max(less[slot] - term.step / 10, term.low), min(more[slot] + term.step / 10, term.high)
        slope[slot] = (problem.fields(more)[name] - problem.fields(less)[name]) / (more[slot] - less[slot])
    return math.sqrt(max(float(slope @ solution.covariance @ slope), 0.0))


def _points(solution: Solution) -> pl.DataFrame:
    schema = {"file": pl.String, "what": pl.String, "at": pl.String, "measured": pl.Float64, "fitted": pl.Float64}
    rows = []
    for path, group in solution.groups:
        rows += [
            (path, group.name, *row)
            for row in zip(group.labels, group.measured.tolist(), group.fitted.tolist(), strict=True)
        ]
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(error=pl.col("fitted") / pl.col("measured") - 1)


def _notes(tables: Sequence[Steps], cpu_s: float) -> list[str]:
    return [
        f"{one.path}: kernel times without CPU time; {1e3 * cpu_s:g} ms per iteration are added to overhead_s and "
        "decode_base_s (--cpu-s)"
        for one in tables
        if one.kernels
    ]
