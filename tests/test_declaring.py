"""What users may say of their inputs: the same in TOML, in Python and on the command line; `none`; rates that traces
keep.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from caps_fast import cli
from caps_fast.cli.scenarios import settings
from caps_fast.errors import InputError
from caps_fast.scenario import Scenario, load, preset
from caps_fast.simulation import simulate
from caps_fast.sweep import load as load_sweep

TRACE = "ts,prompt,answer,class\n" + "".join(
    f"{1000 * n},{10 + n},{5},{'chat' if n % 3 else 'batch'}\n" for n in range(40)
)
GRID = "a,b,c\n" + "".join(f"{hour / 10},08/05/2024 {hour:02}h,{0.1 + hour / 100}\n" for hour in range(1, 24))


def toml(folder: Path, text: str) -> Scenario:
    (folder / "scenario.toml").write_text('preset = "measured"\n' + text)
    return load(folder / "scenario.toml")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "trace.csv").write_text(TRACE)
    (tmp_path / "grid.csv").write_text(GRID)
    (tmp_path / "own.csv").write_text(
        "arrival_s,input_tokens,output_tokens\n" + "".join(f"{n},10,5\n" for n in range(50))
    )
    return tmp_path


def test_none_switches_an_optional_field_off_in_toml(tmp_path: Path) -> None:
    text = '[slo.bronze]\nttft_after_release_s = "none"\n[gpu]\nprofile = "none"\nprefill_s_per_token = 1e-4\n'
    text += "decode_base_s = 0.02\ndecode_s_per_seq = 0.0\n"
    config = toml(tmp_path, text)
    assert preset("measured").slo.bronze.ttft_after_release_s is not None
    assert config.slo.bronze.ttft_after_release_s is None
    assert config.gpu.profile is None
    assert preset("paper").replace({"cluster.kv_capacity_tokens": "none"}).cluster.kv_capacity_tokens is None
    with pytest.raises(InputError, match="days 'none'"):
        toml(tmp_path, 'days = "none"\n')


def test_numbers_and_dates_stand_in_for_text(tmp_path: Path) -> None:
    assert toml(tmp_path, "[carbon]\nfile = 'x.csv'\nstart = 2024-08-05\n").carbon.start == "2024-08-05"
    assert toml(tmp_path, "start = 2024-08-05T06:00:00Z\n").start == "2024-08-05T06:00:00+00:00"
    small = preset("paper").replace(settings(["cluster.split=1", "cluster.gpus=1", "cluster.roles=LP"]))
    assert small.cluster.pools == (1,)


def test_maps_may_be_tables_json_or_text(tmp_path: Path) -> None:
    wanted = {"time": "ts", "tier": "class"}
    for text in ('workload.trace_columns={"time": "ts", "tier": "class"}', "workload.trace_columns=time=ts,tier=class"):
        assert preset("paper").replace(settings([text])).workload.trace_columns == wanted
    assert toml(tmp_path, '[workload]\ntrace_columns = "time=ts,tier=class"\n').workload.trace_columns == wanted
    assert toml(tmp_path, '[workload.trace_columns]\ntime = "ts"\ntier = "class"\n').workload.trace_columns == wanted
    with pytest.raises(InputError, match="'time': expected NAME=VALUE,NAME=VALUE"):
        preset("paper").replace({"workload.trace_columns": "time"})
    with pytest.raises(InputError, match="expected a list like"):
        settings(["workload.trace_columns={time}"])


def test_a_trace_keeps_its_own_rate_unless_one_is_given(files: Path) -> None:
    own = str(files / "own.csv")
    assert toml(files, f"[workload]\ntrace = '{own}'\n").workload.rate_rps is None
    assert toml(files, f"[workload]\ntrace = '{own}'\nrate_rps = 3\n").workload.rate_rps == 3
    assert toml(files, "[workload]\ntenants = 5\n").workload.rate_rps == 10
    assert preset("paper").replace({"workload.trace": own}).workload.rate_rps is None
    assert preset("paper").replace({"workload.rate_rps": 10}).replace({"workload.trace": own}).workload.rate_rps == 10
    assert preset("paper").replace({"workload.trace": own}).replace({"workload.trace": None}).workload.rate_rps == 10
    config = toml(files, f"[workload]\ntrace = '{own}'\n[predictor]\nsource = 'declared'\n").replace(
        {"days": 0.01, "policy.name": "edf"}
    )
    assert simulate(config).metrics["requests_per_s"] == pytest.approx(1.0, abs=0.01)


def test_a_sweep_keeps_a_traces_rate(files: Path) -> None:
    (files / "sweep.toml").write_text(f"[set]\nworkload.trace = '{files / 'own.csv'}'\n[axes]\nseed = [1]\n")
    plan = load_sweep(files / "sweep.toml")
    assert plan.scenario(plan.grids[0], 0).workload.rate_rps is None
    assert plan.requests() == 0, "its trace sets the rate"


FACTS: dict[str, Any] = {
    "workload.trace_columns": "time=ts,input_tokens=prompt,output_tokens=answer,tier=class",
    "workload.trace_time_unit": "ms",
    "workload.trace_tiers": "chat=gold,batch=bronze",
    "carbon.columns": "time=b,value=c",
    "carbon.time_format": "%d/%m/%Y %Hh",
    "carbon.time_zone": "Europe/Berlin",
    "carbon.unit": "kg/kWh",
    "carbon.interval": "end",
    "carbon.zone": "DE",
    "start": "2024-05-08T01:00Z",
}


Patch, Captured = pytest.MonkeyPatch, pytest.CaptureFixture[str]


def run(monkeypatch: Patch, capsys: Captured, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["caps-fast", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr()
    assert caught.value.code == 0, said.err
    return said.out


def test_facts_are_the_same_in_python_in_toml_and_as_options(files: Path, monkeypatch: Patch, capsys: Captured) -> None:
    monkeypatch.setattr("caps_fast.cli.leave", sys.exit, raising=False)
    inputs = {
        "workload.trace": str(files / "trace.csv"),
        "carbon.file": str(files / "grid.csv"),
        "predictor.source": "declared",
        "days": 0.01,
    }
    python = simulate(preset("measured").replace(inputs | FACTS | {"policy.name": "edf"}))
    lines: dict[str, list[str]] = {"": []}
    for field, value in (inputs | FACTS).items():
        section, _, name = field.rpartition(".")
        lines.setdefault(section, []).append(f"{name} = {json.dumps(value)}")
    text = "\n".join(line for section, own in lines.items() for line in ([f"[{section}]"] if section else []) + own)
    from_toml = simulate(toml(files, text + "\n").replace({"policy.name": "edf"}))
    assert repr(from_toml.metrics) == repr(python.metrics)
    options = [
        "--trace",
        inputs["workload.trace"],
        "--carbon",
        inputs["carbon.file"],
        "--set",
        "predictor.source=declared",
        "--days",
        "0.01",
    ]
    for field, value in FACTS.items():
        name = field.replace("workload.", "").replace("carbon.", "carbon-").replace("_", "-")
        options += [f"--{name}", value]
    told = json.loads(run(monkeypatch, capsys, "run", "measured", "--policies", "edf", "--json", *options))[0]
    assert {name: told[name] for name in ("requests", "carbon_kg", "slo_attainment_gold")} == {
        name: python.metrics[name] for name in ("requests", "carbon_kg", "slo_attainment_gold")
    }
    assert any("t = 0 is" in note for note in told["notes"])
    run(
        monkeypatch,
        capsys,
        "grid",
        "--preset",
        "measured",
        "--policies",
        "edf",
        "--seeds",
        "1",
        "--out",
        str(files / "out"),
        *options,
    )
    runs = pl.read_parquet(files / "out" / "runs.parquet")
    assert runs["carbon_kg"][0] == python.metrics["carbon_kg"]
    assert json.loads(runs["notes"][0]) == list(python.notes)


def test_inspect_knows_the_same_options(files: Path, monkeypatch: Patch, capsys: Captured) -> None:
    monkeypatch.setattr("caps_fast.cli.leave", sys.exit, raising=False)
    for prefix in ("--trace-", "--"):
        options = [
            f"{prefix}columns",
            FACTS["workload.trace_columns"],
            f"{prefix}time-unit",
            "ms",
            f"{prefix}tiers",
            "chat=gold,batch=bronze",
        ]
        found = json.loads(run(monkeypatch, capsys, "inspect", str(files / "trace.csv"), "--json", *options))
        assert found["tiers"] == {"gold": 0.65, "bronze": 0.35}
    for prefix in ("--carbon-", "--"):
        options = [
            f"{prefix}columns",
            "time=b,value=c",
            f"{prefix}time-format",
            "%d/%m/%Y %Hh",
            f"{prefix}unit",
            "kg/kWh",
            f"{prefix}interval",
            "end",
        ]
        found = json.loads(run(monkeypatch, capsys, "inspect", str(files / "grid.csv"), "--json", *options))
        assert found["series"][0]["from"] == "2024-05-08T00:00:00+00:00"
        assert found["series"][0]["g_per_kwh"]["max"] == pytest.approx(330)


def test_an_unknown_trace_is_not_told_of_carbon(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "odd.csv").write_text("a,prompt_tokens,b\n1,2,3\n")
    monkeypatch.setattr(sys, "argv", ["caps-fast", "inspect", str(files / "odd.csv")])
    with pytest.raises(InputError, match="give --columns and --time-unit") as caught:
        cli._app()(["inspect", str(files / "odd.csv")], standalone_mode=False)
    assert "carbon" not in str(caught.value)
