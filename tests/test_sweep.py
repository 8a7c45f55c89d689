"""Sweeps: the same bits however they were come by, and nothing lost whatever happens to them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

import caps_fast.sweep.store
import caps_fast.sweep.work
from caps_fast import scenario
from caps_fast.errors import InputError
from caps_fast.progress import Progress
from caps_fast.scenario import Scenario
from caps_fast.simulation import simulate
from caps_fast.sweep import Grid, Plan, Workers, sweep
from caps_fast.sweep.axes import axis
from caps_fast.sweep.file import assemble
from caps_fast.sweep.file import read as read_file
from caps_fast.sweep.rows import field_types, row, table
from caps_fast.sweep.work import Outcome
from tiny_sweeps import SERIAL, TINY, content, count_runs, plan_of


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    sweep(plan_of(), folder, SERIAL)
    return folder


def test_rows_are_those_of_single_runs_in_the_plans_order(undisturbed: Path) -> None:
    runs = pl.read_parquet(undisturbed / "runs.parquet")
    plan = plan_of()
    assert runs.height == len(plan) == 12
    for index, found in enumerate(runs.iter_rows(named=True)):
        expected = simulate(plan.scenario(plan.grids[0], index)).row()
        np.testing.assert_equal({name: found[name] for name in expected}, expected)
    assert runs["policy"].to_list()[:4] == ["round-robin", "round-robin", "edf", "edf"]
    assert {"cluster.max_batch", "monitor.forecast", "workload.trace", "input_hashes"} <= set(runs.columns)


@pytest.mark.parametrize("workers", [Workers(2), Workers(3), Workers(2, "loky")], ids=str)
def test_the_same_bits_whatever_the_workers(undisturbed: Path, tmp_path: Path, workers: Workers) -> None:
    sweep(plan_of(), tmp_path, workers)
    assert content(tmp_path) == content(undisturbed)


@pytest.mark.parametrize("batch_s", [0.0, 1e9])
def test_the_same_bits_whatever_the_batches_and_the_order(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_s: float
) -> None:
    straight = Plan.groups

    def shuffled(self: Plan, size: int = 8) -> Any:
        groups = list(straight(self, random.Random(size).choice([1, 2, 8])))
        random.Random(7).shuffle(groups)
        return iter(groups)

    monkeypatch.setattr(Plan, "groups", shuffled)
    sweep(plan_of(), tmp_path, SERIAL, batch_s=batch_s)
    assert content(tmp_path) == content(undisturbed)


def test_runs_that_are_there_are_not_run_again(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(plan_of(rates="4,8"), tmp_path, SERIAL)
    run: list[Scenario] = []
    count_runs(monkeypatch, run)
    sweep(plan_of(), tmp_path, SERIAL)
    assert [(config.workload.rate_rps, config.seed) for config in run] == [(12, 0), (12, 0), (12, 1), (12, 1)]
    assert content(tmp_path) == content(undisturbed)
    sweep(plan_of(rates="12"), tmp_path, SERIAL)
    assert pl.read_parquet(tmp_path / "runs.parquet")["rate_rps"].unique().to_list() == [12]
    sweep(plan_of(), tmp_path, SERIAL)
    assert len(run) == 4, "what the narrower sweep left out was kept aside"
    assert content(tmp_path) == content(undisturbed)


def test_a_changed_input_file_recomputes_what_it_touches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid_g = [(f"2024-08-05T{hour:02}:00:00+00:00", 200 + hour) for hour in range(24)]
    trace = tmp_path / "carbon.csv"
    trace.write_text("time,g_per_kwh\n" + "".join(f"{at},{value}\n" for at, value in grid_g))
    changed = TINY | {"carbon.unit": "g/kWh", "carbon.scale_to_g_per_kwh": None}
    plan = assemble("grid", [Grid("", changed, (axis("carbon", [str(trace)], ""), axis("policy", "round-robin", "")))])
    before = sweep(plan, tmp_path / "out", SERIAL).runs
    assert json.loads(before["input_hashes"][0]).keys() == {str(trace)}
    assert json.loads((tmp_path / "out/manifest.json").read_text())["inputs"] == json.loads(before["input_hashes"][0])
    trace.write_text(trace.read_text().replace(",200", ",300"))
    run: list[Scenario] = []
    count_runs(monkeypatch, run)
    after = sweep(plan, tmp_path / "out", SERIAL).runs
    assert len(run) == 1
    assert after["carbon_g_per_1k_tokens"][0] > before["carbon_g_per_1k_tokens"][0]


def test_failed_runs_are_listed_left_out_and_retried_on_request(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate_group = caps_fast.sweep.work.simulate_group

    def fails(configs: Sequence[Scenario]) -> Any:
        if any(config.policy.name == "edf" and config.seed == 1 for config in configs):
            raise ZeroDivisionError("no\nluck")
        return simulate_group(configs)

    with monkeypatch.context() as patch:
        patch.setattr(caps_fast.sweep.work, "simulate_group", fails)
        swept = sweep(plan_of(), tmp_path, Workers(2))
        assert (swept.runs.height, len(swept.failures)) == (9, 3)
    (first, *_) = json.loads((tmp_path / "failures.json").read_text())
    assert first["error"] == "ZeroDivisionError: no luck"
    assert "in fails" in first["trace"]
    again = sweep(plan_of(), tmp_path, SERIAL)
    assert (again.runs.height, len(again.failures)) == (9, 3)
    healed = sweep(plan_of(), tmp_path, SERIAL, retry_failed=True)
    assert not healed.failures
    assert not (tmp_path / "failures.json").exists()
    assert content(tmp_path) == content(undisturbed)
    assert capsys.readouterr().out == ""


def test_combinations_that_cannot_be_are_failures(tmp_path: Path) -> None:
    plan = assemble(
        "grid",
        [
            Grid(
                "",
                TINY,
                (
                    axis("cluster.gpus", "24", ""),
                    axis("cluster.roles", ["LP/CP/BP", "LP/BP"], ""),
                    axis("policy", "edf", ""),
                ),
            )
        ],
    )
    with pytest.raises(InputError, match=r"cluster\.roles: .*expected one of LP, CP, BP"):
        sweep(plan, tmp_path / "never", SERIAL)
    assert not (tmp_path / "never").exists()
    axes = (axis("slo.gold.share", [0.3, 0.2], ""), axis("slo.silver.share", [0.4, 0.3], ""), axis("policy", "edf", ""))
    pairs = Grid("", TINY | {"slo.bronze.share": 0.3}, axes)
    with pytest.raises(InputError, match="sum to"):
        sweep(assemble("grid", [pairs]), tmp_path / "never", SERIAL)


def test_when_all_runs_fail_the_first_ones_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(configs: Sequence[Scenario]) -> Any:
        raise InputError("the trace is bad")

    monkeypatch.setattr(caps_fast.sweep.work, "simulate_group", fails)
    with pytest.raises(InputError, match=r"all 12 runs failed; the first: round-robin .* the trace is bad"):
        sweep(plan_of(), tmp_path, SERIAL)
    assert not (tmp_path / "runs.parquet").exists()


def test_groups_and_named_settings_become_columns_and_common_runs_stand_once(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(
        'seeds = 1\n[set]\ndays = 0.002\n"predictor.source" = "declared"\n"slo.gold.ttft_s" = 0.5\n[axes]\nrate = 8\n'
        '[groups.a.axes]\npolicy = ["edf", "round-robin"]\n[groups.b]\nset.policy = "edf"\n'
        '[groups.b.named.limit.usual]\n"slo.gold.ttft_s" = 0.5\n[groups.b.named.limit.loose]\n"slo.gold.ttft_s" = 2\n'
    )
    runs = sweep(read_file(path), tmp_path / "out", SERIAL).runs
    assert runs.select("group", "limit", "policy", "slo.gold.ttft_s").rows() == [
        ("a", None, "edf", 0.5),
        ("a", None, "round-robin", 0.5),
        ("b", "loose", "edf", 2.0),
    ]


def test_a_folder_of_something_else_is_recognised(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(plan_of(rates="4"), tmp_path, SERIAL)
    before = content(tmp_path)
    with pytest.raises(InputError, match="holds the sweep grid, and this is other"):
        sweep(Plan("other", plan_of().bases, plan_of().grids), tmp_path, SERIAL)
    with monkeypatch.context() as patch:
        patch.setattr(caps_fast.sweep.store, "__version__", "9.9")
        with pytest.raises(InputError, match=r"results of caps-fast 0.*, and this is 9\.9"):
            sweep(plan_of(), tmp_path, SERIAL)
    with monkeypatch.context() as patch:
        patch.setattr(caps_fast.sweep.store, "code_hash", lambda: "0" * 16)
        with pytest.raises(InputError, match="other code"):
            sweep(plan_of(), tmp_path, SERIAL)
    assert content(tmp_path) == before
    manifest = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="not the manifest of a sweep"):
        sweep(plan_of(), tmp_path, SERIAL)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"without a manifest\.json"):
        sweep(plan_of(), tmp_path, SERIAL)
    (tmp_path / "manifest.json").write_text(manifest)
    sweep(Plan("other", plan_of().bases, plan_of().grids), tmp_path, SERIAL, fresh=True)
    assert content(tmp_path) == content(undisturbed)


def test_a_worker_with_other_code_is_refused() -> None:
    with pytest.raises(InputError, match="other code"):
        caps_fast.sweep.work.work([], "0" * 16)
    assert caps_fast.sweep.work.work([], caps_fast.sweep.work.code_hash()) == Outcome([], [])


def test_a_torn_file_is_put_aside_and_its_runs_computed_anew(
    undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep(plan_of(), tmp_path, SERIAL)
    (tmp_path / "runs.parquet").write_bytes(content(undisturbed)[:-100])
    (tmp_path / "runs.parquet.tmp").write_bytes(b"half")
    sweep(plan_of(), tmp_path, SERIAL)
    assert content(tmp_path) == content(undisturbed)
    assert "put aside" in caplog.text
    assert not list(tmp_path.glob("*.tmp"))


def test_files_that_are_none_of_ours_are_put_aside(
    undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep(plan_of(), tmp_path, SERIAL)
    foreign = pl.DataFrame({"scenario_hash": [1], "a": [2]})
    foreign.drop("scenario_hash").write_parquet(tmp_path / "runs.parquet")
    foreign.write_parquet(tmp_path / "parts" / "mine.parquet")
    sweep(plan_of(), tmp_path, SERIAL)
    assert content(tmp_path) == content(undisturbed)
    said = caplog.text
    for file in ("runs.parquet", "parts/mine.parquet"):
        assert (
            f"{tmp_path}/{file}: cannot be read (it has no digest); expected Parquet written by caps-fast; put aside"
            in said
        )
    assert (tmp_path / "parts" / "mine.unreadable").exists()


@pytest.mark.parametrize(
    "damaged",
    [b"[{", b"\xff\xfe", b"3", b"[null]", b'[{"run": "0"}]', b'[{"scenario_hash": [], "run": "", "error": ""}]'],
)
def test_a_damaged_list_of_failures_is_put_aside(
    undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: bytes
) -> None:
    sweep(plan_of(rates="4"), tmp_path, SERIAL)
    (tmp_path / "failures.json").write_bytes(damaged)
    sweep(plan_of(), tmp_path, SERIAL)
    assert content(tmp_path) == content(undisturbed)
    assert f"{tmp_path}/failures.json: not a list of failed runs; put aside" in caplog.text
    assert (tmp_path / "failures.unreadable").read_bytes() == damaged


def test_open_results(undisturbed: Path) -> None:
    path = undisturbed / "runs.parquet"
    by_polars = (
        pl.scan_parquet(path)
        .group_by("policy")
        .agg(pl.col("carbon_g_per_1k_tokens").mean())
        .sort("policy")
        .collect()
        .rows()
    )
    by_duckdb = duckdb.sql(
        f"SELECT policy, avg(carbon_g_per_1k_tokens) FROM '{path}' GROUP BY policy ORDER BY policy"
    ).fetchall()
    by_pandas = list(pd.read_parquet(path).groupby("policy")["carbon_g_per_1k_tokens"].mean().items())
    assert (
        [name for name, _ in by_polars]
        == [name for name, _ in by_duckdb]
        == [name for name, _ in by_pandas]
        == ["edf", "round-robin"]
    )
    assert (
        [value for _, value in by_polars]
        == pytest.approx([value for _, value in by_duckdb])
        == [pytest.approx(value) for _, value in by_pandas]
    )
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    assert manifest["plan"]["scenarios"]["paper"]["cluster"]["gpus"] == 24
    assert manifest["plan"]["runs"] == 12


def test_the_schema_page_names_every_column(undisturbed: Path) -> None:
    page = (Path(__file__).parent.parent / "docs/schema.md").read_text(encoding="utf-8")
    assert [
        name
        for name in pl.read_parquet_schema(undisturbed / "runs.parquet")
        if f"`{name}`" not in page and name not in field_types()
    ] == []


def test_a_fleet_in_the_long_form_has_columns_by_name() -> None:
    short = scenario.preset("paper").replace({**TINY, "policy.name": "edf"})
    long = short.replace({"pools.bp.replicas": 5, "gpus.gpu.max_batch": 7, "regions.grid.pue": 1.5})
    one, other = (row(simulate(config)) for config in (short, long))
    frame = table([one, other])
    assert frame.select("pools.bp.replicas", "pools.bp.role", "gpus.gpu.max_batch", "regions.grid.pue").rows() == [
        (None, None, None, None),
        (5, "BP", 7, 1.5),
    ]
    assert frame["regions.grid.carbon.file"].dtype == pl.String
    assert frame["split"].to_list() == ["8/8/8", "8/8/5"]
    assert frame["cluster.max_batch"].to_list() == [short.cluster.max_batch if short.cluster else 0, None]
    for config, fleet in zip((short, long), map(json.loads, frame["fleet"]), strict=True):
        assert fleet == config.fleet.describe()
    page = (Path(__file__).parent.parent / "docs/schema.md").read_text(encoding="utf-8")
    for told in ("pools.NAME.role", "gpus.NAME.FIELD", "regions.NAME.FIELD", "fleet", "input_hashes"):
        assert f"| `{told}`" in page


def test_results_go_to_another_place_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = sweep(plan_of(rates="4"), f"file://{tmp_path}/store/mine", SERIAL).runs
    assert pl.read_parquet(tmp_path / "store/mine/runs.parquet").equals(runs, null_equal=True)
    assert list(Path("results/remote/file").rglob("runs.parquet"))


def test_progress_tells_runs_requests_and_the_time_left() -> None:
    progress = Progress(10, 1000.0)
    progress.skip(200.0)
    progress.add(3, 400.0, failed=1)
    assert (
        progress.line(10.0) == " 50%  3 of 9 runs; 400 of 800 requests, 40/s; 1 already complete; 1 failed; 10 s left"
    )
    compiling = Progress(5, 1000.0)
    compiling.add(0, 10.0)
    assert compiling.line(30.0) == "  1%  0 of 5 runs; 10 of 1k requests, 0/s; 30 s", "too early to tell"
    compiling._lead_s = 25.0
    compiling.add(0, 490.0)
    assert compiling.line(30.0) == " 50%  0 of 5 runs; 500 of 1k requests, 17/s; 5 s left"
    sweep = Progress(100, 0.0)
    sweep.add(2, 0.0)
    assert sweep.line(60.0) == "  2%  2 of 100 runs; 60 s", "mostly compiling and learning"
    sweep._lead_s = 60.0
    sweep.add(10, 0.0)
    assert sweep.line(90.0) == " 12%  12 of 100 runs; 4 min left"
    assert Progress(4, 0.0).line(0.0) == "  0%  0 of 4 runs; 0 s"
