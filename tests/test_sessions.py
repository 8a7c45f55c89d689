"""Conversations (docs/model.md, section 14): the kernel against the reference engine, against the machine
repairman, and what is drawn.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from caps_fast import habits, preset, simulate, simulation
from caps_fast._jit import compiled
from caps_fast.arrays import Array
from caps_fast.bounds import bound
from caps_fast.cli.scenarios import changed
from caps_fast.errors import InputError
from caps_fast.inputs import expect_inputs
from caps_fast.normal import normal_quantile, stream_of, uniform
from caps_fast.scenario import Scenario
from caps_fast.simulation import Recording
from caps_fast.sweep.axes import Axis
from caps_fast.sweep.plan import Grid, Plan
from cases import cases, play_fast
from grouped import with_groups
from plain import FIRST_COME, cluster
from stopped import stopped_and_resumed
from test_checkpoint import RECORD
from test_kernel_vs_naive import assert_same
from test_queueing import ONE_AT_A_TIME, assert_within_interval
from waiting import starts_of

SHORT = {"input_tokens": {"log_mean": 2.5, "log_sd": 0.8}, "output_tokens": {"log_mean": 2.0, "log_sd": 0.9}}
BASE = preset("measured").replace({"days": 0.02, "policy.name": "edf", "predictor.source": "declared"})
OPEN = BASE.replace({"workload.sessions": {"turns_mean": 4.0, "think_s": 10.0, "max_context_tokens": 6000}})
CLOSED = BASE.replace(
    {
        "workload.sessions": {
            "users": 150,
            "turns_mean": 4.0,
            "think_s": 10.0,
            "pause_s": 60.0,
            "max_context_tokens": 6000,
        }
    }
)


@settings(max_examples=15)
@given(data=st.data())
def test_same_as_token_by_token(data: st.DataObject) -> None:
    found = data.draw(cases("edf"))
    own: dict[str, Any] = SHORT | {
        "turns_mean": data.draw(st.sampled_from([1.0, 2.0, 5.0])),
        "turns_law": data.draw(st.sampled_from(["geometric", "fixed"])),
        "think_s": data.draw(st.sampled_from([0.3, 2.0, 9.0])),
        "think_law": data.draw(st.sampled_from(["exponential", "lognormal", "fixed"])),
        "max_context_tokens": data.draw(st.sampled_from([30, 200])),
    }
    requests = found.requests[:30]
    if data.draw(st.booleans()):
        own |= {"users": data.draw(st.integers(1, 12)), "pause_s": data.draw(st.sampled_from([None, 0.5, 5.0]))}
        requests = requests[:0]
    changes = {"workload.sessions": own, "workload.max_output_tokens": 60, "seed": data.draw(st.integers(0, 1000))}
    config = found.config.replace(changes)
    found = replace(found, config=config, requests=starts_of(config, requests["arrival_s"]))
    assert_same(found)
    whole, parts = play_fast(found).requests, play_fast(found, block=7).requests
    assert whole is not None
    assert parts is not None
    for name in whole.dtype.names:  # there nan is nan
        np.testing.assert_array_equal(whole[name], parts[name])


@settings(max_examples=8)
@given(data=st.data())
def test_groups_are_the_same_as_token_by_token(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = with_groups(data.draw, data.draw(cases("edf")), tmp_path_factory.mktemp("groups"))
    assert_same(found)
    whole, parts = play_fast(found).requests, play_fast(found, block=7).requests
    assert whole is not None
    assert parts is not None
    for name in whole.dtype.names:
        np.testing.assert_array_equal(whole[name], parts[name])


def repairman(servers: int, users: int, think_s: float) -> tuple[float, float]:
    """Closed M/M/c of mean service 1 s: mean time from a turn to its answer, and the probability to wait (arrival
    theorem).
    """

    def weights(population: int) -> Array:
        found = [1.0]
        for n in range(1, population + 1):
            found.append(found[-1] * (population - n + 1) / think_s / min(n, servers))
        return np.array(found) / sum(found)

    busy = np.minimum(np.arange(users + 1), servers)
    return users / float(weights(users) @ busy) - think_s, float(weights(users - 1)[servers:].sum())


@pytest.mark.parametrize(("servers", "users", "think_s"), [(1, 5, 4.0), (4, 12, 3.0), (3, 60, 25.0)])
def test_closed_m_m_c_is_the_machine_repairman(servers: int, users: int, think_s: float) -> None:
    """Users of one-turn conversations whose answers are exponential: millions of tokens of a microsecond."""
    u = np.concatenate([[0.0], np.geomspace(1e-9, 0.5, 2000), 1 - np.geomspace(0.5, 1e-9, 2000)[1:], [1.0]])
    mean_tokens = 200_000
    exponential = np.maximum(-np.log1p(-np.minimum(u, 1 - 1e-12)) * mean_tokens, 1.0)
    own = {"users": users, "turns_mean": 1.0, "pause_s": think_s, "input_tokens": 1, "max_context_tokens": 1}
    own["output_tokens"] = {"quantiles": tuple(zip(u.tolist(), exponential.tolist(), strict=True))}
    fast = {
        "gpu.decode_base_s": 1.0 / mean_tokens,
        "workload.max_output_tokens": 10_000_000,
        "days": 150_000 * (think_s + 1) / users / 86400,
    }
    config = preset("paper").replace(
        FIRST_COME | ONE_AT_A_TIME | cluster(servers, 1) | fast | {"workload.sessions": own}
    )
    rows = simulate(config, Recording(requests=True)).outcome.requests
    assert rows is not None
    mean_s, waits = repairman(servers, users, think_s)
    assert_within_interval(rows["finished_s"] - rows["arrival_s"], mean_s)
    assert_within_interval((rows["admitted_s"] > rows["arrival_s"]).astype(float), waits)


@compiled
def draw_all(seed, count, uniforms, normals):  # type: ignore[no-untyped-def]
    for at in range(count):
        uniforms[at] = uniform(stream_of(seed, at // 100), at % 100)
        normals[at] = normal_quantile(uniforms[at])


def test_draws_are_uniform_and_their_scores_normal() -> None:
    uniforms, normals = np.zeros(200_000), np.zeros(200_000)
    draw_all(12345, len(uniforms), uniforms, normals)
    assert stats.kstest(uniforms, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(uniforms[1:], uniforms[:-1])[0, 1]) < 0.01
    np.testing.assert_allclose(normals, ndtri(uniforms), rtol=1e-12, atol=1e-13)


def turns_of(config: Scenario) -> pl.DataFrame:
    """The requests of a run, turn after turn of each session, with the time since the answer before."""
    table = simulate(config, Recording(requests=True)).outcome.request_table.sort("session", "arrival_s")
    before = {name: pl.col(name).shift(1).over("session") for name in ("finished_s", "input_tokens", "output_tokens")}
    return table.with_columns(
        gap_s=pl.col("arrival_s") - before["finished_s"],
        context_before=before["input_tokens"] + before["output_tokens"],
    )


@pytest.mark.parametrize("config", [OPEN, CLOSED], ids=["open", "closed"])
def test_turns_times_to_think_and_contexts(config: Scenario) -> None:
    """The longest conversations are cut by the run's end: those that began in its first half count."""
    table, own = turns_of(config), config.workload.sessions
    assert own is not None
    ended = (pl.col("turn").shift(-1).over("session") == 1) | (pl.col("turn").shift(-1).over("session").is_null())
    begun_s = pl.when(pl.col("turn") == 1).then(pl.col("arrival_s")).forward_fill().over("session")
    turns = table.with_columns(ended=ended, begun_s=begun_s).filter(
        pl.col("ended") & (pl.col("begun_s") < 0.5 * config.horizon_s)
    )["turn"]
    half = 4 * math.sqrt(own.turns_mean * (own.turns_mean - 1) / len(turns))
    assert len(turns) > 100
    assert abs(turns.mean() - own.turns_mean) < half
    later = table.filter((pl.col("turn") > 1) & (pl.col("arrival_s") < 0.9 * config.horizon_s))
    assert stats.kstest(later["gap_s"].to_numpy() / own.think_s, "expon").pvalue > 0.001
    grown = later["input_tokens"].to_numpy() - later["context_before"].to_numpy()
    assert ((grown >= 1) | (later["input_tokens"].to_numpy() == own.max_context_tokens)).all()
    assert table["input_tokens"].max() == own.max_context_tokens
    assert table["arrival_s"].max() < config.horizon_s


@pytest.mark.parametrize("config", [OPEN, CLOSED], ids=["open", "closed"])
def test_the_same_users_under_every_policy(config: Scenario) -> None:
    """Whatever the cluster, a session says the same in its first turns; only when it says it differs."""
    columns = ["tenant", "tier", "input_tokens", "output_tokens", "turn"]
    one, other = (
        turns_of(run)
        .with_columns(number=pl.int_range(pl.len()).over("session"))
        .select("session", "number", "arrival_s", *columns)
        for run in (config, config.replace({"cluster.gpus": 3, "cluster.split": "1/1/1"}))
    )
    both = one.join(other, on=["session", "number"], suffix="_other")
    assert len(both) > 0.3 * len(one)
    for name in columns:
        assert (both[name] == both[f"{name}_other"]).all()
    assert (both["arrival_s"] != both["arrival_s_other"]).mean() > 0.3


GROUPS = """
[[clients]]
name = "assistants"
share = 0.8
tier = "gold"
input_tokens = { log_mean = 4.0, log_sd = 1.0 }
output_tokens = { log_mean = 5.0, log_sd = 0.8 }
sessions = { turns_mean = 6, think_s = 10, max_context_tokens = 6000 }
[[clients]]
name = "single"
share = 0.2
tier = "bronze"
input_tokens = 300
output_tokens = 100
[[clients]]
name = "agents"
tier = "silver"
input_tokens = 600
output_tokens = 150
sessions = { users = 20, turns_mean = 10, think_s = 0.5, pause_s = 60, max_context_tokens = 4000 }
"""


@pytest.fixture
def grouped(tmp_path: Path) -> Scenario:
    (tmp_path / "mix.toml").write_text(GROUPS, encoding="utf-8")
    return BASE.replace({"workload.file": str(tmp_path / "mix.toml"), "days": 0.05})


def test_a_group_has_its_rate_its_tier_and_its_lengths(grouped: Scenario) -> None:
    table = simulate(grouped, Recording(requests=True)).outcome.request_table
    gold, bronze, silver = (table.filter(tier=tier) for tier in ("gold", "bronze", "silver"))
    assert gold["turn"].max() > 6
    rates = [len(part) / grouped.horizon_s / grouped.workload.rate_rps for part in (gold, bronze)]  # type: ignore[operator]
    np.testing.assert_allclose(rates, [0.8, 0.2], rtol=0.1)
    assert bronze["session"].null_count() == bronze["turn"].null_count() == len(bronze)
    assert silver["session"].unique().sort().to_list() == list(range(20))
    assert silver.filter(turn=1)["input_tokens"].unique().to_list() == [600]
    assert silver["input_tokens"].max() == 4000
    alone = table.filter(pl.col("session") == 7).sort("arrival_s")
    assert alone["tenant"].n_unique() == 1


def test_users_alone_make_a_workload(grouped: Scenario) -> None:
    path = Path(str(grouped.workload.file))
    path.write_text(GROUPS[GROUPS.index('[[clients]]\nname = "agents"') :], encoding="utf-8")
    assert simulate(grouped).metrics["requests"] > 1000


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("share = 0.8", "", "assistants share is missing"),
        ("users = 20, turns_mean = 10, think_s = 0.5, pause_s = 60,", "", "agents share is missing"),
        ('name = "agents"', 'name = "agents"\nshare = 0.1', "agents share with sessions.users 20"),
        ('name = "agents"', 'name = "agents"\ngap_cv = 2.0', "agents gap_cv with sessions.users 20"),
        ("turns_mean = 6", "input_tokens = 6", "assistants.sessions.input_tokens"),
        ('name = "agents"', 'name = "agents"\nlength_correlation = 0.1', "length_correlation 0.1 with sessions"),
    ],
)
def test_bad_groups_are_refused_in_one_line(grouped: Scenario, old: str, new: str, said: str) -> None:
    Path(str(grouped.workload.file)).write_text(GROUPS.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=said) as error:
        simulate(grouped)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["open", "closed", "grouped"])
def test_same_bits_for_any_block_and_after_a_restart(
    name: str, grouped: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"open": OPEN, "closed": CLOSED, "grouped": grouped}[name]
    whole = simulate(config, RECORD)
    monkeypatch.setattr(simulation, "BLOCK", 50)  # recorded requests fill up all the time
    parts = simulate(config, RECORD, block=37)
    assert str(whole.metrics) == str(parts.metrics)  # there nan is nan
    np.testing.assert_array_equal(whole.outcome.requests, parts.outcome.requests)
    monkeypatch.setattr(habits, "REQUESTS_PER_PART", 50)
    again = stopped_and_resumed(5, config, RECORD, tmp_path / "run.npz", monkeypatch, (60, 100))
    assert str(whole.metrics) == str(again.metrics)
    np.testing.assert_array_equal(whole.outcome.requests, again.outcome.requests)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workload.sessions": {"turns_mean": math.inf}}, "turns_mean"),
        ({"workload.sessions": {"turns_mean": 0.5}}, "turns_mean"),
        ({"workload.sessions": {"users": 0}}, "users"),
        ({"workload.sessions": {"turns_mean": 2.5, "turns_law": "fixed"}}, "expected a whole number"),
        ({"workload.sessions": {"pause_s": 3.0}}, "expected users with it"),
        ({"workload.sessions": {"users": 3}, "workload.gap_cv": 2.0}, "users 3 together with gap_cv"),
        ({"workload.sessions": {}, "workload.by_tier": {"gold": {"gap_cv": 2.0}}}, "together with by_tier"),
        (
            {"workload.sessions": {}, "workload.trace": "t.csv", "workload.rate_rps": None},
            "sessions together with t.csv",
        ),
    ],
)
def test_bad_sessions_are_refused_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        BASE.replace(changes)
    assert "\n" not in str(error.value)


def test_what_needs_requests_ahead_is_refused() -> None:
    with pytest.raises(InputError, match=r"predictor\.source declared"):
        simulate(OPEN.replace({"policy.name": "caps", "predictor.source": "learned"}))
    with pytest.raises(InputError, match=r"workload\.sessions: .* no bound"):
        bound(OPEN, 0.9)
    limited = {"cluster.kv_capacity_tokens": 30_000, "workload.max_output_tokens": 28_000}
    with pytest.raises(InputError, match=r"max_context_tokens 6000: .* at most 2000"):
        simulate(OPEN.replace(limited))


def test_rejected_users_do_not_come_back_at_once() -> None:
    config = CLOSED.replace({"workload.sessions.pause_s": 0.0})
    simulate(config.replace({"days": 0.001}))
    with pytest.raises(InputError, match=r"sessions\.pause_s 0: with limits of admission, .* at least 0\.1 s"):
        simulate(config.replace({"admission": {"max_waiting": 3}}))


def test_a_rate_beside_users_is_refused_and_learned_lengths_before_any_run() -> None:
    users = {"workload.sessions": {"users": 3}}
    with pytest.raises(InputError, match=r"^--set workload\.rate_rps with workload\.sessions\.users 3: users have no"):
        changed(BASE.replace(users), {}, ["workload.rate_rps=4"])
    rates = Axis("rate", ("workload.rate_rps",), [(4.0,), (6.0,)])
    with pytest.raises(InputError, match=r"^rate with workload\.sessions\.users 3: users have no rate"):
        Plan("grid", {"own": BASE.replace(users)}, (Grid("", {}, (rates,)),)).check()
    with pytest.raises(InputError, match=r"workload\.sessions: .* expected predictor\.source declared"):
        expect_inputs([BASE, OPEN.replace({"policy.name": "caps", "predictor.source": "learned"})])


def test_the_hash_does_not_change_without_sessions() -> None:
    assert BASE.replace({"workload.sessions": None}).hash == BASE.hash != OPEN.hash
