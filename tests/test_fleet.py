"""The fleet as data: the short form and the long one, laws over fleets, placements and memories of a user's own,
bad input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast import Recording, load, preset, simulate
from caps_fast.errors import InputError
from caps_fast.outcome import Outcome
from caps_fast.scenario import Scenario, build
from caps_fast.simulation import simulate_group
from caps_fast.sweep import Workers
from caps_fast.sweep.rows import code_hash
from cases import POLICIES, cases, fleets, play_fast
from slow_engine import Case
from stopped import stopped_and_resumed

LONG = """
preset = "measured"
days = 0.02
[predictor]
source = "declared"
[gpus.new]
profile = "h100-llama2-70b-tp4"
max_batch = 16
[gpus.old]
profile = "a100-llama2-70b-tp4"
max_batch = 8
[regions.here]
pue = 1.5
[[pools]]
name = "fast"
role = "LP"
replicas = 2
gpu = "new"
[[pools]]
name = "late"
role = "BP"
replicas = 3
gpu = "old"
"""
BUCKET = """
from typing import NamedTuple
from caps_fast.policy import policy, rules

@policy(layout="central", memory=[("served", "f8")], rows="tenant")
class Fair(NamedTuple):
    weight_s: float = 0.01

@rules.order(Fair)
def least_served(policy, t_s, r, q, s):
    return s.live[r].arrival_s + policy.weight_s * s.memory[s.live[r].tenant].served

@rules.observe(Fair)
def count(policy, t_s, r, s):
    s.memory[s.live[r].tenant].served += s.live[r].output_tokens
    s.run_memory[0].served += 1.0
"""
PLACE = """
from typing import NamedTuple
from caps_fast.policy import policy, rules

@policy(layout="central")
class Last(NamedTuple):
    step: float = 1.0

@rules.place(Last)
def last_first(policy, g, s):
    return -policy.step * g
"""


@pytest.fixture
def long(tmp_path: Path) -> Scenario:
    (tmp_path / "long.toml").write_text(LONG, encoding="utf-8")
    return load(tmp_path / "long.toml")


def same_bits(a: Outcome, b: Outcome) -> None:
    np.testing.assert_equal(a.metrics, b.metrics)
    assert a.requests is not None
    assert b.requests is not None
    for name in a.requests.dtype.names or ():
        np.testing.assert_array_equal(a.requests[name], b.requests[name], err_msg=name)


def written_out(config: Scenario) -> Scenario:
    """The same scenario in the long form."""
    data = config.model_dump(mode="json") | dict.fromkeys(("cluster", "gpu", "carbon", "monitor"))
    return build(data | config.fleet.describe(), "long form")


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=10)
@given(data=st.data())
def test_the_long_form_is_the_short_one_to_the_bit(policy: str, data: st.DataObject) -> None:
    case = data.draw(cases(policy))
    same_bits(play_fast(case), play_fast(Case(written_out(case.config), case.monitor, case.requests, case.means)))


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=10)
@given(data=st.data())
def test_two_equal_kinds_in_two_equal_regions_are_one(policy: str, data: st.DataObject) -> None:
    case = data.draw(cases(policy))
    long = written_out(case.config).model_dump(mode="json")
    long["gpus"] = dict.fromkeys(("a", "b"), long["gpus"]["gpu"])
    long["regions"] = dict.fromkeys(("a", "b"), long["regions"]["grid"])
    if len(long["pools"]) == 1:
        long["gpus"], long["regions"] = ({"a": one["a"]} for one in (long["gpus"], long["regions"]))
    for at, pool in enumerate(long["pools"]):
        pool["gpu"] = pool["region"] = "ab"[at % 2]
    others = (case.monitor,) * (len(long["regions"]) - 1)
    same_bits(play_fast(case), play_fast(Case(build(long, "two"), case.monitor, case.requests, case.means, others)))


@settings(max_examples=20)
@given(data=st.data())
def test_names_and_the_order_of_kinds_change_nothing(data: st.DataObject) -> None:
    case = data.draw(fleets())
    fleet = case.config.model_dump(mode="json")
    fleet["gpus"] = {f"{name}-x": kind for name, kind in reversed(fleet["gpus"].items())}
    for pool in fleet["pools"]:
        pool["name"], pool["gpu"] = f"p-{pool['name']}", f"{pool['gpu']}-x"
    same_bits(
        play_fast(case), play_fast(Case(build(fleet, "named"), case.monitor, case.requests, case.means, case.others))
    )


@settings(max_examples=20)
@given(data=st.data())
def test_slices_add_up_to_accounts(data: st.DataObject) -> None:
    result = play_fast(data.draw(fleets()))
    for name, total in (("seconds", "seconds"), ("energy_j", "energy_j")):
        np.testing.assert_allclose(
            result.slices[name].sum(axis=0), result.spent[total].sum(axis=0), rtol=1e-9, atol=1e-6
        )
    horizon_s = result.scenario.horizon_s
    idle_s = result.spent["seconds"][:, 0].sum()
    assert 0 <= idle_s <= result.scenario.fleet.replicas * horizon_s * (1 + 1e-12)


def test_a_fleet_of_two_kinds_runs_under_every_policy(long: Scenario) -> None:
    for result in simulate_group([long.replace({"policy.name": name}) for name in POLICIES]):
        assert result.metrics["unfinished"] == 0
        assert set(result.by_pool) == {"fast", "late"}
        assert result.metrics["bill_kwh"] == pytest.approx(1.5 * result.metrics["total_energy_kwh"], rel=1e-12)
        assert result.row()["split"] == "2/3"


def test_fields_are_reached_by_name(long: Scenario) -> None:
    other = long.replace(
        {"pools.late.replicas": 5, "gpus.new.max_batch": 32, "regions.here.monitor.gate_quantile": 0.3}
    )
    assert other.fleet.sizes == (2, 5)
    assert other.fleet.kinds["new"].max_batch == 32
    assert other.fleet.regions["here"].monitor.gate_quantile == 0.3
    short = preset("measured").replace({"pools.bp.replicas": 4, "cluster.max_batch": 16})
    assert short.fleet.split == "8/8/4"
    assert short.fleet.only_kind.max_batch == 16


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"pools.late.replicas": 0}, r"pools\.late\.replicas 0"),
    ({"pools.late.gpu": "newer"}, r"pools\.late\.gpu 'newer': expected one of new, old"),
    ({"pools.late.region": "there"}, r"pools\.late\.region 'there': expected one of here"),
    ({"pools.late.gpu": "new"}, r"gpus\.old: no pool uses it"),
    ({"pools.later.replicas": 1}, r"no pool 'later' \(did you mean late\?\): expected one of fast, late"),
    ({"pools.late.name": "fast"}, r"pools\.fast: two pools of that name"),
    ({"cluster.split": "1/1"}, r"cluster\.split: this scenario has gpus and pools"),
    ({"carbon.file": "x.csv"}, r"carbon\.file: this scenario has regions"),
    ({"policy.placement": "near"}, r"placement 'near': expected one of residents, prompts, pack, fastest or FILE\.py"),
)


@pytest.mark.parametrize(("changes", "line"), BAD)
def test_bad_fleets_are_told_in_a_line(long: Scenario, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as told:
        long.replace(changes)
    assert "\n" not in str(told.value)


def test_one_thing_is_said_in_one_form(tmp_path: Path) -> None:
    path = tmp_path / "both.toml"
    path.write_text(LONG + "[cluster]\nmax_batch = 4\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"\[gpus\] together with \[cluster\]"):
        load(path)


def test_a_request_that_fits_nowhere_names_the_pool_and_the_field(long: Scenario) -> None:
    tight = long.replace({"gpus.old.kv_capacity_tokens": 900, "policy.name": "slo-aware"})
    with pytest.raises(InputError, match=r"gpus\.old\.kv_capacity_tokens 900: request .* than late"):
        simulate(tight)


def test_a_memory_belongs_to_one_run(long: Scenario, tmp_path: Path) -> None:
    (tmp_path / "fair.py").write_text(BUCKET, encoding="utf-8")
    config = long.replace({"policy.name": str(tmp_path / "fair.py"), "pools.fast.replicas": 1, "workload.rate_rps": 14})
    record = Recording(requests=True)
    first, again = (simulate(config, record).outcome for _ in range(2))
    same_bits(first, again)
    same_bits(first, simulate(config, record, block=100).outcome)
    plain = simulate(config.replace({"policy.options": {"weight_s": 0.0}}), record).outcome
    assert plain.metrics != first.metrics, "the memory has a say"


def test_mutable_fields_are_refused(long: Scenario, tmp_path: Path) -> None:
    text = BUCKET.replace("weight_s: float = 0.01", "weight_s: float = 0.01\n    seen: object = np.zeros(1)")
    (tmp_path / "leaky.py").write_text("import numpy as np\n" + text, encoding="utf-8")
    with pytest.raises(InputError, match=r"field seen = .*: expected a number; .*memory"):
        simulate(long.replace({"policy.name": str(tmp_path / "leaky.py")}))


@pytest.mark.parametrize("policy", ["edf", "caps", "slo-aware"])
def test_a_placement_of_ones_own_serves_any_policy(long: Scenario, tmp_path: Path, policy: str) -> None:
    (tmp_path / "last.py").write_text(PLACE, encoding="utf-8")
    config = long.replace(
        {"policy.name": policy, "policy.placement": str(tmp_path / "last.py"), "workload.rate_rps": 2}
    )
    result = simulate(config, Recording(requests=True)).outcome
    assert result.requests is not None
    used = np.bincount(result.requests["gpu"], minlength=5)
    assert used[1] > used[0], "the last of a pool is the cheapest"


def test_a_memory_and_a_fleet_go_through_a_checkpoint(
    long: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fair.py").write_text(BUCKET, encoding="utf-8")
    changes = {"pools.fast.replicas": 1, "workload.rate_rps": 14, "policy.placement": "prompts"}
    config = long.replace({"policy.name": str(tmp_path / "fair.py")} | changes)
    record = Recording(requests=True)
    whole = simulate(config, record, block=2000).outcome
    again = stopped_and_resumed(5, config, record, tmp_path / "run.npz", monkeypatch, (2000, 3000))
    same_bits(whole, again.outcome)


def test_a_memory_in_a_sweep_with_two_jobs(long: Scenario, tmp_path: Path) -> None:
    (tmp_path / "fair.py").write_text(BUCKET, encoding="utf-8")
    config = long.replace({"policy.name": str(tmp_path / "fair.py"), "pools.fast.replicas": 1, "workload.rate_rps": 14})
    alone = simulate(config)
    outcomes = Workers(2, "threading").map(iter([[config], [config.replace({"seed": 1})], [config]]), code_hash())
    rows = [row for outcome in outcomes for row in outcome.rows if row["seed"] == 0]
    assert len(rows) == 2
    for row in rows:
        np.testing.assert_equal({name: row[name] for name in alone.metrics}, alone.metrics)


def test_hashes_of_before_stay() -> None:
    """Fields that came later change no hash while they are at their defaults, so that results of before are found."""
    assert preset("measured").hash == "648da9877ec61771"
    assert preset("paper").hash == "89e77057ee00ab63"
    assert preset("measured").replace({"regions.grid.pue": 1.2, "policy.name": "caps"}).hash == "9d23ad86d3d1b8ba"
