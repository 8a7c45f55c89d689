"""caps-elastic, caps-adaptive and wait-awhile: no foresight, nothing below the bound, attainment kept, and cases by
hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from caps_fast import outlook, preset, simulate
from caps_fast.bounds import bound_of_run
from caps_fast.carbon.monitor import monitors_of
from caps_fast.choose import make_policy
from caps_fast.errors import InputError
from caps_fast.pack_kinds import Means
from caps_fast.policies import demand, wait_awhile
from caps_fast.policies.caps_elastic import at_full_clock, deviations
from caps_fast.scenario import Scenario
from caps_fast.workload import workload_of
from cases import play_fast
from plain import rows_of
from slow_engine import Case

SMALL: dict[str, Any] = {
    "days": 0.12,
    "workload.rate_rps": 4.0,
    "predictor.source": "declared",
    "policy.name": "caps-elastic",
}


def case_of(config: Scenario) -> Case:
    source = workload_of(config)
    requests = np.concatenate(list(source.blocks(100_000)))
    return Case(config, monitors_of(config)[0], requests, Means(source.mean_input_tokens, source.mean_output_tokens))


@pytest.mark.parametrize("name", ["caps-elastic", "caps-adaptive", "wait-awhile"])
def test_nothing_of_the_future_enters(name: str) -> None:
    """What comes after t, requests and intensities, changes nothing before t.

    The forecasts in force by then are the same.
    """
    case = case_of(preset("measured").replace(SMALL | {"policy.name": name}))
    t_s = 0.6 * case.config.horizon_s
    requests = case.requests.copy()
    after = requests["arrival_s"] >= t_s
    requests["output_tokens"][after], requests["input_tokens"][after] = 7, 5000
    requests["predicted_tokens"][after] = 9.0
    trace = case.monitor.trace
    changed = replace(trace, g_per_kwh=np.where(trace.times_s > t_s, 900.0 - trace.g_per_kwh, trace.g_per_kwh))
    known = case.monitor.forecast
    forecast = replace(known, g_per_kwh=np.where(known.issued_s[:, None] > t_s, 77.0, known.g_per_kwh))
    other = replace(case, requests=requests, monitor=replace(case.monitor, trace=changed, forecast=forecast))
    one, two = (rows_of(play_fast(each)) for each in (case, other))
    assert one["finished_s"].max() != two["finished_s"].max()
    one, two = one[one["finished_s"] < t_s], two[two["finished_s"] < t_s]
    assert len(one) > 1000
    for field in ("seq", "admitted_s", "finished_s", "gpu", "met"):
        np.testing.assert_array_equal(one[field], two[field])


@pytest.mark.parametrize("name", ["caps-elastic", "caps-adaptive", "wait-awhile"])
def test_no_run_is_below_the_bound(name: str) -> None:
    result = simulate(preset("measured").replace(SMALL | {"policy.name": name}))
    assert result.metrics["unfinished"] == 0
    assert bound_of_run(result).kg <= result.metrics["bill_kg"]


def test_the_fleet_is_smaller_and_keeps_what_slo_aware_keeps() -> None:
    config = preset("measured").replace(SMALL)
    elastic, whole = simulate(config).metrics, simulate(config.replace({"policy.name": "slo-aware"})).metrics
    assert elastic["bill_kg"] < 0.5 * whole["bill_kg"]
    for tier in ("gold", "silver", "bronze"):
        assert elastic[f"slo_attainment_{tier}"] > whole[f"slo_attainment_{tier}"] - 0.02


def test_a_higher_quantile_keeps_more_replicas() -> None:
    config = preset("measured").replace(SMALL)
    hours = [
        simulate(config.replace({"policy.options": {"quantile": q}})).metrics["replica_hours"] for q in (0.5, 0.999)
    ]
    assert hours[0] < hours[1]


@pytest.mark.parametrize(
    ("name", "option"), [("caps-elastic", "quantile"), ("wait-awhile", "clean_quantile"), ("caps-adaptive", "target")]
)
def test_a_quantile_out_of_range_is_one_line(name: str, option: str) -> None:
    config = preset("measured").replace({"policy.name": name, "policy.options": {option: 1.5}})
    with pytest.raises(InputError, match=rf"^policy.options.{option} 1.5: expected above 0 and below 1$"):
        make_policy(config)


def test_the_quantile_is_a_logistic_one() -> None:
    plain = getattr(deviations, "py_func", deviations)
    assert plain(0.5) == 0.0
    assert plain(0.9) == pytest.approx(math.sqrt(3) / math.pi * math.log(9))
    assert plain(0.1) == pytest.approx(-plain(0.9))


def test_replicas_by_hand() -> None:
    """Work of 0.6 s a second, squares of 0.09: sd of what arrives in the first token's 1 s is 0.3; iterations may
    last 0.1 s, 0.04 s alone.
    """
    memory = SimpleNamespace(seconds=100.0, work_s=60.0, work_s2=9.0, stay_s=1000.0, error2=0.0, by_hour=np.zeros(24))
    run_memory = SimpleNamespace(done=0.0)
    tier = SimpleNamespace(ttft_s=1.0, ttft_after_release_s=math.inf, tpot_s=0.1)
    kind = SimpleNamespace(
        decode_base_s=0.04, decode_s_per_seq=0.0005, prefill_s_per_token=0.0001, max_batch=64, chunk_tokens=0
    )
    plain = uncompiled(demand, "replicas_for")
    assert plain(memory, run_memory, 0.0, 0.0, 0.0, tier, kind) == pytest.approx(0.6 / 0.6)
    assert plain(memory, run_memory, 0.0, 0.0, 2.0, tier, kind) == pytest.approx((0.6 + 2 * 0.3) / 0.6)
    kind.chunk_tokens = 80  # the longest iteration lasts 0.04 + 64 * 0.0005 + 80 * 0.0001 = 0.08 s
    assert plain(memory, run_memory, 0.0, 0.0, 0.0, tier, kind) == pytest.approx(0.6 / 0.5)
    tier.tpot_s = 0.05  # less than that
    assert plain(memory, run_memory, 0.0, 0.0, 0.0, tier, kind) == pytest.approx(0.6 / 0.2)
    kind.max_batch, tier.tpot_s = 4, 0.1  # slots for the 10 that stay
    kind.chunk_tokens = 0
    assert plain(memory, run_memory, 0.0, 0.0, 2.0, tier, kind) == pytest.approx((10 + 2 * math.sqrt(10)) / 4)


def test_spare_work_by_hand() -> None:
    """Beside a mean of 0.6 s a second, of a capacity of 1.5; an error of 10 % at two standard deviations takes 0.12."""
    memory = SimpleNamespace(seconds=100.0, work_s=60.0, error2=0.0, by_hour=np.zeros(24))
    run_memory = SimpleNamespace(done=0.0)
    plain = uncompiled(demand, "spare_work")
    assert plain(memory, run_memory, 0.0, 0.0, 2.0, 1.5) == pytest.approx(0.9)
    memory.error2 = 0.01
    assert plain(memory, run_memory, 0.0, 0.0, 2.0, 1.5) == pytest.approx(0.78)
    assert plain(memory, run_memory, 0.0, 0.0, 2.0, 0.7) == 0.0


def test_sizes_are_asked_for_at_the_highest_clock() -> None:
    """Rows 0 to 2 are one kind at its clocks, row 3 is another one."""
    state: Any = SimpleNamespace(changes=[SimpleNamespace(end_clock=end) for end in (3, 3, 3, 4)])
    plain = getattr(at_full_clock, "py_func", at_full_clock)
    assert [plain(row, state) for row in range(4)] == [2, 2, 2, 3]


def test_growth_by_hour_of_day() -> None:
    """1 s/s from 11 to 13 h, 2 from 13 to 15: at 12:45 the last 15 min count as 12:30, the middle of an hour; at
    13:30 it is twice that.
    """
    memory = SimpleNamespace(by_hour=np.zeros(24))
    memory.by_hour[11:15] = 1.0, 1.0, 2.0, 2.0
    plain = uncompiled(demand, "growth")
    assert plain(memory, 12.75 * 3600, 0.75 * 3600) == pytest.approx(2.0)
    assert plain(memory, 12.75 * 3600, 0.25 * 3600) == pytest.approx(1.5)
    assert plain(memory, 3 * 3600.0, 600.0) == 1.0


def test_wait_awhile_by_hand() -> None:
    """24 hours of 10, 20, ..., 240 g/kWh: pandas' quantile 0.3 of them is 10 + 10 * 0.3 * 23 = 79, so 70 is clean
    and 80 is not.
    """
    values = np.random.default_rng(1).permutation(np.arange(10.0, 241.0, 10.0))
    region = SimpleNamespace(issue_at=0, issue_first=0, forecast_at=0, leads=48, forecast_step_s=3600.0)
    state = SimpleNamespace(
        regions=[region], issued_s=np.zeros(1), forecast_g_per_kwh=np.concatenate([values, np.ones(24)])
    )
    plain = uncompiled(wait_awhile, "quantile_ahead", outlook)
    assert plain(state, 0, 0.0, 0.3) == pytest.approx(79.0)
    assert plain(state, 0, 0.0, 0.0) == 10.0
    assert plain(state, 0, 0.0, 1.0) == 240.0


def uncompiled(module: ModuleType, name: str, *others: ModuleType) -> Callable[..., float]:
    """A function of kernels in Python, with what it calls: compiled ones are not to be called from there."""
    found: dict[str, Any] = {key: value for one in (*others, module) for key, value in vars(one).items()}
    for key, value in list(found.items()):
        code = getattr(getattr(value, "py_func", value), "__code__", None)
        if code is not None:
            found[key] = FunctionType(code, found)
    return found[name]  # type: ignore[no-any-return]
