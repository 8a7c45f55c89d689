"""How the program ends: a broken pipe, a full disk, SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from caps_fast.errors import InputError
from caps_fast.scenario import preset
from caps_fast.sweep import sweep
from caps_fast.sweep.lock import Lock
from tiny_sweeps import SERIAL, plan_of

CODE = "from caps_fast.cli import main; main()"


def started(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CODE, *arguments], stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("arguments", [("policies",), ("--help",), ("presets",)])
def test_nobody_reads_what_is_printed(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = started(*arguments, stdout=writing)
    os.close(writing)
    assert process.communicate()[1] == ""
    assert process.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_what_is_printed_has_no_room() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = started("policies", stdout=full)
    said = process.communicate()[1]
    assert (process.returncode, said.count("\n")) == (2, 1)
    assert "No space left on device" in said


def test_sigterm_leaves_nothing_begun(tmp_path: Path) -> None:
    code = """
import sys, time, types
from pathlib import Path
import caps_fast.cli as cli
from caps_fast.files import whole

def write(path: str):
    with whole(Path(path)) as beside:
        beside.write_text("x")
        print("begun", flush=True)
        time.sleep(60)

module = types.ModuleType("caps_fast.cli.mine")
module.register = lambda app: (app.command("write")(write), app.command("other")(lambda: None))
sys.modules["caps_fast.cli.mine"] = module
cli.MODULES = ("mine",)
sys.argv.insert(1, "write")
cli.main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "x")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    start_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[1]
    assert time.monotonic() - start_s < 10
    assert process.returncode == 143, said
    assert list(tmp_path.iterdir()) == []


def test_a_lock_on_a_full_disk_names_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = Lock(tmp_path / ".lock")
    with pytest.raises(InputError, match=r"\.lock: cannot be written \(No space left on device\)"):
        lock.take(tmp_path)
    lock.free()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gpu.peak_w", 1e308),
        ("gpu.idle_w", 1e12),
        ("workload.rate_rps", 5e-324),
        ("carbon.scale_to_g_per_kwh", [0, 1e308]),
    ],
)
def test_what_would_overflow_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        preset("paper").replace({field: value})


def test_a_report_in_little_address_space_is_one_line(tmp_path: Path) -> None:
    sweep(plan_of("4", seeds=1), tmp_path, SERIAL)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)); " + CODE
    done = subprocess.run(
        [sys.executable, "-c", limited, "report", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 2), done.stderr
    if done.returncode:
        assert done.stderr.startswith("caps-fast: report: the JavaScript of the charts cannot be generated")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "report" / "report.html").exists()
