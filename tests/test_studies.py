"""Studies and calibrations: nothing in their files is executed, and a search that was killed anywhere ends as an
undisturbed one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from caps_fast.calibrate.search import search as calibrate
from caps_fast.calibrate.targets import build_task
from caps_fast.errors import InputError
from caps_fast.scenario import Scenario, preset
from caps_fast.sweep import Workers
from caps_fast.sweep.space import dimension
from caps_fast.sweep.tune import Search, tune

EVIL = "from pathlib import Path\nPath({!r}).touch()\n"


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    path = tmp_path / "evil.py"
    path.write_text(EVIL.format(str(tmp_path / "was run")))
    return path


def search_of(*dimensions: str) -> Search:
    base = preset("paper").replace({"days": 0.001, "predictor.source": "declared"})
    return Search(base, tuple(map(dimension, dimensions)), ("carbon_g_per_1k_tokens", "slo_attainment"), (0,), (1000,))


def rewrite(log: Path, old: str, new: str) -> None:
    text = log.read_text()
    assert old in text
    log.write_text(text.replace(old, new))


def test_a_policy_that_a_study_names_is_not_run(tmp_path: Path, evil: Path) -> None:
    log = tmp_path / "study.log"
    search = search_of("policy.name=edf,round-robin")
    tune(search, log, 3, Workers(1))
    rewrite(log, "round-robin", str(evil))
    with pytest.raises(InputError, match=r"study\.log: "):
        tune(search, log, 4, Workers(1))
    assert not (tmp_path / "was run").exists()


def test_changes_that_a_study_stores_are_not_used(tmp_path: Path, evil: Path) -> None:
    log = tmp_path / "study.log"
    search = search_of("beta=0..4")
    front = tune(search, log, 3, Workers(1)).front
    changes = {"changes": json.dumps({"policy.name": str(evil), "policy.beta": 1.0})}
    lines = [{"op_code": 8, "worker_id": "x", "trial_id": trial, "user_attr": changes} for trial in range(3)]
    log.write_text(log.read_text() + "".join(f"{json.dumps(line)}\n" for line in lines))
    assert tune(search, log, 3, Workers(1)).front.equals(front)
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("cut", [0, 1], ids=["finished", "begun"])
@pytest.mark.parametrize("value", ["9.5", "1e308", "-1"])
def test_values_outside_the_search_are_refused(tmp_path: Path, value: str, cut: int) -> None:
    log = tmp_path / "study.log"
    search = search_of("beta=0..4")
    tune(search, log, 1, Workers(1))
    lines = log.read_text().splitlines(keepends=True)
    entries = [json.loads(line) for line in lines]
    for entry in entries:
        if "param_value_internal" in entry:
            entry["param_value_internal"] = float(value)
    entries = [entry for entry in entries if not (cut and entry.get("state") == 1)]
    log.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    with pytest.raises(
        InputError, match=r"study\.log: a trial with policy\.beta .*: expected a value within the search"
    ):
        tune(search, log, 1, Workers(1))


TASK: dict[str, Any] = {
    "training": {"days": 0.01, "predictor.source": "declared"},
    "bounds": {
        "monitor.gate_quantile": {"range": [0.0, 1.0], "start": 0.1},
        "gpu.decode_base_s": {"range": [0.001, 0.1], "log": True, "start": 0.05},
        "workload.rate_rps": {"range": [1.0, 20.0], "optional": True, "start": 10.0},
        "policy.name": {"choices": ["caps", "edf"]},
    },
    "targets": [{"policy": "caps", "metric": "slo_attainment", "value": 0.8, "tolerance": 0.02}],
}


class Killed(BaseException):
    """What no handler sees."""


def simulator(killed_at: int | None = None) -> Any:
    calls = 0

    def run(configs: Sequence[Scenario]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise Killed
        return [
            SimpleNamespace(metrics={"slo_attainment": one.monitor.gate_quantile + one.gpu.decode_base_s})
            for one in configs
        ]

    return run


def trials(study: Any) -> list[Any]:
    return [(one.number, one.state, one.params, one.values) for one in study.trials]


def test_a_calibration_killed_anywhere_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    task = build_task(TASK, "task")
    calm = calibrate(task, 26, tmp_path / "calm", None, simulator())
    log = tmp_path / "calm" / "study.log"
    for killed_at in (1, 9, 20, 25):
        folder = tmp_path / f"killed at {killed_at}"
        for at in (killed_at, 2):
            with pytest.raises(Killed):
                calibrate(task, 26, folder, None, simulator(at))
        assert trials(calibrate(task, 26, folder, None, simulator()).study) == trials(calm.study)
    lines = log.read_text().splitlines(keepends=True)
    for count in (2, 4, 9, len(lines) // 2, len(lines) - 2):
        folder = tmp_path / f"cut at {count}"
        folder.mkdir()
        (folder / "study.log").write_text("".join(lines[:count]))
        assert trials(calibrate(task, 26, folder, None, simulator()).study) == trials(calm.study)


def test_values_outside_a_calibration_s_bounds_are_refused(tmp_path: Path, evil: Path) -> None:
    task = build_task(TASK, "task")
    calibrate(task, 3, tmp_path, None, simulator())
    rewrite(tmp_path / "study.log", r"\"caps\", \"edf\"", rf"\"{evil}\", \"edf\"")
    with pytest.raises(
        InputError, match=r"study\.log: a trial with policy\.name .*: expected a value within its bounds"
    ):
        calibrate(task, 3, tmp_path, None, simulator())
