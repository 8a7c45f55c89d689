"""Laws of time, numbered as in tests/test_laws.py: INV-3 causality, INV-4 no idle GPU beside startable work, INV-7
no look into the future.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caps_fast import scenario, sections
from caps_fast.outcome import Outcome
from caps_fast.simulation import Recording, simulate
from cases import POLICIES, cases, play_fast
from plain import FIXED, rows_of, with_changes
from slow_engine import Case

UNGATED = ("round-robin", "edf", "slo-aware", "caps-no-carbon")

every_policy = pytest.mark.parametrize("policy", POLICIES)


# ---------------------------------------------------------------- INV-3


@every_policy
@settings(max_examples=25)
@given(data=st.data())
def test_causality(policy: str, data: st.DataObject) -> None:
    case = data.draw(cases(policy))
    rows = rows_of(play_fast(case))
    gpu, cluster = case.config.gpu, case.config.cluster
    assert (rows["arrival_s"] <= rows["released_s"]).all()
    assert (rows["released_s"] <= rows["admitted_s"]).all()
    assert (rows["admitted_s"] < rows["first_token_s"]).all()
    assert (rows["first_token_s"] <= rows["finished_s"]).all()
    np.testing.assert_array_equal(rows["first_token_s"] == rows["finished_s"], rows["output_tokens"] == 1)
    held = rows["released_s"] > rows["arrival_s"]
    np.testing.assert_array_equal(rows["released_s"][held], rows["admitted_s"][held])
    if policy in UNGATED:
        assert not held.any()
    chunks = np.ceil(rows["input_tokens"] / cluster.chunk_tokens) if cluster.prefill == "chunked" else 1
    least_prompt_s = gpu.prefill_s_per_token * rows["input_tokens"] + gpu.decode_base_s * chunks
    least_decode_s = (gpu.decode_base_s + gpu.decode_s_per_seq) * (rows["output_tokens"] - 1)
    assert (rows["first_token_s"] - rows["admitted_s"] >= least_prompt_s * (1 - 1e-9) - 1e-9).all()
    assert (rows["finished_s"] - rows["first_token_s"] >= least_decode_s * (1 - 1e-9) - 1e-9).all()


@every_policy
@settings(max_examples=18)
@given(data=st.data())
def test_limits_hold_at_every_instant(policy: str, data: st.DataObject) -> None:
    """Residents and reserved tokens of a GPU never exceed its limits, and a GPU belongs to one pool."""
    case = data.draw(cases(policy))
    result = play_fast(case)
    rows = rows_of(result)
    pool_of = np.repeat(np.arange(len(case.config.cluster.pools)), case.config.cluster.pools)
    np.testing.assert_array_equal(rows["pool"], pool_of[rows["gpu"]])
    assume(result.preemptions == 0)
    tokens = rows["input_tokens"] + rows["output_tokens"]
    for t_s in rows["admitted_s"]:
        here = (rows["admitted_s"] <= t_s) & (t_s < rows["finished_s"])
        assert np.bincount(rows["gpu"][here]).max() <= case.config.cluster.max_batch
        assert np.bincount(rows["gpu"][here], tokens[here]).max() <= (
            case.config.cluster.kv_capacity_tokens or math.inf
        )


@pytest.mark.parametrize("policy", ["slo-aware", "caps", "caps-no-predictor", "caps-no-carbon"])
@settings(max_examples=25)
@given(data=st.data())
def test_tiers_stay_where_they_may_go(policy: str, data: st.DataObject) -> None:
    case = data.draw(cases(policy))
    rows = rows_of(play_fast(case))
    roles = case.config.cluster.pool_roles
    for row in rows:
        role = roles[row["pool"]]
        if policy == "slo-aware":
            assert role == sections.ROLES[row["tier"]]
        else:
            allowed = set(case.config.slo.all[row["tier"]].roles.split("/"))
            assert role in (allowed & set(roles) or set(roles))


def gate_is_open(case: Case, t_s: float) -> bool:
    """What a gate on intensity and threshold said at the last control step by `t_s`."""
    step_s = case.config.control_step_s
    control = math.floor(t_s / step_s)
    while control * step_s > t_s:
        control -= 1
    while (control + 1) * step_s <= t_s:
        control += 1
    return case.monitor.intensity(control * step_s) <= case.monitor.threshold(control * step_s)


@pytest.mark.parametrize("policy", ["carbon-aware", "caps", "caps-no-tiers"])
@settings(max_examples=40)
@given(data=st.data())
def test_nothing_starts_while_the_gate_is_closed(policy: str, data: st.DataObject) -> None:
    """Every admission by Carbon-Aware, and every one to CAPS's low-carbon pool, is at a time when intensity was at
    or below the threshold.
    """
    case = data.draw(cases(policy))
    assume(policy == "carbon-aware" or case.config.policy.beta > 0)
    rows = rows_of(play_fast(case))
    gated = [policy == "carbon-aware" or role == "CP" for role in case.config.cluster.pool_roles]
    for row in rows:
        if gated[row["pool"]]:
            assert gate_is_open(case, row["admitted_s"])


def loaded_day(policy: str, **changes: Any) -> scenario.Scenario:
    """A day of hourly carbon on slow GPUs: some 1,700 requests, gates that open and close, a batch pool that plans
    ahead.
    """
    base: dict[str, Any] = FIXED | {
        "policy.name": policy,
        "predictor.source": "declared",
        "days": 1,
        "control_step_s": 60.0,
        "seed": 5,
    }
    base |= {
        "gpu.decode_base_s": 1.0,
        "gpu.decode_s_per_seq": 0.05,
        "cluster.gpus": 6,
        "cluster.split": "2/2/2",
        "cluster.max_batch": 4,
    }
    base |= {"workload.rate_rps": 0.02, "workload.max_output_tokens": 400}
    base |= {"slo.gold.ttft_s": 60.0, "slo.silver.ttft_s": 300.0, "slo.bronze.e2e_s": 28800.0}
    return scenario.preset("paper").replace(base | {name.replace("__", "."): value for name, value in changes.items()})


@pytest.mark.parametrize("policy", ["carbon-aware", "caps", "caps-no-tiers", "caps-no-predictor"])
@pytest.mark.parametrize("forecast", ["perfect", "persistence", "yesterday"])
def test_recorded_gates_hold_back_all_starts(policy: str, forecast: str) -> None:
    """The same through the whole program, for the batch pool's planning gate too: its decisions are read off the
    recorded series.
    """
    config = loaded_day(policy, monitor__forecast=forecast)
    result = simulate(config, Recording(True, config.control_step_s)).outcome
    rows = rows_of(result)
    samples = result.samples
    within = rows[rows["admitted_s"] <= samples["t_s"][-1, 0]]
    at = np.searchsorted(samples["t_s"][:, 0], within["admitted_s"], side="right") - 1
    queue = within["pool"] if policy != "carbon-aware" else np.zeros(len(within), int)
    assert samples["open"][at, queue].all()
    if policy != "caps-no-predictor":
        assert (within["released_s"] > within["arrival_s"]).sum() > 50, "the scenario should hold work"


# ---------------------------------------------------------------- INV-4


def queue_gpus(case: Case, row: Any) -> range:
    """The GPUs that could have served a finished request."""
    policy = case.config.policy
    central = policy.name in ("edf", "carbon-aware")
    if policy.name == "round-robin" or (central and policy.queueing == "cyclic"):
        return range(int(row["gpu"]), int(row["gpu"]) + 1)
    if central:
        return range(case.config.cluster.gpus)
    ends = np.cumsum(case.config.cluster.pools)
    return range(int(ends[row["pool"]] - case.config.cluster.pools[row["pool"]]), int(ends[row["pool"]]))


def assert_no_idle_gpu_beside_startable_work(case: Case, result: Outcome) -> None:
    rows = rows_of(result)
    begin_s, end_s = rows["admitted_s"], rows["finished_s"]
    controls_s = np.arange(0, result.end_s, case.config.control_step_s)
    for row in rows[rows["admitted_s"] > rows["arrival_s"]]:
        held = row["released_s"] > row["arrival_s"]
        if held and case.config.policy.name != "carbon-aware":
            continue  # a planning gate leaves no trace in the requests
        changes_s = np.concatenate([[row["arrival_s"]], end_s, controls_s if held else []])
        gpus = queue_gpus(case, row)
        for t_s in changes_s[(row["arrival_s"] <= changes_s) & (changes_s < row["admitted_s"])]:
            if held and not gate_is_open(case, t_s):
                continue
            here = (begin_s <= t_s) & (t_s < end_s)
            residents = np.bincount(rows["gpu"][here], minlength=case.config.cluster.gpus)[gpus.start : gpus.stop]
            least = case.config.cluster.max_batch if case.config.cluster.kv_capacity_tokens is None else 1
            assert residents.min() >= least, f"request {row['seq']} waits at {t_s} s, residents {residents}"


@every_policy
@settings(max_examples=25)
@given(data=st.data())
def test_no_idle_gpu_beside_startable_work(policy: str, data: st.DataObject) -> None:
    """At every instant a request waits behind an open gate, each GPU of its queue is full (under KV limits: at
    least not empty, as every request fits an empty GPU). Runs with pre-emption or unfinished work are left out, as
    finished requests then do not tell who was where.
    """
    case = with_changes(data.draw(cases(policy)), drain_h=48.0)
    if policy == "carbon-aware":  # let the gate open for good in the end, so that all work finishes
        thresholds = case.monitor.threshold_g_per_kwh.copy()
        thresholds[-1] = 1e9
        case = replace(case, monitor=replace(case.monitor, threshold_g_per_kwh=thresholds))
    result = play_fast(case)
    if policy in ("round-robin", "edf", "slo-aware", "carbon-aware"):
        assert result.unfinished == result.preemptions == 0
    if result.unfinished == result.preemptions == 0:
        assert_no_idle_gpu_beside_startable_work(case, result)


@every_policy
@settings(max_examples=18)
@given(data=st.data())
def test_time_in_service_is_member_time(policy: str, data: st.DataObject) -> None:
    """Little's law on the sample path: stays, summed, are the integral of members, but for the wait until the
    iteration in progress ends.
    """
    case = with_changes(data.draw(cases(policy)), drain_h=1.0)
    result = play_fast(case)
    assume(result.unfinished == 0 and result.preemptions == 0)
    rows = rows_of(result)
    stays_s = (rows["finished_s"] - rows["admitted_s"]).sum()
    member_s = result.pools["member_s"].sum()
    if case.config.cluster.max_batch == 1:
        assert member_s == pytest.approx(stays_s, rel=1e-9)
    else:
        gpu, cluster = case.config.gpu, case.config.cluster
        per_seq_s = gpu.decode_s_per_seq + 300 * gpu.decode_s_per_context_token
        longest_s = gpu.decode_base_s + cluster.max_batch * per_seq_s + 600 * gpu.prefill_s_per_token
        assert stays_s - len(rows) * longest_s <= member_s <= stays_s * (1 + 1e-9)


# ---------------------------------------------------------------- INV-7


def assert_same_until(t_s: float, before: Outcome, after: Outcome) -> None:
    one, other = (rows_of(result)[rows_of(result)["finished_s"] < t_s] for result in (before, after))
    np.testing.assert_array_equal(one, other)


@every_policy
@settings(max_examples=25)
@given(data=st.data(), at=st.floats(0.05, 1.0), seed=st.integers(0, 2**32 - 1))
def test_the_future_of_the_grid_changes_nothing_before_it(
    policy: str, data: st.DataObject, at: float, seed: int
) -> None:
    """Intensities, thresholds and forecasts from T on are replaced: whatever finished before T is the same to the
    last bit.
    """
    case = data.draw(cases(policy))
    t_s = at * case.config.horizon_s
    rng, grid = np.random.default_rng(seed), case.monitor
    trace, forecast = grid.trace, grid.forecast
    other = replace(
        grid,
        trace=replace(
            trace, g_per_kwh=np.where(trace.times_s >= t_s, rng.uniform(20, 600, len(trace.times_s)), trace.g_per_kwh)
        ),
        threshold_g_per_kwh=np.where(
            grid.threshold_s >= t_s, rng.uniform(0, 600, len(grid.threshold_s)), grid.threshold_g_per_kwh
        ),
        forecast=replace(
            forecast,
            g_per_kwh=np.where(
                forecast.issued_s[:, None] >= t_s, rng.uniform(20, 600, forecast.g_per_kwh.shape), forecast.g_per_kwh
            ),
        ),
    )
    assert_same_until(t_s, play_fast(case), play_fast(replace(case, monitor=other)))


@every_policy
@settings(max_examples=18)
@given(data=st.data(), at=st.floats(0.05, 1.0))
def test_later_arrivals_change_nothing_before_them(policy: str, data: st.DataObject, at: float) -> None:
    case = data.draw(cases(policy))
    t_s = at * case.config.horizon_s
    fewer = case.requests[case.requests["arrival_s"] < t_s]
    assert_same_until(t_s, play_fast(case), play_fast(replace(case, requests=fewer)))


@pytest.mark.parametrize("policy", ["carbon-aware", "caps", "caps-no-predictor", "caps-no-tiers"])
@pytest.mark.parametrize("forecast", ["persistence", "yesterday"])
def test_no_forecast_sees_the_future(policy: str, forecast: str, tmp_path: Path) -> None:
    """Through the whole program, from a file: hours from T on are played backwards, so that their mean, the unit of
    E, stays the same.
    """
    turn_h = 16
    hours = np.random.default_rng(3).integers(50, 500, 24 * 5).astype(float)
    later = hours.copy()
    later[24 * 2 + turn_h : 24 * 3] = hours[24 * 2 + turn_h : 24 * 3][::-1]
    later[24 * 3 :] = 77.0
    played = []
    for name, values in (("one", hours), ("other", later)):
        path = tmp_path / f"{name}.csv"
        lines = [f"2024-08-{1 + h // 24:02d}T{h % 24:02d}:00:00Z,{value:.0f}" for h, value in enumerate(values)]
        path.write_text("time,value\n" + "\n".join(lines) + "\n")
        file = {
            "carbon__file": str(path),
            "carbon__start": "2024-08-03",
            "carbon__unit": "g/kWh",
            "carbon__scope": "lifecycle",
        }
        played.append(
            simulate(loaded_day(policy, **file, monitor__forecast=forecast), Recording(requests=True)).outcome
        )
    assert_same_until(turn_h * 3600.0, *played)
    finished_s = rows_of(played[0])["finished_s"]
    assert (finished_s < turn_h * 3600).sum() > 100
    assert not np.array_equal(*(rows_of(result)["admitted_s"] for result in played)), (
        "the change should matter afterwards"
    )
