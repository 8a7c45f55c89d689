"""Several regions: origins and round trips, requests bound to regions, links, average and marginal carbon."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast import Recording, load, simulate
from caps_fast.carbon.monitor import monitors_of
from caps_fast.crossings import signal_notes
from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.report.folder import results_of
from caps_fast.report.regions import moves_of, moves_sentence
from caps_fast.scenario import Scenario
from caps_fast.simulation import simulate_group
from caps_fast.workload import workload_of
from regional_cases import assert_same_regions, regional
from stopped import stop_at


@settings(max_examples=30)
@given(data=st.data())
def test_the_kernel_is_the_same_as_token_by_token(data: st.DataObject) -> None:
    assert_same_regions(data.draw(regional("carbon-aware").filter(lambda case: len(case.monitors) > 1)))


def test_other_policies_are_the_same_uncompiled() -> None:
    """As Python, for each compiled kernel would take ten seconds."""
    script = Path(__file__).with_name("uncompiled_regions.py")
    environment = os.environ | {
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    played = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stderr[-3000:]


TWO = """
preset = "measured"
days = 0.01
[predictor]
source = "declared"
[policy]
name = "carbon-aware"
queueing = "cyclic"
[workload]
rate_rps = 4
[regions.near.monitor]
gate_quantile = 1.0
[regions.far.monitor]
gate_quantile = 1.0
[[pools]]
name = "a"
role = "LP"
replicas = 2
region = "near"
[[pools]]
name = "b"
role = "LP"
replicas = 2
region = "far"
[origins.here]
share_by_tier = { gold = 3 }
rtt_ms = { near = 10, far = 250 }
[origins.there]
rtt_ms = { near = 250 }
"""


@pytest.fixture
def two(tmp_path: Path) -> Scenario:
    (tmp_path / "two.toml").write_text(TWO, encoding="utf-8")
    return load(tmp_path / "two.toml")


def test_round_trips_are_in_first_tokens_and_ends_alone(two: Scenario) -> None:
    with_them, without = (
        rows(one) for one in (two, two.replace({"origins": {"here": {"share_by_tier": {"gold": 3}}, "there": {}}}))
    )
    source = origins_of(two)
    rtt_s = np.array([[0.01, 0.25], [0.25, 0.0]])[source, with_them["pool"]]
    for name in ("first_token_s", "finished_s"):
        np.testing.assert_allclose(with_them[name] - without[name], rtt_s, atol=1e-9)
    for name in ("admitted_s", "energy_j", "carbon_g"):
        np.testing.assert_array_equal(with_them[name], without[name])


def test_the_report_tells_who_was_served_where(two: Scenario) -> None:
    result = simulate(two, Recording(requests=True))
    rows = result.outcome.requests
    assert rows is not None
    source, pool = origins_of(two), rows["pool"]
    assert result.requests["origin"].to_list() == [("here", "there")[at] for at in source]
    found = moves_of(result)
    assert found is not None
    for row in found.iter_rows(named=True):
        own = (source == ("here", "there").index(row["origin"])) & (pool == ("near", "far").index(row["region"]))
        assert row["requests"] == own.sum() > 0
        assert row["carbon_g"] == pytest.approx(rows["carbon_g"][own].mean())
    assert found["rtt_ms"].to_list() == [250.0, 10.0, 0.0, 250.0]
    assert found["nearest"].to_list() == ["near", "near", "far", "far"]
    assert found["rtt_ms_nearest"].to_list() == [10.0, 10.0, 0.0, 0.0]
    seen = {name: one.signal.at(rows["arrival_s"]) for name, one in zip(("near", "far"), monitors_of(two), strict=True)}
    first = (source == 0) & (pool == 1)
    assert found["g_per_kwh"][0] == pytest.approx(seen["far"][first].mean())
    assert found["g_per_kwh_nearest"][0] == pytest.approx(seen["near"][first].mean())
    assert " ms in place of " in moves_sentence(found)
    away = (
        sum(row["requests"] for row in found.iter_rows(named=True) if row["nearest"] != row["region"])
        / found["requests"].sum()
    )
    assert moves_sentence(found).startswith(
        f"{100 * away:.1f} % of the requests are served away from the region nearest to their origin; most from "
    )
    assert moves_of(simulate(two)) is None
    page = results_of([result])
    assert (
        page.tables["moves"].select("origin", "region", "requests").equals(found.select("origin", "region", "requests"))
    )


def test_shares_are_by_tier_and_blocks_do_not_matter(two: Scenario) -> None:
    busy = two.replace({"workload.rate_rps": 30})
    source, tier = origins_of(busy), np.concatenate([block["tier"] for block in workload_of(busy).blocks(1000)])
    for t, share in ((0, 0.25), (1, 0.5), (2, 0.5)):
        drawn = source[tier == t]
        assert abs(drawn.mean() - share) < 4 * math.sqrt(share * (1 - share) / len(drawn))
    np.testing.assert_array_equal(source, origins_of(busy, 77))


def test_bound_requests_stay(two: Scenario) -> None:
    bound = two.replace(
        {"slo.gold.regions": ["near"], "origins.there.regions": ["far", "near"], "slo.bronze.regions": ["far"]}
    )
    for policy in ({}, {"policy.queueing": "central"}):
        found = rows(bound.replace(policy))
        assert set(found["pool"][found["tier"] == 0]) == {0}
        assert set(found["pool"][found["tier"] == 1]) == {0, 1}
        assert set(found["pool"][found["tier"] == 2]) == {1}


def test_a_context_moves_before_its_request_is_served(two: Scenario) -> None:
    """2000 bytes a token at 1 Mbit/s are 16 ms a token; an hour of nobody else, so that a request is admitted as it
    gets there.
    """
    links = {
        "links.gbit_per_s": 1e-3,
        "links.bytes_per_token": 2000,
        "links.kwh_per_gb": 0.06,
        "origins.here.home": "near",
    }
    lonely = two.replace(links | {"workload.rate_rps": 0.01, "days": 0.1})
    result = simulate(lonely, Recording(requests=True)).outcome
    found, source = result.requests, origins_of(lonely)
    assert found is not None
    moves = (source == 0) & (found["pool"] == 1)
    assert 0 < moves.sum() < len(found)
    delay_s = np.where(moves, found["input_tokens"] * 0.016, 0.0)
    np.testing.assert_allclose(found["admitted_s"] - found["arrival_s"], delay_s, atol=1e-9)
    size = found["input_tokens"][moves].sum() * 2000.0
    assert result.metrics["moved"] == moves.sum()
    assert result.metrics["moved_gb"] == pytest.approx(size / 1e9)
    assert result.metrics["moved_kwh"] == pytest.approx(size / 1e9 * 0.06)
    assert result.metrics["bill_kwh"] == pytest.approx(result.metrics["total_energy_kwh"] + size / 1e9 * 0.06)
    intensity = monitors_of(lonely)[0].trace.at(found["arrival_s"][moves])  # of both regions
    moved_g = found["input_tokens"][moves] * 2000.0 / 1e9 * 0.06 @ intensity
    assert result.metrics["moved_kg"] == pytest.approx(moved_g / 1000)


def test_a_checkpoint_holds_requests_on_their_way(
    two: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = two.replace({"links.gbit_per_s": 1e-4, "links.bytes_per_token": 4000, "origins.here.home": "near"})
    whole = simulate(slow)
    path = tmp_path / "run.npz"
    stop_at(5, [slow], Recording(), path, monkeypatch, 300)
    with np.load(path) as saved:
        assert saved["run0.transit"]["root"][0] >= 0, "somebody is on the way"
    (again,) = simulate_group([slow], block=500, checkpoint=path)
    np.testing.assert_equal(again.metrics, whole.metrics)


def test_traces_and_client_groups_say_where_requests_come_from(two: Scenario, tmp_path: Path) -> None:
    lines = [f"{t},100,20,{origin}" for t, origin in enumerate(["there", "here", "", "there"])]
    (tmp_path / "t.csv").write_text(
        "arrival_s,input_tokens,output_tokens,origin\n" + "\n".join(lines), encoding="utf-8"
    )
    played = two.replace(
        {"workload.trace": str(tmp_path / "t.csv"), "workload.trace_fit": "once", "workload.rate_rps": None}
    )
    assert origins_of(played)[[0, 1, 3]].tolist() == [1, 0, 1]
    with pytest.raises(InputError, match=r"t\.csv: row 1: origin 'there': expected one of here"):
        origins_of(played.replace({"origins": {"here": {}}}))
    group = "share = 0.5\ninput_tokens = 100\noutput_tokens = 20\nlength_correlation = 0\n"
    text = (
        f'[[clients]]\nname = "x"\norigin = "there"\nregions = ["far"]\n{group}[[clients]]\nname = "y"\norigin = '
        f'"here"\n{group}'
    )
    (tmp_path / "w.toml").write_text(text, encoding="utf-8")
    mixed = two.replace({"workload.file": str(tmp_path / "w.toml"), "workload.rate_rps": 4})
    found, source = rows(mixed), origins_of(mixed)
    assert set(source) == {0, 3}, "two origins; two sets of regions"
    assert set(found["pool"][source == 3]) == {1}
    assert set(found["pool"][source == 0]) == {0, 1}


@pytest.fixture
def signals(two: Scenario, tmp_path: Path) -> Scenario:
    """Average hour by hour from 00:00, marginal every 40 minutes from the day before on; the same in both regions."""
    for name, kind, step_min, values in (("a", "average", 60, [100, 300]), ("m", "marginal", 40, [500, 700, 200])):
        first = datetime(2024, 1, 1, tzinfo=UTC) - timedelta(days=kind == "marginal")
        lines = [
            f"x,,{first + timedelta(minutes=step_min * i):%Y-%m-%dT%H:%MZ},{values[i % len(values)]},{kind},lifecycle"
            for i in range(400)
        ]
        (tmp_path / f"{name}.csv").write_text(
            "zone,issued_at,valid_at,g_per_kwh,kind,scope\n" + "\n".join(lines), encoding="utf-8"
        )
    files = {"regions": {name: {"carbon": {"file": str(tmp_path / "a.csv")}, "pue": 1.5} for name in ("near", "far")}}
    for region in files["regions"].values():
        region["marginal"] = {"file": str(tmp_path / "m.csv")}
        region["monitor"] = {"gate_quantile": 0.5, "window_h": 6}
    return two.replace({**files, "start": "2024-01-02T03:10", "days": 0.2, "workload.rate_rps": 1})


def test_accounts_are_in_both_signals_and_decisions_in_one(signals: Scenario) -> None:
    """The bill by marginal intensity is that of a run whose accounts are marginal and whose decisions are the same."""
    average, marginal = (
        simulate(signals.replace({f"regions.{name}.decide_on": on for name in ("near", "far")}))
        for on in ("average", "marginal")
    )
    only = {
        f"regions.{name}.{field}": value
        for name in ("near", "far")
        for field, value in (("carbon", None), ("marginal", None))
    }
    alone = {}
    for name, kind in (("a", "average"), ("m", "marginal")):
        path = str(Path(signals.fleet.regions["near"].carbon.file or "").with_name(f"{name}.csv"))
        carbon = {"file": path, "kind": kind}
        alone[kind] = simulate(signals.replace(only | {f"regions.{place}.carbon": carbon for place in ("near", "far")}))
    assert average.metrics["bill_kg"] == pytest.approx(alone["average"].metrics["bill_kg"], rel=1e-12)
    assert marginal.metrics["marginal_kg"] == pytest.approx(alone["marginal"].metrics["bill_kg"], rel=1e-12)
    for one, same in ((average, alone["average"]), (marginal, alone["marginal"])):
        for name in ("bill_kwh", "ttft_p95_s", "held_share", "slo_attainment", "end_s"):
            assert one.metrics[name] == pytest.approx(same.metrics[name], rel=1e-12), name
    assert average.metrics["held_share"] > 0
    assert average.metrics["ttft_mean_s"] != marginal.metrics["ttft_mean_s"], "decisions differ"
    assert any("policies see marginal intensity in near, far" in note for note in marginal.notes)
    assert math.isnan(alone["average"].metrics["marginal_kg"])


def test_kinds_of_intensity_are_not_mixed_unsaid(signals: Scenario) -> None:
    path = str(Path(signals.fleet.regions["near"].carbon.file or "").with_name("m.csv"))
    mixed = signals.replace({"regions.far.marginal": None, "regions.far.carbon": {"file": path, "kind": "marginal"}})
    assert "carbon of different kinds in one sum: near average, far marginal" in " ".join(
        signal_notes(mixed, monitors_of(mixed))
    )


def test_grids_on_two_clocks_are_told(signals: Scenario) -> None:
    assert not [note for note in signal_notes(signals, monitors_of(signals)) if "clock" in note]
    undated = monitors_of(signals.replace({"start": None}))
    assert {monitor.marginal.start for monitor in undated if monitor.marginal} == {datetime(2024, 1, 1, tzinfo=UTC)}
    late = signals.replace({"start": None, "regions.far.carbon.start": "2024-01-03"})
    (note,) = signal_notes(late, monitors_of(late))
    assert "t = 0 is 2024-01-01 00:00 UTC in near, 2024-01-03 00:00 UTC in far; set start" in note


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"origins.here.rtt_ms": {"nowhere": 1}}, r"origins\.here\.rtt_ms 'nowhere': expected one of near, far"),
    ({"origins.here.rtt_ms.near": 1e12}, r"origins\.here\.rtt_ms\.near 1\d+\.0: .*less than or equal to 1000000$"),
    ({"links": {"between": {"near/near": {}}}}, r"links\.between 'near/near': within a region nothing moves"),
    ({"origins.here.home": "moon"}, r"origins\.here\.home 'moon': expected one of near, far"),
    ({"slo.gold.regions": ["moon"]}, r"slo\.gold\.regions 'moon': expected one of near, far"),
    (
        {"slo.gold.regions": ["near"], "origins.here.regions": ["far"]},
        r"origins\.here\.regions and slo\.gold\.regions have none in common",
    ),
    ({"origins.here.share_by_tier": {"gold": 0}, "origins.there.share": 0}, r"origins: all shares of gold are 0"),
    ({"links": {"between": {"near-far": {}}}}, r"links\.between 'near-far': expected two regions as FROM/TO"),
    (
        {"regions.near.decide_on": "marginal"},
        r"regions\.near decide_on marginal: expected marginal intensity in addition to carbon",
    ),
    (
        {"regions.near.marginal": {"kind": "average"}},
        r"regions\.near carbon\.kind average, marginal\.kind average: expected average and marginal",
    ),
)


@pytest.mark.parametrize(("changes", "line"), BAD)
def test_bad_places_are_told_in_a_line(two: Scenario, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as told:
        two.replace(changes)
    assert "\n" not in str(told.value)


def test_what_cannot_be_played_is_refused(two: Scenario, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"links: policy carbon-aware has one queue over 2 regions"):
        simulate(two.replace({"links": {}, "policy.queueing": "central"}))
    kinds = {"small": {**_kind(two), "kv_capacity_tokens": 900}, "large": _kind(two)}
    tight = two.replace({"gpus": kinds, "pools.a.gpu": "small", "pools.b.gpu": "large", "slo.gold.regions": ["near"]})
    with pytest.raises(
        InputError, match=r"gpus\.small\.kv_capacity_tokens 900: request .* expected a capacity of at least"
    ):
        simulate(tight)
    group = '[[clients]]\nname = "x"\nshare = 1.0\ninput_tokens = 9\noutput_tokens = 9\n'
    for line, told in (
        ("origin = 'moon'", "origin 'moon': expected one of here, there"),
        ("regions = ['sea']", "regions 'sea': expected one of near"),
    ):
        (tmp_path / "w.toml").write_text(group + line, encoding="utf-8")
        with pytest.raises(InputError, match=rf"w\.toml: clients\.x\.{told}"):
            simulate(two.replace({"workload.file": str(tmp_path / "w.toml")}))


def test_the_page_s_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "regions.md").read_text(encoding="utf-8")
    ((script,), (scenario,)) = (
        re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("python", "toml")
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "make_files.py", "exec"), {})
    Path("three.toml").write_text(scenario, encoding="utf-8")
    result = simulate(
        load("three.toml").replace({"policy.name": "carbon-aware", "policy.queueing": "cyclic", "days": 0.01})
    )
    assert result.metrics["moved"] > 0
    assert result.metrics["marginal_kg"] > result.metrics["bill_kg"] > 0


def _kind(config: Scenario) -> dict[str, Any]:
    return config.fleet.only_kind.model_dump(mode="json")


def rows(config: Scenario) -> Array:
    """One row a request, in input order."""
    found = simulate(config, Recording(requests=True)).outcome.requests
    assert found is not None
    return found


def origins_of(config: Scenario, block: int = 1000) -> Array:
    """Rows of `arrays.Origin` of a scenario's requests."""
    return np.concatenate([one["origin"] for one in workload_of(config).blocks(block)])
