"""Fitting: tables, logs and combinations that are rejected with an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from caps_fast.errors import InputError
from fit_runs import SPEED, run, table

STEPS = "decoding,context_tokens,prompt_tokens,prompt_tokens_before,step_s\n"
GOOD = STEPS + "1,100,0,0,0.01\n2,200,0,0,0.011\n1,100,500,0,0.03\n"
NO_IDLE = STEPS.replace("step_s", "step_s,power_w") + "1,100,0,0,0.01,90\n2,200,0,0,0.011,95\n1,100,500,0,0.03,\n"
REFUSED: list[tuple[str, tuple[object, ...], str]] = [
    (STEPS, (), "no measurements: expected at least one row"),
    (STEPS + "1,100,0,0,x\n", (), "row 1: step_s 'x': expected a finite number from 0"),
    (STEPS + "1,100,0,0,0.01\n1,-5,0,0,0.01\n", (), "row 2: context_tokens '-5'"),
    (STEPS + "1,100,1e300,0,0.01\n", (), "row 1: prompt_tokens '1e300': expected a finite number from 0 to 1e+10"),
    ("step_s," + GOOD.replace("\n", "\n1,", 3), (), "two columns step_s; expected one"),
    ("time_s,power_w\n0,100\n1,100\n", (), "no measurement of speed: expected a table of steps or a request log"),
    (STEPS + "1,,0,0,0.01\n", (), "row 1: context_tokens is empty"),
    (STEPS + "1,100,0,0,\n", (), "row 1: step_s is empty"),
    (STEPS + "1,100,0,0,0\n", (), "row 1: step_s 0: expected steps that take time"),
    (STEPS + "0,0,0,0,0.01\n", (), "no step with a sequence in it"),
    (STEPS + "1,100,0,0,0.01\n", (), "no step with prompt tokens: expected some, a request log, --prefill-from"),
    (STEPS + "1,100,500,0,0.01\n", (), "no step without prompt tokens: expected some, or a request log"),
    ("decoding,prompt_tokens,step_s\n1,0,1\n", (), "context_tokens is missing among the columns"),
    ("decoding,prompt_tokens,context_tokens\n1,0,1\n", (), "step_s is missing among the columns"),
    (GOOD.replace("step_s", "step_s,gpu").replace("0.01\n", "0.01,A\n").replace("0.011\n", "0.011,B\n"), (),
     "several values of hardware"),
    (GOOD, ("--set", "gpu.colour=1"), "--set gpu.colour: expected a coefficient of the speed"),
    (GOOD, ("--set", "gpu.idle_w=1"), "--set gpu.idle_w: expected a coefficient of the speed"),
    (GOOD, ("--set", "gpu.overhead_s=much"), "--set gpu.overhead_s=much: expected a number"),
    (GOOD, ("--set", "gpu.overhead_s=-1"), "gpu.overhead_s"),
    (GOOD, ("--set", "cluster.gpus=2"), "--set cluster.gpus: expected"),
    (GOOD, ("--max-prompt", "5"), "--max-prompt 5: for tables of prompt times"),
    (GOOD, ("--prefill-from", "none"), "gpu.profile 'none': expected one of"),
    (GOOD, ("--power-from", "none"), "gpu.profile 'none': expected one of"),
    (NO_IDLE, (),
     "idle power is not measured: expected a row with no sequence and power_w, or --idle-w"),
    (NO_IDLE,
     ("--idle-w", "99"), "idle power 99 W: expected less than the least busy power, 90 W per GPU"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "options", "wanted"), REFUSED)
def test_what_cannot_be_fitted_is_refused(tmp_path: Path, text: str, options: tuple[object, ...], wanted: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        run(tmp_path / "m.csv", *options, "--out", tmp_path / "p.toml")
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv"]


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    good = table(tmp_path / "steps.csv", SPEED, rows=40)
    (tmp_path / "old.csv").write_text("batch,step_s\n1,0.1\n8,0.11\n")
    (tmp_path / "power.csv").write_text("time_s,power_w\n0,100\n1,100\n")
    for files, options, wanted in (
        ((good, tmp_path / "old.csv"), (), "old.csv: columns batch, step_s: expected a table of steps"),
        ((tmp_path / "old.csv",), ("--set", "cluster.max_batch=8"), "--set: for tables of steps and request logs"),
        ((tmp_path / "old.csv",), ("--cpu-s", "0.001"), "--cpu-s: for tables of steps"),
        (
            (good, tmp_path / "power.csv"),
            ("--idle-w", 50),
            "1 power logs with 0 request logs: expected one of each per run",
        ),
        ((good, tmp_path / "gone.csv"), (), "gone.csv: cannot be read"),
        ((good,), ("--out", good), "a file which is an input; expected another file"),
    ):
        with pytest.raises(InputError) as caught:
            run(*files, *options)
        assert wanted in str(caught.value)
